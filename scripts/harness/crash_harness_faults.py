"""The faults of scripts/harness/crash_harness.py: signals, full disks, damaged files, a lost worker."""

from __future__ import annotations

import errno
import os
import random
import resource
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crash_harness_runs import DONE, INTERRUPTED, OVERRIDES, REFUSED, REQUEUE, Child, Prepare, Reference, fork

from vexp import checkpoint
from vexp.checkpoint import file as checkpoint_files
from vexp.checkpoint.manifest import Manifest
from vexp.core.errors import UserError

KEEP_TWO = ["checkpoint.max_keep_ckpts=2"]


def at_event(count: int, strike: Callable[[], None]) -> Prepare:
    """Call ``strike`` at the ``count``-th disk operation of the thread that saves."""

    def prepare() -> None:
        seen = 0

        def counted(real: Callable[..., Any], *, halves: bool = False) -> Callable[..., Any]:
            def wrapper(*args: Any, **kwargs: Any) -> Any:
                nonlocal seen
                if threading.current_thread().name == "checkpoint":
                    seen += 1
                    if seen == count and halves:
                        args[0].file.write(args[1][: len(args[1]) // 2])
                        args[0].file = Striking(strike)
                    elif seen == count:
                        strike()
                return real(*args, **kwargs)

            return wrapper

        hashing = checkpoint_files._HashingFile
        hashing.write = counted(hashing.write, halves=True)  # type: ignore[method-assign]
        os.fsync = counted(os.fsync)
        for name in ("replace", "hardlink_to", "unlink"):
            setattr(Path, name, counted(getattr(Path, name)))

    return prepare


@dataclass
class Striking:
    """A file whose next write fails."""

    strike: Callable[[], None]

    def write(self, _: Any) -> int:
        self.strike()
        return 0

    def close(self) -> None: ...


def kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)  # the signal needs no longer than that


def no_space() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def small_files(limit: int) -> Prepare:
    """Limit the size of files to ``limit`` bytes, as a quota does."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))


@dataclass
class Trial:
    """One run and its fault."""

    folder: Path
    reference: Reference
    random: random.Random
    expected: list[str] = field(default_factory=list)  # regular expressions that the output of resuming must match
    manifest_lost: bool = False

    def moment(self, start: float = 0.0) -> float:
        return self.random.uniform(start, 1.0) * self.reference.seconds

    def begin(self, *extra: str, prepare: Prepare | None = None) -> Child:
        return fork(self.folder, None, [*OVERRIDES, *KEEP_TWO, *extra], prepare)

    def signalled(self, number: int, *extra: str) -> int:
        child = self.begin(*extra)
        time.sleep(self.moment())
        child.signal(number)
        return child.wait()

    def after_checkpoints(self, count: int) -> int:
        """Kill the run at a random moment after ``count`` checkpoints have been written."""
        child = self.begin()
        while len(self.written()) < count and child.poll() is None:
            time.sleep(0.002)
        time.sleep(self.random.uniform(0, self.reference.seconds / 12))
        child.signal(signal.SIGKILL)
        return child.wait()

    def written(self) -> list[str]:
        folder = self.folder / "checkpoints"
        try:
            names = Manifest.read(folder).names()  # lists a file just before it gets its name
        except UserError:
            return []
        return [name for name in names if name.startswith("step_") and (folder / name).exists()]

    def newest(self) -> Path:
        found = checkpoint.find(self.folder / "checkpoints")
        assert found is not None
        return found

    def output(self) -> str:
        return self.folder.with_suffix(".out").read_text(errors="replace")

    def resume(self) -> int:
        if not self.started():
            return self.again()
        return fork(self.folder, ["--resume", str(self.folder)], []).wait()

    def started(self) -> bool:
        return (self.folder / "config.yaml").exists()

    def again(self) -> int:
        """Killed before there was anything to resume."""
        shutil.rmtree(self.folder, ignore_errors=True)
        return self.begin().wait()


def sigkill(trial: Trial) -> str:
    return stopped(trial.signalled(signal.SIGKILL), -9)


def sigkill_with_workers(trial: Trial) -> str:
    return stopped(trial.signalled(signal.SIGKILL, "data.num_workers=2"), -9)


def sigkill_while_saving(trial: Trial) -> str:
    return stopped(trial.begin(prepare=at_event(trial.random.randint(1, 297), kill_self)).wait(), -9)


def sigterm(trial: Trial) -> str:
    return stopped(trial.signalled(signal.SIGTERM), REQUEUE, -15)  # -15: before training had begun


def sigusr1(trial: Trial) -> str:
    return stopped(trial.signalled(signal.SIGUSR1, "data.num_workers=1"), REQUEUE, -10)


def ctrl_c_twice(trial: Trial) -> str:
    child = trial.begin()
    time.sleep(trial.moment())
    child.signal(signal.SIGINT)
    time.sleep(0.005)
    child.signal(signal.SIGINT)
    return stopped(child.wait(), INTERRUPTED, REQUEUE)


def disk_full(trial: Trial) -> str:
    """Use a file system of one or two megabytes if it can be mounted; it is enlarged before the run is resumed."""
    trial.folder.mkdir()
    small = ["mount", "-t", "tmpfs", "-o", f"size={trial.random.randint(600, 1900)}k", "tmpfs", str(trial.folder)]
    if subprocess.run(small, capture_output=True, check=False).returncode != 0:
        trial.folder.rmdir()
        return disk_quota(trial)
    try:
        code = trial.begin().wait()
        subprocess.run(["mount", "-o", "remount,size=200m", str(trial.folder)], check=True)
        wrong = stopped(code, REFUSED)
        if not wrong and code == REFUSED and "No space left on device" not in trial.output():
            wrong = "the message does not name the disk"
        inside = trial.folder.with_name(trial.folder.name + "_saved")
        shutil.copytree(trial.folder, inside, symlinks=True)
    finally:
        subprocess.run(["umount", str(trial.folder)], check=True)
    trial.folder.rmdir()
    inside.rename(trial.folder)
    return wrong


def disk_quota(trial: Trial) -> str:
    code = trial.begin(prepare=small_files(trial.random.randint(20_000, 200_000))).wait()
    return stopped(code, REFUSED) or (
        "" if "File too large" in trial.output() else "the message does not name the limit"
    )


def disk_full_while_saving(trial: Trial) -> str:
    code = trial.begin(prepare=at_event(trial.random.randint(1, 297), no_space)).wait()
    is_named = "No space left on device" in trial.output()
    return stopped(code, REFUSED) or ("" if is_named or code == DONE else "the message does not name the disk")


def worker_killed(trial: Trial) -> str:
    """Kill a data worker, as the OOM killer does."""
    child = trial.begin("data.num_workers=1")
    time.sleep(trial.moment(0.3))
    workers = Path(f"/proc/{child.pid}/task/{child.pid}/children")
    for worker in workers.read_text().split() if workers.exists() else ():
        os.kill(int(worker), signal.SIGKILL)
    code = child.wait()
    is_named = "data loading worker" in trial.output()
    return stopped(code, REFUSED) or ("" if is_named or code == DONE else "the message does not name the worker")


def damaged(change: Callable[[bytes, random.Random], bytes]) -> Callable[[Trial], str]:
    """Kill the run with at least two checkpoints on the disk, then change the newest."""

    def strike(trial: Trial) -> str:
        trial.after_checkpoints(trial.random.randint(2, 9))
        path = trial.newest()
        names = [other.name for other in path.parent.glob("*.pth") if other.samefile(path)]  # last.pth is one of two
        path.write_bytes(change(path.read_bytes(), trial.random))
        trial.expected.append(f"skipped: {path.parent}/({'|'.join(names)}): ")
        return ""

    return strike


def truncated(content: bytes, generator: random.Random) -> bytes:
    return content[: generator.randrange(len(content))]


def flipped(content: bytes, generator: random.Random) -> bytes:
    changed = bytearray(content)
    changed[generator.randrange(len(changed))] ^= 1 << generator.randrange(8)
    return bytes(changed)


def damaged_manifest(trial: Trial) -> str:
    trial.after_checkpoints(trial.random.randint(2, 9))
    trial.manifest_lost = True
    path = trial.folder / "checkpoints" / "manifest.json"
    change = trial.random.choice([truncated, flipped, lambda *_: b"", lambda content, _: bytes(len(content))])
    path.write_bytes(change(path.read_bytes(), trial.random))
    return ""


def torn_metrics(trial: Trial) -> str:
    trial.after_checkpoints(trial.random.randint(4, 9))
    path = trial.folder / "metrics.jsonl"
    with path.open("ab") as file:
        file.write(b'{"mode": "train", "step": 99, "lo')
    return ""


def stopped(code: int, *wanted: int) -> str:
    """Return an empty string if a run ended as it should, or before the fault, else what is wrong."""
    return "" if code in (*wanted, DONE) else f"ended with status {code}"


FAULTS: dict[str, Callable[[Trial], str]] = {
    "SIGKILL at a random moment": sigkill,
    "SIGKILL while saving, at a random write, sync, rename": sigkill_while_saving,
    "SIGKILL at a random moment, two workers": sigkill_with_workers,
    "SIGTERM at a random moment": sigterm,
    "SIGUSR1 at a random moment, one worker": sigusr1,
    "Ctrl-C twice": ctrl_c_twice,
    "disk full, small file system": disk_full,
    "disk full at a random write": disk_full_while_saving,
    "file size limit (quota)": disk_quota,
    "data worker killed by SIGKILL": worker_killed,
    "newest checkpoint truncated": damaged(truncated),
    "newest checkpoint with a flipped bit": damaged(flipped),
    "manifest.json truncated, flipped, emptied or zeroed": damaged_manifest,
    "metrics.jsonl with a torn last line": torn_metrics,
}
WEIGHTS = [3, 4, 1, 2, 1, 1, 1, 1, 1, 1, 2, 2, 2, 1]
