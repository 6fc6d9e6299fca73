"""What the system grants: cores, memory, shared memory, open files, room on the disk."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from vexp.core.files import format_bytes
from vexp.tools.doctor.check_result import MISSING, OK, WARNING, CheckResult

_CGROUP = Path("/sys/fs/cgroup")
_MOST_WORKERS = 8  # of vexp.data.loading.dataloader.available_workers
#: Batches of a worker that are on their way at once: two that torch asks for ahead, one that is being copied.
_IN_FLIGHT = 3
_BATCH = 8 * 16 * 224 * 224 * 3  # bytes: eight clips of 16x224x224
_LEAST_FILES, _LEAST_ROOM = 1024, 2e9


def cores() -> list[CheckResult]:
    """Those that this process may use, and a container's limit, which Python does not see."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota()
    values = {"usable": usable, "cgroup_limit": quota}
    text = f"{usable} usable of {os.cpu_count()}"
    if quota is not None and quota < usable - 0.01:
        fewer = max(1, round(quota))
        return [CheckResult(
            "cores", WARNING, f"{text}, but the container is limited to {quota:g}: too many workers would be started",
            f"data.num_workers={min(fewer, _MOST_WORKERS)}", values=values,
        )]  # fmt: skip
    return [CheckResult("cores", OK, text + (f", container limit {quota:g}" if quota else ""), values=values)]


def cpu_quota(root: Path = _CGROUP) -> float | None:
    """Cores that a control group (version 2 or 1) grants; None: no limit."""
    quota, period = _words(root / "cpu.max") or [*_words(root / "cpu" / "cpu.cfs_quota_us"), *_words(
        root / "cpu" / "cpu.cfs_period_us"
    )] or ["max", "1"]  # fmt: skip
    return None if quota in ("max", "-1") else int(quota) / int(period)


def memory() -> list[CheckResult]:
    """Of the machine, or what the container grants of it."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = _words(_CGROUP / "memory.max") or _words(_CGROUP / "memory" / "memory.limit_in_bytes")
    granted = min(total, int(limit[0])) if limit and limit[0] != "max" else total
    return [CheckResult("memory", OK, format_bytes(granted), values={"bytes": granted})]


def shared_memory() -> list[CheckResult]:
    """/dev/shm, through which workers hand over their batches."""
    folder = Path("/dev/shm")
    if not folder.is_dir():
        return [CheckResult("/dev/shm", OK, "not used on this system")]
    room = shutil.disk_usage(folder).free
    workers = min(_MOST_WORKERS, os.cpu_count() or 1)
    need = workers * _IN_FLIGHT * _BATCH
    text = (
        f"{format_bytes(room)} free; {workers} workers with batches of 8 clips of 16x224x224 need {format_bytes(need)}"
    )
    values = {"free": room, "need": need}
    if room < need:
        return [
            CheckResult("/dev/shm", WARNING, text, "docker run --shm-size=8g, or fewer data.num_workers", values=values)
        ]
    return [CheckResult("/dev/shm", OK, text, values=values)]


def open_files() -> list[CheckResult]:
    """The limit on file descriptors: a worker keeps some for every batch."""
    import resource  # not on Windows

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    values = {"soft": soft, "hard": hard}
    if soft < _LEAST_FILES:
        return [CheckResult("open files", WARNING, f"at most {soft}", f"ulimit -n {min(hard, 65536)}", values=values)]
    return [CheckResult("open files", OK, f"at most {soft}", values=values)]


def disk() -> list[CheckResult]:
    """Where run folders and the embedded set go."""
    cache = Path(os.environ.get("VEXP_CACHE") or "~/.cache/vexp").expanduser()
    return [_folder("runs", Path.cwd() / "runs", "out_root=FOLDER"), _folder("cache", cache, "VEXP_CACHE=FOLDER")]


def _folder(name: str, folder: Path, other: str) -> CheckResult:
    at = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=at):
            free = shutil.disk_usage(at).free
    except OSError as error:
        return CheckResult(name, MISSING, f"{folder}: cannot be written: {error.strerror}", other, needed=True)
    status = WARNING if free < _LEAST_ROOM else OK
    fix = other if status == WARNING else ""
    return CheckResult(name, status, f"{format_bytes(free)} free for {folder}", fix, values={"free": free})


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []
