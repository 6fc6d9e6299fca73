"""Sweeps as the tests start, kill and look at them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

#: 2 x 3 x 4 jobs of four steps; a checkpoint in their middle.
GRID = ["optimizer=sgd,adamw", "lr=step,cosine,linear", "seed=range(4)", "sweep.name=s"]
SHORT = [
    "data.train_clips=1", "data.val_clips=1", "data.batch_size=4", "data.num_workers=0", "model.width=8", "epochs=2",
    "log=text", "log.interval=1", "device=cpu",
]  # fmt: skip


def start(folder: Path, words: Sequence[str]) -> subprocess.Popen[str]:
    """``python -m vexp.train -m WORDS`` in ``folder``; its output goes to output.txt, behind what is there."""
    with (folder / "output.txt").open("a") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "vexp.train", "-m", *SHORT, *words], cwd=folder, text=True,
            stdout=output, stderr=output,
            env=os.environ | {"COLUMNS": "200"},
        )  # fmt: skip


def sweep(folder: Path, words: Sequence[str]) -> tuple[int, str]:
    """Exit status and output of one invocation that is left alone."""
    (folder / "output.txt").unlink(missing_ok=True)
    status = start(folder, words).wait(timeout=600)
    return status, (folder / "output.txt").read_text()


def kill_when(process: subprocess.Popen[str], moment: Callable[[], bool]) -> None:
    """SIGKILL to the sweep's own process, and to no other."""
    until = time.monotonic() + 300
    while not moment():
        assert process.poll() is None, "the sweep ended before it could be killed"
        assert time.monotonic() < until
        time.sleep(0.005)
    process.kill()
    process.wait()


def jobs(folder: Path) -> list[Path]:
    return sorted(path.parent for path in (folder / "runs" / "sweeps" / "s").glob("*/config.yaml"))


def result(job: Path) -> dict[str, Any]:
    path = job / "result.json"
    return dict(json.loads(path.read_text())) if path.exists() else {}


def ended(folder: Path) -> dict[str, int]:
    """The jobs that are done, and when they were."""
    done = [job for job in jobs(folder) if result(job).get("status") == "done"]
    return {job.name: (job / "result.json").stat().st_mtime_ns for job in done}


def half_done(folder: Path) -> list[str]:
    """Jobs with a checkpoint and no result."""
    return [job.name for job in jobs(folder) if (job / "checkpoints" / "epoch_1.pth").exists() and not result(job)]


def records(job: Path) -> list[dict[str, Any]]:
    """metrics.jsonl without timings."""
    lines = (job / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if not k.startswith("time/")} for line in lines]
