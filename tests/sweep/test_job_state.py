"""The state of a job from the folder that an earlier invocation left."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from vexp import compose
from vexp.config.instantiate import to_dict
from vexp.config.schema import Config
from vexp.config.sweep import Sweep
from vexp.evaluation.config import Eval
from vexp.sweep.job_state import Job, Objective


@pytest.fixture(scope="module")
def today() -> Config:
    return compose(["seed=1"])


def other(config: Config, **settings: object) -> Config:
    """The config with a changed ``sweep``, ``eval``, ``optimizer`` ..."""
    return replace(config, **settings)  # type: ignore[arg-type]


def left(folder: Path, config: Config, status: str | None = None, *, checkpoint: bool = False) -> Job:
    """The folder of a run that came so far."""
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(to_dict(config, types=True)))
    if status is not None:
        (folder / "result.json").write_text(json.dumps({"status": status, "metrics": {"val/top1_acc": 0.5}}))
    if checkpoint:
        (folder / "checkpoints").mkdir()
        (folder / "checkpoints" / "last.pth").touch()
    return Job([], "", folder, config)


def test_job_without_folder_is_new(today: Config, tmp_path: Path) -> None:
    job = Job([], "", tmp_path / "job", today)
    job.refresh()
    assert (job.state, math.isnan(job.objective())) == ("new", True)


@pytest.mark.parametrize(
    ("status", "checkpoint", "state"),
    [
        (None, False, "incomplete"),  # killed before its first checkpoint
        (None, True, "incomplete"),
        ("interrupted", True, "incomplete"),
        ("failed", True, "failed"),
        ("failed", False, "failed"),
        ("done", True, "done"),
        ("done", False, "done"),  # checkpoint=never
    ],
)
def test_job_state_follows_result_and_checkpoint(
    today: Config, tmp_path: Path, status: str | None, checkpoint: bool, state: str
) -> None:
    job = left(tmp_path / "job", today, status, checkpoint=checkpoint)
    job.refresh()
    assert (job.state, job.differences) == (state, [])


@pytest.mark.parametrize(
    ("status", "checkpoint", "state"),
    [
        ("done", False, "changed"),
        (None, True, "changed"),  # half of it would be of other settings
        ("failed", True, "changed"),
        ("failed", False, "failed"),  # nothing is there to be mixed: the mended job is tried again
        (None, False, "incomplete"),
    ],
)
def test_job_with_other_settings_is_changed(
    today: Config, tmp_path: Path, status: str | None, checkpoint: bool, state: str
) -> None:
    then = other(
        today, optimizer=replace(today.optimizer, lr=0.5), resume="auto", out_root="else", sweep=Sweep(fail_fast=True)
    )
    job = left(tmp_path / "job", then, status, checkpoint=checkpoint)
    job.config = today
    job.refresh()
    assert job.state == state
    assert job.differences == (["optimizer.lr 0.5 -> 0.003"] if state == "changed" else [])
    job.config = other(today, sweep=Sweep(changed="keep"))
    job.refresh()
    assert job.state == {"done": "done", "failed": "failed", None: "incomplete"}[status]


def test_archive_moves_folder_to_replaced(today: Config, tmp_path: Path) -> None:
    for _ in range(2):
        left(tmp_path / "job", today, "done").archive()
    assert sorted(path.name for path in (tmp_path / ".replaced").iterdir()) == ["job.1", "job.2"]
    assert not (tmp_path / "job").exists()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="folders are not locked there")
def test_job_in_locked_folder_is_running(today: Config, tmp_path: Path) -> None:
    job = left(tmp_path / "job", today)
    code = "from vexp.experiment.run_dir import lock_run_dir; from pathlib import Path\n"
    code += f"with lock_run_dir(Path({str(job.folder)!r})):\n"
    holder = subprocess.Popen(
        [sys.executable, "-c", code + "    print(1, flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline()
    job.refresh()
    assert job.state == "running"
    holder.communicate(b"\n")
    job.refresh()
    assert job.state == "incomplete"


@pytest.mark.parametrize(
    ("sweep", "evaluation", "name", "greater", "value"),
    [
        (None, "auto", "val/top1_acc", True, 0.9),  # of eval.save_best, its best
        ("val/loss", "auto", "val/loss", False, 0.3),  # the last
        ("val/top5_acc", "auto", "val/top5_acc", True, 0.8),
        (None, "loss", "val/loss", False, 0.3),
        (None, None, "val/loss", False, 0.3),
        ("val/top1_acc", "loss", "val/top1_acc", True, 0.9),
    ],
)
def test_objective_of_sweep_and_eval(
    today: Config, sweep: str | None, evaluation: str | None, name: str, greater: bool, value: float
) -> None:
    config = other(today, sweep=Sweep(objective=sweep), eval=Eval(save_best=evaluation))
    objective = Objective.of(config)
    assert (objective.name, objective.greater) == (name, greater)
    result = {
        "best": {"metric": "top1_acc", "score": 0.9},
        "metrics": {"val/top1_acc": 0.7, "val/loss": 0.3, "val/top5_acc": 0.8},
    }
    assert objective.value(result) == value
    assert math.isnan(objective.value({}))


def test_objective_that_is_no_metric_is_refused(today: Config) -> None:
    with pytest.raises(ValueError, match=r"sweep.objective=val/mAP: must be one of val/top1_acc, "):
        other(today, sweep=Sweep(objective="val/mAP"))
