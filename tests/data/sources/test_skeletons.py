"""The data options of skeletons: splits and classes, the embedded dataset, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support.tables import default_lane_has

import vexp
from vexp.core.errors import ConfigError
from vexp.data.sources.base import Source
from vexp.data.sources.motion_skeleton import CLASSES, HEIGHT, WIDTH, MotionSkeleton, figure, make
from vexp.data.sources.skeletons import Skeleton, SkeletonReader, SkeletonSplit, SkeletonTrainSplit
from vexp.data.transforms.randomness import first_random_step
from vexp.experiment.input_shape import input_shape
from vexp.experiment.setup import build_experiment

SKELETON = ["data=motion_skeleton", "pipeline=skeleton", "pipeline.test.target.double=false", "model=posec3d"]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("skeletons") / "skeletons.json"
    path.write_text(json.dumps(make(0, train=2, val=1)))
    return path


def option(file: Path, **values: object) -> Skeleton:
    train, val = SkeletonTrainSplit(ann_file=str(file), split="train"), SkeletonSplit(ann_file=str(file), split="val")
    return Skeleton(train=train, val=val, **values)  # type: ignore[arg-type]


def made(source: Source | None) -> Source:
    assert source is not None
    return source


def test_skeleton_reads_splits_with_classes_of_training(file: Path, tmp_path: Path) -> None:
    train, val = (made(option(file).source(split)) for split in ("train", "val"))
    assert (len(train), len(val)) == (16, 8)
    assert train.classes == val.classes == [str(label) for label in range(8)]
    assert option(file).source("test") is None
    (tmp_path / "classes.txt").write_text("\n".join(CLASSES))
    named = made(option(file, classes=str(tmp_path / "classes.txt")).source("val"))
    assert named.classes == list(CLASSES)
    with named.open(3) as reader:
        assert (reader.width, reader.height) == (WIDTH, HEIGHT)
        assert isinstance(reader, SkeletonReader)
        assert reader.joints.shape == (1, reader.num_frames, 17, 3)
        assert reader.frames([0, 5]).shape == (2, HEIGHT, WIDTH, 3)


def test_skeleton_wrong_options_are_named(file: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        option(file, joints=25).source("train")
    assert caught.value.key == "data.joints"
    with pytest.raises(ConfigError) as caught:
        Skeleton()
    assert caught.value.key == "train.ann_file"
    with pytest.raises(ConfigError) as caught:
        option(tmp_path / "none.pkl").check_files()
    assert {error.key for error in caught.value.errors} == {"data.train.ann_file", "data.val.ann_file"}
    fewer = json.loads(file.read_text())
    fewer["split"]["train"] = fewer["split"]["train"][:1]
    (tmp_path / "fewer.json").write_text(json.dumps(fewer))
    with pytest.raises(ConfigError, match="training split only labels up to 0"):
        option(tmp_path / "fewer.json").source("val")


def test_motion_skeleton_is_a_function_of_its_seed(tmp_path: Path) -> None:
    data = MotionSkeleton(cache_dir=str(tmp_path), train_clips=2, val_clips=1)
    data.prepare()
    (path,) = tmp_path.iterdir()
    assert json.loads(path.read_text()) == json.loads(json.dumps(make(0, train=2, val=1)))
    assert made(data.source("train")).classes == list(CLASSES)
    assert made(data.source("train")).labels.tolist() == [*range(8), *range(8)]
    assert make(1, train=1, val=1) != make(0, train=1, val=1)


@pytest.mark.parametrize("label", range(len(CLASSES)))
def test_motion_skeleton_moves_the_limb_of_its_class(label: int) -> None:
    joints = figure(label, np.random.default_rng(3))[0, :, :, :2]
    moved = (joints - joints.mean(axis=1, keepdims=True)).std(axis=0).sum(axis=1)
    fastest = int(moved.argmax())
    limbs = {"wave_left": (9,), "wave_right": (10,), "kick_left": (15,), "kick_right": (16,)}
    assert fastest in limbs.get(CLASSES[label], (9, 10) if "arms" in CLASSES[label] else range(17))


@pytest.mark.parametrize(
    ("overrides", "key", "rule"),
    default_lane_has(
        2,
        [
            (["data=motion_skeleton"], "pipeline.train", "makes no heat maps of the skeletons; set pipeline=skeleton"),
            (["pipeline=skeleton"], "pipeline.train.compact", "the data are videos; set data=skeleton"),
            ([*SKELETON, "+transform@pipeline.train.jitter=color_jitter"], "pipeline.train.target", "must be the last"),
            (
                [*SKELETON, "pipeline.val.target.with_limb=true"],
                "pipeline.val",
                "draws 34 heat maps, pipeline.train 17",
            ),
            (["data=motion_skeleton", "pipeline=skeleton"], "pipeline.test.target", "mixes views"),
        ],
    ),
)
def test_compose_pipeline_that_does_not_fit_skeletons_is_refused(overrides: list[str], key: str, rule: str) -> None:
    with pytest.raises(ConfigError, match=rule) as caught:
        vexp.compose(overrides)
    assert caught.value.key == key


def test_experiment_of_skeletons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VEXP_CACHE", str(tmp_path))
    config = vexp.compose([*SKELETON, "data.train_clips=1", "data.val_clips=1", "device=cpu"])
    assert input_shape(config, "val") == [17, 48, 64, 64]
    assert first_random_step(config.pipeline.train, 3) == "sample"
    assert first_random_step(config.pipeline.val, 3) is None
    assert len(build_experiment(config).train_set) == 8
    config.model.channels = 3
    with pytest.raises(ConfigError, match="the pipeline draws 17 heat maps; set it to 17"):
        build_experiment(config)
