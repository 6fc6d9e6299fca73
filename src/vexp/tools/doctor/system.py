"""Resources of the system: cores, memory, shared memory, open files and disk space."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from vexp.core.files import format_bytes
from vexp.tools.doctor.check_result import MISSING, OK, CheckResult, ok_or_warning

_CGROUP = Path("/sys/fs/cgroup")
_MAX_WORKERS = 8  # as in vexp.data.loading.dataloader.available_workers
#: Batches per worker in shared memory at once: two prefetched by torch and one that is being copied.
_BATCHES_IN_FLIGHT = 3
_BATCH_BYTES = 8 * 16 * 224 * 224 * 3  # eight clips of 16x224x224
_MIN_OPEN_FILES, _MIN_DISK_BYTES = 1024, 2e9


def cores() -> list[CheckResult]:
    """Check the usable cores and a container's CPU limit, which Python does not report."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota()
    text, fix = f"{usable} usable of {os.cpu_count()}", ""
    if quota is not None and quota < usable - 0.01:
        text += f", but the container is limited to {quota:g}: the default number of workers is too large"
        fix = f"data.num_workers={min(max(1, round(quota)), _MAX_WORKERS)}"
    elif quota:
        text += f", container limit {quota:g}"
    return [ok_or_warning("cores", text, fix, usable=usable, cgroup_limit=quota)]


def cpu_quota(root: Path = _CGROUP) -> float | None:
    """Return the CPU limit, in cores, of a control group (version 2 or 1); None if there is no limit."""
    fields = _read_fields(root / "cpu.max")
    if not fields:
        fields = [field for name in ("quota", "period") for field in _read_fields(root / f"cpu/cpu.cfs_{name}_us")]
    if not fields or fields[0] in ("max", "-1"):
        return None
    return int(fields[0]) / int(fields[1])


def memory() -> list[CheckResult]:
    """Check the memory of the machine or the container's limit."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = _read_fields(_CGROUP / "memory.max") or _read_fields(_CGROUP / "memory/memory.limit_in_bytes")
    available = min(total, int(limit[0])) if limit and limit[0] != "max" else total
    return [CheckResult("memory", OK, format_bytes(available), values={"bytes": available})]


def shared_memory() -> list[CheckResult]:
    """Check /dev/shm, through which workers pass batches to the main process."""
    folder = Path("/dev/shm")
    if not folder.is_dir():
        return [CheckResult("/dev/shm", OK, "not used on this system")]
    free = shutil.disk_usage(folder).free
    workers = min(_MAX_WORKERS, os.cpu_count() or 1)
    need = workers * _BATCHES_IN_FLIGHT * _BATCH_BYTES
    batches = f"{workers} workers with batches of 8 clips of 16x224x224 need {format_bytes(need)}"
    fix = "docker run --shm-size=8g, or a lower data.num_workers" if free < need else ""
    return [ok_or_warning("/dev/shm", f"{format_bytes(free)} free; {batches}", fix, free=free, need=need)]


def open_files() -> list[CheckResult]:
    """Check the limit on file descriptors: a worker holds several per batch."""
    import resource  # not available on Windows

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    fix = f"ulimit -n {min(hard, 65536)}" if soft < _MIN_OPEN_FILES else ""
    return [ok_or_warning("open files", f"at most {soft}", fix, soft=soft, hard=hard)]


def disk() -> list[CheckResult]:
    """Check the folders of runs and of the embedded dataset."""
    cache = Path(os.environ.get("VEXP_CACHE") or "~/.cache/vexp").expanduser()
    results = []
    for name, folder, fix in (("runs", Path.cwd() / "runs", "out_root"), ("cache", cache, "VEXP_CACHE")):
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        try:
            with tempfile.TemporaryFile(dir=existing):
                free = shutil.disk_usage(existing).free
        except OSError as error:
            text = f"{folder}: cannot be written: {error.strerror}"
            results.append(CheckResult(name, MISSING, text, f"{fix}=FOLDER", needed=True))
        else:
            text, fix = f"{format_bytes(free)} free for {folder}", f"{fix}=FOLDER" if free < _MIN_DISK_BYTES else ""
            results.append(ok_or_warning(name, text, fix, free=free))
    return results


def _read_fields(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []
