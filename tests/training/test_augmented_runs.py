"""Runs with RandAugment, random erasing and repeated augmentation: several processes, and a kill and resume."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from support.run_files import assert_same_weights, read_checkpoint, read_metrics

from vexp import compose

pytestmark = pytest.mark.slow
OVERRIDES = [
    "data.train_clips=2", "data.val_clips=1", "data.num_workers=1", "data.train.indices=15", "model.width=8",
    "model.norm=group", "optimizer=sgd", "optimizer.lr=0.01", "epochs=2", "log=text", "log.plots=false",
    "log.interval=1", "device=cpu", "eval=never", "checkpoint=all", "checkpoint.by_epoch=false",
    "loss.label_smoothing=0.1", "data.train.repeat_augment=2", "+transform@pipeline.train.augment=rand_augment",
    "+transform@pipeline.train.erase=random_erasing",
]  # fmt: skip


def start(overrides: list[str]) -> subprocess.Popen[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    command = [sys.executable, "-m", "vexp.train", *overrides]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True)


def run(overrides: list[str]) -> None:
    process = start(overrides)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors


def trained(out: Path, *overrides: str) -> Path:
    """Train and return the run folder."""
    run([*OVERRIDES, f"out_root={out.parent}", f"run_name={out.name}", *overrides])
    (folder,) = out.iterdir()
    return folder


@pytest.fixture(scope="module")
def straight(motion_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one process with 4 videos, 8 samples, in a batch."""
    compose(OVERRIDES).data.prepare()
    return trained(tmp_path_factory.mktemp("straight") / "run", "data.batch_size=4")


def test_augmented_run_of_two_processes_matches_one(straight: Path, tmp_path: Path) -> None:
    two = trained(tmp_path / "two", "data.batch_size=2", "nproc=2")
    for a, b in zip(read_metrics(straight, "train"), read_metrics(two, "train"), strict=True):
        assert a.pop("mode") == b.pop("mode")
        assert a == pytest.approx(b, rel=1e-4)
    # Later weights differ by more: rounding decides between equal values of the fill, in max pooling for example.
    first, second = (read_checkpoint(folder, "step_2.pth")["model"] for folder in (straight, two))
    for key, value in first.items():
        torch.testing.assert_close(value, second[key], rtol=1e-4, atol=1e-6)
    assert "8 samples per step (batch 2 x 2 processes x 2 repeats)" in (two / "log.txt").read_text()


def test_augmented_run_killed_and_resumed_equals_straight_run(straight: Path, tmp_path: Path) -> None:
    killed = tmp_path / "killed"
    process = start([*OVERRIDES, "data.batch_size=4", f"out_root={tmp_path}", "run_name=killed", "data.num_workers=2"])
    until = time.monotonic() + 120
    while not list(killed.glob("*/checkpoints/step_3.pth")) and time.monotonic() < until:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    (folder,) = killed.iterdir()
    run(["--resume", str(folder)])
    assert read_metrics(folder, "train") == read_metrics(straight, "train")
    assert_same_weights(folder, straight)
