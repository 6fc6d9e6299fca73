"""Kill, starve and damage training runs, resume each, and hold the end against a run that was left alone, bit for bit.

python scripts/crash_harness.py                   sixty faults, a few minutes, a table at the end
python scripts/crash_harness.py --faults 200 --seed 3

Each run trains a tiny net on the embedded set with a checkpoint after every step. After its fault it is resumed by
``--resume`` (one in four is then killed once more), and at the end

* the weights, their average, the optimizer, the random generators and the best score in last.pth equal those of the
  undisturbed run, and the weights of best.pth,
* metrics.jsonl (``time/`` aside) is the same, line for line,
* every checkpoint that was loaded on the way is one that the undisturbed run had at that step: no half file,
* nothing half is left in the folder, and the manifest agrees with every file.

Runs are forked from a process that has imported everything, which saves four seconds each. Needs Linux.
"""

from __future__ import annotations

import argparse
import errno
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.update(OMP_NUM_THREADS="1", OMP_WAIT_POLICY="PASSIVE")

import matplotlib.backends.backend_agg  # noqa: F401
import torch

from vexp import checkpoint, compose, train
from vexp.checkpoint import files as checkpoint_files
from vexp.checkpoint.manifest import Manifest

WORDS = [
    "optimizer=sgd", "data.train_clips=2", "data.val_clips=1", "data.batch_size=3", "grad.accumulate=2", "epochs=4",
    "model.width=8", "model.dropout=0.2", "ema=average", "grad=clip", "log=text", "log.interval=2", "device=cpu",
    "checkpoint.interval=1", "checkpoint.by_epoch=false", "data.num_workers=0",
]  # fmt: skip
KEEP_TWO = ["checkpoint.max_keep_ckpts=2"]
DONE, REFUSED, REQUEUE, INTERRUPTED = 0, 2, 75, 130

Prepare = Callable[[], None]  # runs in the child before training


# ---- processes ----


def fork(folder: Path, argv: list[str] | None, words: list[str], prepare: Prepare | None = None) -> Child:
    """A child that trains into ``folder``: anew with ``words``, or by the command line ``argv``."""
    pid = os.fork()
    if pid:
        return Child(pid)
    code = 1
    try:
        out = os.open(folder.with_suffix(".out"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(out, 1)
        os.dup2(out, 2)
        sys.stdout = sys.stderr = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115
        note_what_is_loaded(folder)
        if prepare is not None:
            prepare()
        if argv is None:
            code = REQUEUE if train.run(compose(words), folder, overrides=words)["status"] == "interrupted" else DONE
        else:
            sys.argv = ["train", *argv]
            train.main()
            code = DONE
    except SystemExit as left:
        code = int(left.code or 0)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except ValueError as error:  # UserError: said in a paragraph
        print(f"vexp: error: {error}")
        code = REFUSED
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


class Child:
    """A forked process; a signal to one that has ended goes nowhere."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.code: int | None = None  # exit status; negative for the signal that ended it

    def poll(self) -> int | None:
        if self.code is None:
            found, status = os.waitpid(self.pid, os.WNOHANG)
            self.code = os.waitstatus_to_exitcode(status) if found else None
        return self.code

    def wait(self) -> int:
        if self.code is None:
            self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.code

    def signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


def note_what_is_loaded(folder: Path) -> None:
    """In the child: write (step, digest) of each checkpoint that training starts from into a file beside the run."""
    load = checkpoint.load

    def noting(path: Path) -> dict[str, Any]:
        state = load(path)
        with folder.with_suffix(".loaded").open("a") as file:
            file.write(json.dumps([state["step"], digest(state)]) + "\n")
        return state

    checkpoint.load = noting


# ---- what must be equal ----


def digest(state: dict[str, Any]) -> str:
    """Of all of a checkpoint that decides how training goes on; not of its config and not of timings."""
    sha = hashlib.sha256()

    def walk(value: Any) -> None:
        if isinstance(value, torch.Tensor):
            sha.update(f"{value.dtype}{tuple(value.shape)}".encode())
            sha.update(value.contiguous().numpy().tobytes())
        elif isinstance(value, dict):
            for key in sorted(value, key=str):
                if not str(key).startswith("time/"):
                    sha.update(str(key).encode())
                    walk(value[key])
        elif isinstance(value, list | tuple):
            for item in value:
                walk(item)
        else:
            sha.update(repr(value).encode())

    walk({key: value for key, value in state.items() if key != "config"})
    return sha.hexdigest()


def records(folder: Path) -> list[str]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [json.dumps({k: v for k, v in line.items() if not k.startswith("time/")}) for line in lines]


@dataclass
class Reference:
    """The run that was left alone."""

    folder: Path
    seconds: float
    digests: dict[int, str]  # by step

    @staticmethod
    def make(folder: Path) -> Reference:
        for part in (folder.with_name("first"), folder):  # the first makes the videos where they are not there yet
            begin = time.perf_counter()
            code = fork(part, None, [*WORDS, "checkpoint.max_keep_ckpts=-1"]).wait()
            assert code == DONE, part.with_suffix(".out").read_text()
            seconds = time.perf_counter() - begin
        states = [checkpoint.load(path) for path in (folder / "checkpoints").glob("step_*.pth")]
        return Reference(folder, seconds, {state["step"]: digest(state) for state in states})

    def differences(self, folder: Path, *, manifest_lost: bool) -> list[str]:
        """What is not as in the undisturbed run."""
        found = []
        places = folder / "checkpoints", self.folder / "checkpoints"
        for name in ("last.pth", "best.pth"):
            mine, theirs = (digest(checkpoint.load(place / name)) for place in places)
            if mine != theirs:
                found.append(f"{name} differs")
        if (places[0] / "best.json").read_text() != (places[1] / "best.json").read_text():
            found.append("best.json differs")
        if records(folder) != records(self.folder):
            found.append("metrics.jsonl differs")
        loaded = folder.with_suffix(".loaded")
        for line in loaded.read_text().splitlines() if loaded.exists() else ():
            step, seen = json.loads(line)
            if self.digests.get(step) != seen:
                found.append(f"a checkpoint of step {step} was loaded that is not that of the reference")
        found += [f"left behind: {path.name}" for path in folder.rglob(".*.tmp")]
        manifest = Manifest.read(places[0])
        for path in places[0].glob("*.pth"):
            known = checkpoint_files.check(path) is not None and len(manifest.of(path.name)) == 1
            if not known and not manifest_lost:
                found.append(f"manifest.json does not know {path.name}")
        if json.loads((folder / "result.json").read_text())["status"] != "done":
            found.append("result.json does not say done")
        return found


# ---- faults that a child does to itself ----


def at_event(count: int, strike: Callable[[], None]) -> Prepare:
    """``strike`` at the ``count``-th thing that the saving thread does to the disk."""

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

        hashing = checkpoint_files._Hashing
        hashing.write = counted(hashing.write, halves=True)  # type: ignore[method-assign]
        os.fsync = counted(os.fsync)
        for name in ("replace", "hardlink_to", "unlink"):
            setattr(Path, name, counted(getattr(Path, name)))

    return prepare


@dataclass
class Striking:
    """A file whose next write is the fault."""

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
    """No file beyond ``limit`` bytes, as under a quota."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))


# ---- trials ----


@dataclass
class Trial:
    """One run and what is done to it."""

    folder: Path
    reference: Reference
    random: random.Random
    expected: list[str] = field(default_factory=list)
    manifest_lost: bool = False

    def moment(self, start: float = 0.0) -> float:
        return self.random.uniform(start, 1.0) * self.reference.seconds

    def begin(self, *extra: str, prepare: Prepare | None = None) -> Child:
        return fork(self.folder, None, [*WORDS, *KEEP_TWO, *extra], prepare)

    def signalled(self, number: int, *extra: str) -> int:
        child = self.begin(*extra)
        time.sleep(self.moment())
        child.signal(number)
        return child.wait()

    def after_checkpoints(self, count: int) -> int:
        """Kill it once ``count`` checkpoints have been written, at any moment of the next ones."""
        child = self.begin()
        while len(self.written()) < count and child.poll() is None:
            time.sleep(0.002)
        time.sleep(self.random.uniform(0, self.reference.seconds / 12))
        child.signal(signal.SIGKILL)
        return child.wait()

    def written(self) -> list[str]:
        try:
            manifest = Manifest.read(self.folder / "checkpoints")
        except ValueError:
            return []
        return [name for name in manifest.names() if name.startswith("step_")]

    def newest(self) -> Path:
        found = checkpoint.find(self.folder / "checkpoints")
        assert found is not None
        return found

    def said(self) -> str:
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
    """A file system of a megabyte or two where one can be mounted; it is enlarged before the run is resumed."""
    trial.folder.mkdir()
    small = ["mount", "-t", "tmpfs", "-o", f"size={trial.random.randint(600, 1900)}k", "tmpfs", str(trial.folder)]
    if subprocess.run(small, capture_output=True, check=False).returncode != 0:
        trial.folder.rmdir()
        return disk_quota(trial)
    try:
        code = trial.begin().wait()
        subprocess.run(["mount", "-o", "remount,size=200m", str(trial.folder)], check=True)
        wrong = stopped(code, REFUSED)
        if not wrong and code == REFUSED and "No space left on device" not in trial.said():
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
    return stopped(code, REFUSED) or ("" if "File too large" in trial.said() else "the message does not name the limit")


def disk_full_while_saving(trial: Trial) -> str:
    code = trial.begin(prepare=at_event(trial.random.randint(1, 297), no_space)).wait()
    told = "No space left on device" in trial.said()
    return stopped(code, REFUSED) or ("" if told or code == DONE else "the message does not name the disk")


def worker_killed(trial: Trial) -> str:
    """As the OOM killer does."""
    child = trial.begin("data.num_workers=1")
    time.sleep(trial.moment(0.3))
    workers = Path(f"/proc/{child.pid}/task/{child.pid}/children")
    for worker in workers.read_text().split() if workers.exists() else ():
        os.kill(int(worker), signal.SIGKILL)
    code = child.wait()
    told = "data worker" in trial.said()
    return stopped(code, REFUSED) or ("" if told or code == DONE else "the message does not name the worker")


def damaged(change: Callable[[bytes, random.Random], bytes]) -> Callable[[Trial], str]:
    """Killed with at least two checkpoints on the disk; then the newest is changed."""

    def strike(trial: Trial) -> str:
        trial.after_checkpoints(trial.random.randint(2, 9))
        path = trial.newest()
        path.write_bytes(change(path.read_bytes(), trial.random))
        trial.expected.append(f"passed over: {path}")
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
    """ "" where a run ended as it should: as wanted, or done before the fault struck."""
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


def survive(trial: Trial, fault: Callable[[Trial], str]) -> list[str]:
    """One fault, perhaps a SIGKILL after it, then resumed to the end; what went wrong."""
    wrong = [text] if (text := fault(trial)) else []
    if trial.random.random() < 0.25 and trial.started():
        child = fork(trial.folder, ["--resume", str(trial.folder)], [])
        time.sleep(trial.moment())
        child.signal(signal.SIGKILL)
        child.wait()
    code = trial.resume()
    if code != DONE:
        return [*wrong, f"resuming ended with status {code}: {trial.said()[-600:]}"]
    wrong += [f"not said: {text}" for text in trial.expected if text not in trial.said()]
    return wrong + trial.reference.differences(trial.folder, manifest_lost=trial.manifest_lost)


@contextmanager
def workplace(named: str | None) -> Iterator[Path]:
    if named is not None:
        Path(named).mkdir(parents=True, exist_ok=True)
        yield Path(named).absolute()
    else:
        with tempfile.TemporaryDirectory(prefix="crash_harness_") as folder:
            yield Path(folder)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=60, help="how many runs are disturbed")
    parser.add_argument("--seed", type=int, default=0, help="of moments and places")
    parser.add_argument(
        "--each-kind", action="store_true", help="every kind in turn, else the likelier ones more often"
    )
    parser.add_argument("--only", default="", help="kinds of faults that contain this text")
    parser.add_argument("--folder", help="keep the runs here")
    options = parser.parse_args()
    weights = [1] * len(FAULTS) if options.each_kind else WEIGHTS
    kinds = [name for name, weight in zip(FAULTS, weights, strict=True) for _ in range(weight) if options.only in name]
    tried: dict[str, int] = defaultdict(int)
    failures: list[str] = []
    begin = time.perf_counter()
    with workplace(options.folder) as place:
        reference = Reference.make(place / "reference")
        print(f"reference: {len(reference.digests)} steps in {reference.seconds:.1f} s", flush=True)
        for number in range(options.faults):
            name = kinds[number % len(kinds)]
            trial = Trial(place / f"run_{number:03}", reference, random.Random(f"{options.seed} {number}"))
            try:
                wrong = survive(trial, FAULTS[name])
            except (OSError, ValueError) as error:  # a file that should be there is not
                wrong = [f"{type(error).__name__}: {error}"]
            tried[name] += 1
            if wrong:
                failures.append(name)
                print(f"run {number}, {name}: {'; '.join(wrong)}", flush=True)
            elif number % 10 == 9:
                print(f"{number + 1} faults, {time.perf_counter() - begin:.0f} s", flush=True)
            if options.folder is None:
                shutil.rmtree(trial.folder, ignore_errors=True)
    print(f"{'fault':56} tried survived")
    for name, count in tried.items():
        print(f"{name:56} {count:5} {count - failures.count(name):8}")
    total = sum(tried.values())
    print(f"{'all':56} {total:5} {total - len(failures):8}   in {time.perf_counter() - begin:.0f} s")
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
