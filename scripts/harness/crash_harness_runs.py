"""Runs of scripts/harness/crash_harness.py as forked children, and what of two runs must be equal."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.update(OMP_NUM_THREADS="1", OMP_WAIT_POLICY="PASSIVE")

import matplotlib.backends.backend_agg  # noqa: F401
import torch

from vexp import checkpoint, compose, train
from vexp.checkpoint import file as checkpoint_files
from vexp.checkpoint.manifest import Manifest
from vexp.core.errors import UserError

OVERRIDES = [
    "optimizer=sgd", "data.train_clips=2", "data.val_clips=1", "data.batch_size=3", "grad.accumulate=2", "epochs=4",
    "model.width=8", "model.dropout=0.2", "ema=average", "grad=clip", "log=text", "log.interval=2", "device=cpu",
    "checkpoint.interval=1", "checkpoint.by_epoch=false", "data.num_workers=0",
]  # fmt: skip
DONE, REFUSED, REQUEUE, INTERRUPTED = 0, 2, 75, 130

Prepare = Callable[[], None]  # runs in the child before training


def fork(folder: Path, argv: list[str] | None, overrides: list[str], prepare: Prepare | None = None) -> Child:
    """Start a child that trains into ``folder``: a new run with ``overrides``, or the command line ``argv``."""
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
            code = (
                REQUEUE
                if train.run(compose(overrides), folder, overrides=overrides)["status"] == "interrupted"
                else DONE
            )
        else:
            code = train.main(argv)
    except SystemExit as left:
        code = int(left.code or 0)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except UserError as error:
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
    """In the child: write (step, measured, digest) of each checkpoint that is loaded into a file beside the run."""
    load = checkpoint.load

    def noting(path: Path) -> dict[str, Any]:
        state = load(path)
        with folder.with_suffix(".loaded").open("a") as file:
            measured = not state["unmeasured"]
            file.write(json.dumps([state["step"], measured, digest(state, measured=measured)]) + "\n")
        return state

    checkpoint.load = noting


def digest(state: dict[str, Any], *, measured: bool = True) -> str:
    """Return the digest of everything in a checkpoint that determines further training, without config and timings.

    Without ``measured`` the results of the evaluation are left out: a signal interrupted it, and it is repeated.
    """
    left_out = {"config"} if measured else {"config", "best", "unmeasured"}
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

    walk({key: value for key, value in state.items() if key not in left_out})
    return sha.hexdigest()


def records(folder: Path) -> list[str]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [json.dumps({k: v for k, v in line.items() if not k.startswith("time/")}) for line in lines]


@dataclass
class Reference:
    """The undisturbed run."""

    folder: Path
    seconds: float
    digests: set[tuple[int, bool, str]]  # step, measured, digest

    @staticmethod
    def make(folder: Path) -> Reference:
        for part in (folder.with_name("first"), folder):  # the first creates the videos if they do not exist
            begin = time.perf_counter()
            code = fork(part, None, [*OVERRIDES, "checkpoint.max_keep_ckpts=-1"]).wait()
            assert code == DONE, part.with_suffix(".out").read_text()
            seconds = time.perf_counter() - begin
        states = [checkpoint.load(path) for path in (folder / "checkpoints").glob("step_*.pth")]
        digests = {(s["step"], measured, digest(s, measured=measured)) for s in states for measured in (True, False)}
        return Reference(folder, seconds, digests)

    def differences(self, folder: Path, *, manifest_lost: bool) -> list[str]:
        """Return the differences from the undisturbed run."""
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
            seen = tuple(json.loads(line))
            if seen not in self.digests:
                found.append(f"a checkpoint of step {seen[0]} was loaded that is not that of the reference")
        found += [f"left behind: {path.name}" for path in folder.rglob(".*.tmp")]
        manifest = Manifest.read(places[0])
        for path in places[0].glob("*.pth"):
            known = checkpoint_files.check(path) is not None and len(manifest.entries_of(path.name)) == 1
            if not known and not manifest_lost:
                found.append(f"manifest.json does not list {path.name}")
        if json.loads((folder / "result.json").read_text())["status"] != "done":
            found.append("result.json does not say done")
        return found
