"""Evaluate, resume, rerun and compare run folders of earlier versions (``tests/support/golden_folders.py``)."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support import golden_folders
from support.commands import run_command
from support.golden_record import (
    EXACT,
    Allowed,
    allowed_between,
    first_difference,
    metric_differences,
    read_recording,
    run_record,
    take_fingerprint,
)


@pytest.fixture(params=golden_folders.names())
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Copy a recorded run folder."""
    return Path(shutil.copytree(golden_folders.FOLDERS / request.param, tmp_path / request.param))


def recording(run: Path) -> tuple[Allowed, dict[str, Any]]:
    """Return the differences that are allowed on this machine and the recording of the run."""
    fingerprint, recorded = read_recording(golden_folders.FOLDERS / f"{run.name}.json")
    return allowed_between(fingerprint, take_fingerprint()), recorded


def test_folder_equals_recording(run: Path) -> None:
    _, recorded = recording(run)
    assert first_difference(recorded, run_record(run), EXACT) is None


def test_evaluate_equals_recorded_metrics(run: Path, tmp_path: Path) -> None:
    run_command("evaluate", f"run={run}", f"out={tmp_path / 'eval'}")
    allowed, recorded = recording(run)
    report = json.loads((tmp_path / "eval" / "report.json").read_text())
    before = next(r for r in recorded["metrics"] if (r["mode"], r["step"]) == ("val", recorded["best"]["step"]))
    evaluated = {key: before[key] for key in ("mode", "step", "epoch")} | report["metrics"]
    without_training = replace(allowed, late=allowed.early)
    assert list(metric_differences([before], [evaluated], without_training)) == []
    if allowed == EXACT:
        assert (tmp_path / "eval" / "predictions.csv").read_text().splitlines() == recorded["predictions"]


@pytest.mark.integration
def test_resume_from_middle_equals_recorded_run(run: Path) -> None:
    for name in ("last.pth", "step_8.pth"):
        (run / "checkpoints" / name).unlink()
    run_command("train", "--resume", run, f"resume={run / 'checkpoints' / golden_folders.MIDDLE}")
    allowed, recorded = recording(run)
    assert first_difference(recorded, run_record(run), allowed) is None


@pytest.mark.integration
def test_rerun_equals_recorded_run(run: Path, tmp_path: Path) -> None:
    run_command("train", "--rerun", run, f"out_root={tmp_path / 'runs'}", "run_name=again")
    (again,) = (tmp_path / "runs" / "again").iterdir()
    allowed, recorded = recording(run)
    assert first_difference(recorded, run_record(again), allowed) is None


@pytest.mark.integration
def test_compare_shows_recorded_score(run: Path, tmp_path: Path) -> None:
    printed = run_command("compare", run, f"out={tmp_path / 'comparison'}")
    _, recorded = recording(run)
    score = recorded["best"]["score"]
    assert run.name in printed
    assert f"{score:.4f}" in printed
    with (tmp_path / "comparison" / "runs.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert float(row["val/loss"]) == score
