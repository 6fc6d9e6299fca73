"""Runs on annotation lists: groups, held-out splits, class balance and formats."""

from __future__ import annotations

import copy
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.commands import run_command
from support.run_files import assert_same_weights, read_metrics

from vexp import compose, train
from vexp.core.errors import ConfigError, UserError
from vexp.data.loading.dataloader import WorkerOptions, iterate_batches, make_loader
from vexp.data.sources.config import Motion
from vexp.experiment.setup import build_experiment, make_dataset
from vexp.runtime.distributed import World
from vexp.training.batches import training_order
from vexp.training.run import new_state
from vexp.training.run_header import classes_without_samples, small_step
from vexp.training.step import accumulate_gradients

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


@pytest.mark.integration
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


@pytest.mark.integration
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


@pytest.fixture(scope="module")
def two_lists(videos: Path) -> str:
    """Overrides of runs on a list of six videos and one of four."""
    for name, rows in (("first", range(6)), ("second", range(6, 10))):
        (videos / f"{name}.txt").write_text("".join(f"{i}.mp4 {i % 2}\n" for i in rows))
    return f"data.train.ann_file=[{videos}/first.txt,{videos}/second.txt]"


@pytest.mark.integration
@pytest.mark.parametrize(
    ("mix", "steps"),
    [(["data.train.mix=steps", "data.train.ratio=[2,1]"], 5), (["data.train.mix=losses"], 3)],
    ids=["steps", "losses"],
)
def test_run_on_lists_apart_resumes_with_equal_weights(
    mix: list[str], steps: int, two_lists: str, tmp_path: Path
) -> None:
    overrides = [
        two_lists, *mix, "data.train.batch_sizes=[2,3]", "eval=never", "checkpoint.interval=1",
        "checkpoint.by_epoch=false", "checkpoint.max_keep_ckpts=-1",
    ]  # fmt: skip
    result = run(tmp_path / "straight", overrides)
    assert result["step"] == steps  # three of the first list
    records = read_metrics(tmp_path / "straight", "train")
    names = [{name for name in record if name.startswith("loss_")} for record in records]
    assert names == ([{"loss_list0", "loss_list1"}] * 3 if mix[0].endswith("losses") else names)
    if mix[0].endswith("losses"):
        for record in records:
            assert record["loss"] == pytest.approx(record["loss_list0"] + record["loss_list1"], rel=1e-6)
    middle = tmp_path / "straight" / "checkpoints" / "step_2.pth"
    run(tmp_path / "resumed", [*overrides, f"resume={middle}"])
    assert_same_weights(tmp_path / "straight", tmp_path / "resumed")


@pytest.mark.parametrize("mix", ["data.train.mix=steps", "data.train.mix=losses"])
def test_processes_take_the_gradients_of_one_on_lists_apart(mix: str, two_lists: str) -> None:
    overrides = [two_lists, mix, "eval=never", "model.norm=group"]
    for step in (0, 1):
        single = gradients_of([*overrides, "data.train.batch_sizes=[4,2]"], step)
        parts = gradients_of([*overrides, "data.train.batch_sizes=[2,1]", "nproc=2"], step)
        for expected, *own in zip(*single, *parts, strict=True):
            torch.testing.assert_close(sum(own) / len(own), expected, rtol=1e-4, atol=1e-5)


def gradients_of(overrides: list[str], step: int) -> list[list[torch.Tensor]]:
    """Return the gradients of a step in each process, before they are exchanged."""
    exp = build_experiment(compose([*OVERRIDES, *overrides]))
    torch.manual_seed(0)
    model = exp.config.model.build(len(exp.classes))
    gradients = []
    for rank in range(exp.config.dist.nproc):
        part = replace(exp, world=World(rank, exp.config.dist.nproc, rank))
        state = new_state(replace(part, world=World()), copy.deepcopy(model))
        state.step = step
        order = training_order(exp, step, step + 1, rank=rank)
        loader = make_loader(exp.train_set, order, WorkerOptions(num_workers=0), exp.device, persistent=False)
        accumulate_gradients(part, state, iterate_batches(loader))
        gradients.append([p.grad for p in state.model.parameters() if p.grad is not None])
    return gradients


@pytest.mark.slow
def test_run_on_videos_and_images_resumes_with_equal_weights(two_lists: str, videos: Path, tmp_path: Path) -> None:
    """Two processes, whose classifiers of images have no part in a batch of videos, reach the end, too."""
    from PIL import Image

    for i in range(3):
        Image.new("RGB", (80, 70), (80 * i, 0, 0)).save(videos / f"{i}.png")
    (videos / "images.txt").write_text("0.png 0\n1.png 4\n2.png 1\n")
    overrides = [
        f"data.train.ann_file=[{videos}/first.txt,{videos}/images.txt]", "data.train.mix=losses", "model=omni_r50",
        "data.train.own_classes=true", "model.image_classes=5", "data.batch_size=2", "data.train.batch_sizes=[2,3]",
        "pipeline.train.sample.image_clip_len=1", f"data.val.ann_file={videos}/first.txt", "checkpoint.interval=1",
        "checkpoint.by_epoch=false", "checkpoint.max_keep_ckpts=-1",
    ]  # fmt: skip
    common = [entry for entry in OVERRIDES if not entry.startswith(("model.", "data.batch_size"))]
    train.run(compose([*common, *overrides]), tmp_path / "straight")
    middle = tmp_path / "straight" / "checkpoints" / "step_2.pth"
    train.run(compose([*common, *overrides, f"resume={middle}"]), tmp_path / "resumed")
    assert_same_weights(tmp_path / "straight", tmp_path / "resumed")
    two = ["nproc=2", "data.train.batch_sizes=[3,2]", "epochs=2", f"out_root={tmp_path}/two"]
    run_command("train", *common, *overrides, *two)  # a later override takes the place of an earlier one
    (result,) = (tmp_path / "two").rglob("result.json")
    assert json.loads(result.read_text())["step"] == 2


def test_labels_beyond_the_classes_of_images_are_rejected(two_lists: str) -> None:
    overrides = [two_lists, "data.train.mix=losses", "data.train.own_classes=true", "eval=never"]
    shared = [entry for entry in OVERRIDES if not entry.startswith("model.")]
    for model, key in (("model=tiny3d", "data.train.own_classes"), ("model=omni_r50", "model.image_classes")):
        more = ["model.image_classes=1"] if model == "model=omni_r50" else []
        with pytest.raises(ConfigError) as caught:
            build_experiment(compose([*shared, *overrides, model, *more]))
        assert caught.value.key == key
    for more, key in (("loss.class_weights=auto", "loss.class_weights"), ("blending=mixup", "blending")):
        with pytest.raises(ConfigError) as caught:
            build_experiment(compose([*shared, *overrides, "model=omni_r50", more]))
        assert caught.value.key == key
