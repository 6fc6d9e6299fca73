"""Whole runs on a folder with damaged videos and ``data.on_error=skip``."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.run_files import assert_same_weights, read_metrics

from vexp import compose, train
from vexp.cli import evaluate
from vexp.core.errors import UserError
from vexp.data.sources.motion import CLASSES, ensure_motion, listing

pytestmark = pytest.mark.integration

OVERRIDES = [
    "data=folder", "pipeline.train.sample.clip_len=4", "data.batch_size=3", "data.num_workers=0", "model.width=8",
    "epochs=2", "log=text", "log.plots=false", "log.interval=1", "device=cpu", "data.max_bad_fraction=0.2",
    "checkpoint.interval=1",
    "checkpoint.by_epoch=false", "checkpoint.max_keep_ckpts=-1",
]  # fmt: skip


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory, motion_cache: Path) -> Path:
    """16 training and 8 validation videos, one damaged in each split."""
    root = tmp_path_factory.mktemp("damaged")
    source = ensure_motion(motion_cache, seed=0, train_clips=2, val_clips=1)
    for split, clips in (("train", 2), ("val", 1)):
        for path, label, _ in listing(split, clips):
            target = root / split / CLASSES[label] / Path(path).name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / path, target)
        bad = sorted((root / split).rglob("*.mp4"))[3]
        bad.write_bytes(b"not a video")
    return root


def run(folder: Path, root: Path, *overrides: str) -> dict[str, Any]:
    return train.run(compose([*OVERRIDES, f"data.root={root}", *overrides]), folder)


def assert_same(first: Path, second: Path) -> None:
    assert read_metrics(first) == read_metrics(second)
    assert (first / "bad_samples.jsonl").read_text() == (second / "bad_samples.jsonl").read_text()
    assert_same_weights(first, second)


@pytest.fixture(scope="module")
def straight(damaged: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("skipping") / "run"
    run(folder, damaged, "data.on_error=skip")
    return folder


def test_damaged_video_ends_run_by_default(damaged: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"\.mp4: ") as caught:
        run(tmp_path / "run", damaged)
    assert "replaced" not in str(caught.value)
    assert not (tmp_path / "run" / "bad_samples.jsonl").exists()


def test_skipped_videos_are_logged_and_written(straight: Path) -> None:
    rows = [json.loads(line) for line in (straight / "bad_samples.jsonl").read_text().splitlines()]
    assert [(row["split"], row["count"]) for row in rows] == [("train", 1), ("val", 1), ("train", 2)]
    log = (straight / "log.txt").read_text()
    assert "it is replaced by another sample (1 of 16 samples are bad, 3 are allowed)" in log
    assert "it is not evaluated (1 of 8 samples are bad, 1 are allowed)" in log
    assert "(7 of 8 videos, 1 clip x 1 crop)" in log
    assert f"not scored, unreadable (bad_samples.jsonl): {rows[1]['path']}" in log


def test_report_lists_unscored_videos(straight: Path) -> None:
    report = json.loads((straight / "eval" / "report.json").read_text())
    assert (report["videos"], report["videos_of_split"]) == (7, 8)
    (unscored,) = report["unscored"]
    assert unscored["path"] in unscored["error"]
    rows = list(csv.DictReader((straight / "eval" / "predictions.csv").read_text().splitlines()))
    assert len(rows) == 8
    assert (rows[-1]["path"], rows[-1]["predicted"], rows[-1]["correct"]) == (unscored["path"], "unscored", "")
    share = sum(int(row["correct"]) for row in rows[:-1]) / 7
    assert report["metrics"]["top1_acc"] == pytest.approx(share)


def test_skipping_is_equal_for_other_number_of_workers(straight: Path, damaged: Path, tmp_path: Path) -> None:
    run(tmp_path / "run", damaged, "data.on_error=skip", "data.num_workers=2")
    assert_same(tmp_path / "run", straight)


def test_skipping_is_equal_after_resume(straight: Path, damaged: Path, tmp_path: Path) -> None:
    """Resume from a checkpoint of step 7, within the second epoch, after later ones are deleted."""
    shutil.copytree(straight, tmp_path / "run")
    for path in (tmp_path / "run" / "checkpoints").glob("*.pth"):
        if path.name not in {f"step_{step}.pth" for step in range(1, 8)}:
            path.unlink()
    run(tmp_path / "run", damaged, "data.on_error=skip", "resume=auto")
    assert_same(tmp_path / "run", straight)


def test_evaluate_skips_the_same_videos(straight: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate.main([f"run={straight}", f"out={tmp_path}"])
    assert "7 of 8 videos of val" in capsys.readouterr().out
    assert (tmp_path / "predictions.csv").read_text() == (straight / "eval" / "predictions.csv").read_text()


def test_more_bad_videos_than_allowed_end_run(damaged: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"data.max_bad_fraction=0.05: 1 of 16 samples are bad, 0 are allowed in data.train"
    ):
        run(tmp_path / "run", damaged, "data.on_error=skip", "data.max_bad_fraction=0.05")
