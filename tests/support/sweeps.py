"""Start, kill and inspect sweeps."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

#: 2 x 3 x 4 jobs of four steps, each with a checkpoint in the middle.
GRID = ["optimizer=sgd,adamw", "lr=step,cosine,linear", "seed=range(4)", "sweep.name=s"]
SHORT = [
    "data.train_clips=1", "data.val_clips=1", "data.batch_size=4", "data.num_workers=0", "model.width=8", "epochs=2",
    "log=text", "log.interval=1", "device=cpu",
]  # fmt: skip


def start(folder: Path, overrides: Sequence[str]) -> subprocess.Popen[str]:
    """Start ``python -m vexp.train -m OVERRIDES`` in ``folder``; append its output to output.txt."""
    with (folder / "output.txt").open("a") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "vexp.train", "-m", *SHORT, *overrides], cwd=folder, text=True,
            stdout=output, stderr=output,
            env=os.environ | {"COLUMNS": "200"},
        )  # fmt: skip


def sweep(folder: Path, overrides: Sequence[str]) -> tuple[int, str]:
    """Run a sweep to its end; return the exit status and the output."""
    (folder / "output.txt").unlink(missing_ok=True)
    status = start(folder, overrides).wait(timeout=600)
    return status, (folder / "output.txt").read_text()


def kill_when(process: subprocess.Popen[str], condition: Callable[[], bool]) -> None:
    """Send SIGKILL to the main process of a sweep, and to no other, once a condition holds."""
    deadline = time.monotonic() + 300
    while not condition():
        assert process.poll() is None, "the sweep ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.kill()
    process.wait()


def jobs(folder: Path) -> list[Path]:
    """Return the folders of the jobs that have been started."""
    return sorted(path.parent for path in (folder / "runs" / "sweeps" / "s").glob("*/config.yaml"))


def result(job: Path) -> dict[str, Any]:
    """Return the content of result.json; empty without one."""
    path = job / "result.json"
    return dict(json.loads(path.read_text())) if path.exists() else {}


def finish_times(folder: Path) -> dict[str, int]:
    """Return the names of the jobs that are done, and the time of each result."""
    done = [job for job in jobs(folder) if result(job).get("status") == "done"]
    return {job.name: (job / "result.json").stat().st_mtime_ns for job in done}


def unfinished_jobs(folder: Path) -> list[str]:
    """Return the names of the jobs with a checkpoint and no result."""
    return [job.name for job in jobs(folder) if (job / "checkpoints" / "epoch_1.pth").exists() and not result(job)]
