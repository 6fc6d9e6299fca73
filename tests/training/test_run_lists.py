"""Runs on annotation lists: groups, held-out splits, class balance and formats."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.run_files import assert_same_weights

from vexp import compose, train
from vexp.core.errors import UserError
from vexp.data.sources.config import Motion
from vexp.experiment.setup import build_experiment, make_dataset
from vexp.training.batches import training_order
from vexp.training.run_header import classes_without_samples, small_step

OVERRIDES = [
    "data=video_list", "data.batch_size=4", "data.num_workers=0", "model.width=8", "epochs=1", "log=text",
    "log.plots=false",
    "log.interval=1", "device=cpu",
]  # fmt: skip


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve small videos in a table with groups, in classes of six, four and two videos."""
    folder = tmp_path_factory.mktemp("videos")
    motion = Motion(train_clips=2, val_clips=1)
    motion.prepare()
    source = motion.source("train")
    assert source is not None
    rows = ["path,label,group"]
    for i in range(12):
        shutil.copy(source.annotation.path(i), folder / f"{i}.mp4")
        rows.append(f"{i}.mp4,{'aaaaaabbbbcc'[i]},g{i // 2}")
    (folder / "all.csv").write_text("\n".join(rows) + "\n")
    (folder / "val.csv").write_text("path,label,group\n0.mp4,a,g0\n4.mp4,b,x\n")
    return folder


def run(folder: Path, overrides: list[str]) -> dict[str, Any]:
    return train.run(compose([*OVERRIDES, *overrides]), folder, overrides=overrides)


def test_run_with_class_balance_and_hold_out_resumes_with_equal_weights(videos: Path, tmp_path: Path) -> None:
    overrides = [
        f"data.train.ann_file={videos}/all.csv", "data.val.hold_out=0.2", "data.train.class_balance=1.0",
        "checkpoint.interval=1", "checkpoint.by_epoch=false", "checkpoint.max_keep_ckpts=-1",
    ]  # fmt: skip
    run(tmp_path / "straight", overrides)
    log = (tmp_path / "straight" / "log.txt").read_text()
    assert "data: 10 training videos, 2 validation videos" in log
    assert f"data.train: {videos}/all.csv: table with a header (detected)" in log
    assert "share" not in log
    middle = tmp_path / "straight" / "checkpoints" / "step_1.pth"  # in the middle of the epoch
    run(tmp_path / "resumed", [*overrides, f"resume={middle}"])
    assert_same_weights(tmp_path / "straight", tmp_path / "resumed")


def test_group_in_both_splits_is_logged(videos: Path, tmp_path: Path) -> None:
    lists = [f"data.train.ann_file={videos}/all.csv", f"data.val.ann_file={videos}/val.csv"]
    run(tmp_path / "run", [*lists, "max_steps=1", "epochs=null"])
    warning = "warning: data: train and val share 1 group (g0); metrics on val will be too high"
    assert warning in (tmp_path / "run" / "log.txt").read_text()


def test_make_dataset_applies_options_of_split(videos: Path) -> None:
    config = compose(
        [*OVERRIDES, f"data.train.ann_file={videos}/all.csv", "data.val.from_split=train", "data.train.per_class=1"]
    )
    for split in ("train", "val"):
        dataset = make_dataset(config, split)
        assert dataset is not None
        assert [dataset.source.name(i) for i in range(len(dataset))] == ["0.mp4", "6.mp4", "10.mp4"]


def test_training_order_balances_classes(videos: Path) -> None:
    overrides = [f"data.train.ann_file={videos}/all.csv", "data.val.from_split=train", "data.train.class_balance=1.0"]
    exp = build_experiment(compose([*OVERRIDES, *overrides]))
    drawn = [exp.train_set.source.labels[index] for batch in training_order(exp, 0, 3) for _, index, *_ in batch]
    assert sorted(drawn) == [0] * 4 + [1] * 4 + [2] * 4


def test_class_balance_rejects_several_labels(videos: Path, tmp_path: Path) -> None:
    path = tmp_path / "several.json"
    path.write_text(json.dumps([{"path": str(videos / "0.mp4"), "label": ["a", "b"]}]))
    overrides = [f"data.train.ann_file={path}", "data.val.from_split=train", "data.train.class_balance=0.5"]
    with pytest.raises(UserError, match=r"data\.train\.class_balance=0\.5: class balancing needs one label per sample"):
        build_experiment(compose([*OVERRIDES, *overrides]))


def test_classes_without_samples_are_listed(videos: Path, tmp_path: Path) -> None:
    (tmp_path / "from_one.txt").write_text(f"{videos}/0.mp4 1\n{videos}/1.mp4 2\n")
    overrides = [*OVERRIDES, f"data.train.ann_file={tmp_path}/from_one.txt", "eval=never"]
    assert classes_without_samples(build_experiment(compose(overrides))) == [
        "data.train: has no sample of 1 of 3 classes: 0; labels are counted from 0, do those of the list begin with 1?"
    ]
    subset = compose([*overrides, "data.train.indices=1"])
    assert classes_without_samples(build_experiment(subset)) == []


def test_rate_scaled_for_more_samples_than_there_are_is_listed(videos: Path, tmp_path: Path) -> None:
    (tmp_path / "two.txt").write_text(f"{videos}/0.mp4 0\n{videos}/1.mp4 1\n")
    overrides = [*OVERRIDES, f"data.train.ann_file={tmp_path}/two.txt", "eval=never", "optimizer.base_batch_size=64"]
    (warning,) = small_step(build_experiment(compose([*overrides, "data.batch_size=4", "grad.accumulate=2"])))
    assert "for 8 samples per step, but there are 2" in warning
    assert small_step(build_experiment(compose([*overrides, "data.batch_size=2", "grad.accumulate=1"]))) == []
