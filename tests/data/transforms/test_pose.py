"""Skeletons: the crop to the joints, heat maps against recorded and hand-computed values, mirrored views."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from support.paths import GOLDEN_DIR

from vexp.core.errors import ConfigError, UserError
from vexp.data.batch.batch import Batch, Collate, Sample
from vexp.data.batch.normalize import ImgNorm
from vexp.data.sources.skeletons import SkeletonReader
from vexp.data.transforms.crops import CenterCrop
from vexp.data.transforms.photometric import ColorJitter
from vexp.data.transforms.pipeline import Clips, Pipeline, make_clips
from vexp.data.transforms.pose import GeneratePoseTarget, PoseCompact
from vexp.data.transforms.resize import Flip, Resize
from vexp.data.transforms.uniform_sampling import UniformSampleFrames
from vexp.data.transforms.view import View

#: The limbs of mmaction2's configs.
LIMBS = [[0, 5], [0, 6], [5, 7], [7, 9], [6, 8], [8, 10], [5, 11], [11, 13], [13, 15], [6, 12], [12, 14], [14, 16],
         [0, 1], [0, 2], [1, 3], [2, 4], [11, 12]]  # fmt: skip
CASES = json.loads((GOLDEN_DIR / "pose_targets.json").read_text())["cases"]


class AllFrames:
    clips = 1

    def indices(self, num_frames: int, rng: np.random.Generator) -> np.ndarray:
        return np.arange(num_frames)[None]


def joints(seed: int) -> np.ndarray:
    """Two persons, three frames, 17 joints; a tenth is missing."""
    rng = np.random.RandomState(seed)
    points = (rng.uniform(60, 180, 2) + rng.normal(0, 40, (2, 3, 17, 2))).astype(np.float16)
    scores = rng.uniform(0, 1, (2, 3, 17)).astype(np.float16)
    missing = rng.rand(2, 3, 17) < 0.1
    points[missing], scores[missing] = 0, 0
    return np.concatenate([points, scores[..., None]], axis=3)


def made(points: np.ndarray, *steps: Any, size: tuple[int, int] = (320, 240)) -> Clips:
    """Apply transforms to all frames of a skeleton."""
    named = {"sample": AllFrames(), **{str(place): step for place, step in enumerate(steps)}}
    return make_clips(SkeletonReader(points, *size), named, np.random.default_rng(0), lazy=True)


def one(*places: tuple[float, float, float], count: int = 2) -> np.ndarray:
    """One person in one frame, with these joints."""
    return np.array(places, np.float32).reshape(1, 1, count, 3)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['version']}-{case['seed']}")
def test_heat_maps_equal_those_of_mmaction2(case: dict[str, Any]) -> None:
    compact = PoseCompact(hw_ratio=case["hw_ratio"], allow_imgpad=case["allow_imgpad"])
    (view,) = compact.compact([View.whole(320, 240)], joints(case["seed"]).astype(np.float32))
    assert [view.size[1], view.size[0]] == case["compact"]
    target = GeneratePoseTarget(
        sigma=case["sigma"], with_kp=not case["with_limb"], with_limb=case["with_limb"], skeletons=LIMBS,
        double=case["double"], mirror_maps=case["version"] != "v0.24.1",
    )  # fmt: skip
    crop = [CenterCrop(crop_size=24)] if case["crop"] else []
    flip = [Flip(flip_ratio=1.0)] if case["flip"] else []
    resize = Resize(scale=[20, 16], keep_ratio=False)
    maps = made(joints(case["seed"]), compact, Resize(scale=[-1, 28]), *crop, resize, *flip, target).frames
    maps = maps.reshape(-1, *maps.shape[2:])
    assert list(maps.shape) == case["shape"]
    np.testing.assert_allclose(maps.sum((0, 1, 2), dtype=np.float64), case["sums"], atol=2e-4)
    np.testing.assert_allclose(maps.reshape(-1)[case["at"]], case["values"], atol=2e-5)


def test_map_of_joint_is_a_gaussian_within_three_sigma() -> None:
    """Sigma 1: pixels 1 to 7 around (4, 4.5) in x, 1 to 7 in y; the rest is 0."""
    target = GeneratePoseTarget(joints=2, left_kp=[], right_kp=[], sigma=1.0)
    clips = made(one((4, 4.5, 0.5), (0, 0, 1)), target, size=(12, 10))
    maps = clips.frames[0, 0]
    assert maps.shape == (10, 12, 2)
    expected = [[0.5 * math.exp(-((x - 4) ** 2 + (y - 4.5) ** 2) / 2) * (1 <= x <= 7) * (1 <= y <= 7)
                 for x in range(12)] for y in range(10)]  # fmt: skip
    np.testing.assert_allclose(maps[..., 0], expected, atol=1e-6)
    assert not maps[..., 1].any()  # a joint at (0, 0) is missing


def test_map_of_limb_is_a_gaussian_of_the_distance_from_its_line() -> None:
    target = GeneratePoseTarget(joints=2, left_kp=[], right_kp=[], with_kp=False, with_limb=True, skeletons=[[0, 1]])
    maps = made(one((3, 5, 1.0), (8, 5, 0.5)), target, size=(12, 10)).frames[0, 0, :, :, 0]
    assert maps[5, 3:9].tolist() == [0.5] * 6  # the lower score, along the line
    assert maps[6, 5] == pytest.approx(0.5 * math.exp(-1 / (2 * 0.6**2)))
    assert maps[5, 2] == pytest.approx(0.5 * math.exp(-1 / (2 * 0.6**2)))  # beyond its end
    assert not maps[:3].any()


def test_joints_and_limbs_have_separate_maps_and_persons_the_highest_value() -> None:
    target = GeneratePoseTarget(joints=2, left_kp=[], right_kp=[], with_limb=True, skeletons=[[0, 1]])
    persons = np.concatenate([one((3, 5, 1), (8, 5, 1)), one((3, 5, 0.5), (8, 5, 0.25))])
    maps = made(persons, target, size=(12, 10)).frames[0, 0]
    assert target.channels == maps.shape[-1] == 3
    assert maps[5, 3].tolist() == [1, 0, 1]
    assert maps[5, 8].tolist() == [0, 1, 1]


def test_use_score_false_draws_joints_fully_and_missing_ones_not() -> None:
    target = GeneratePoseTarget(joints=2, left_kp=[], right_kp=[], use_score=False)
    maps = made(one((3, 5, 0.1), (math.nan, 5, 1)), target, size=(12, 10)).frames[0, 0]
    assert maps[5, 3, 0] == 1
    assert not maps[..., 1].any()


def test_scaling_changes_size_and_places() -> None:
    target = GeneratePoseTarget(joints=2, left_kp=[], right_kp=[], scaling=0.5)
    maps = made(one((4, 6, 1), (8, 2, 1)), target, size=(13, 10)).frames[0, 0]
    assert maps.shape == (5, 7, 2)
    assert maps[3, 2, 0] == maps[1, 4, 1] == 1


def test_flip_exchanges_left_and_right() -> None:
    target = GeneratePoseTarget(joints=3, left_kp=[0], right_kp=[2])
    points = one((2, 5, 1.0), (5, 3, 0.5), (8, 5, 0.25), count=3)
    clips = made(points, Flip(flip_ratio=1.0), target, size=(12, 10))
    maps = clips.frames[0, 0]
    assert clips.mirrored.tolist() == [True]
    assert [maps[5, 4, 0], maps[3, 7, 1], maps[5, 10, 2]] == [0.25, 0.5, 1.0]  # x becomes 12 - x


def test_double_adds_mirrored_maps_with_exchanged_limbs() -> None:
    target = GeneratePoseTarget(with_limb=True, skeletons=LIMBS, double=True)
    clips = made(joints(1), Resize(scale=[24, 18], keep_ratio=False), target)
    maps, order = clips.frames, target.mirrored_channels
    assert clips.mirrored.tolist() == [False, True]
    assert np.array_equal(maps[1], maps[0, :, :, ::-1][..., order])
    assert order[:3] == [0, 2, 1]
    assert [order[17 + limb] - 17 for limb in (0, 1, 2, 3, 12, 16)] == [1, 0, 4, 5, 13, 16]
    of_joints = made(joints(1), Resize(scale=[24, 18], keep_ratio=False), replace(target, mirror_maps=False)).frames
    assert np.array_equal(of_joints[0], maps[0])
    # A pixel to the right; the ends of the Gaussian are rounded in the other direction.
    np.testing.assert_allclose(of_joints[1, :, :, 1:], maps[1, :, :, :-1], atol=math.exp(-4.5))


@pytest.mark.parametrize(
    ("options", "box"),
    [
        ({}, (80, 87, 50, 25)),  # 40x20 around (105, 100), plus a quarter
        ({"padding": 0.0}, (85, 90, 40, 20)),
        ({"hw_ratio": 1.0}, (80, 75, 50, 50)),
        ({"hw_ratio": [0.25, 0.25]}, (55, 87, 100, 25)),
        ({"threshold": 21}, (0, 0, 320, 110)),
        ({"hw_ratio": 1.0, "allow_imgpad": False}, (80, 75, 50, 35)),
    ],
)
def test_compact_box_is_that_of_the_joints(options: dict[str, Any], box: tuple[int, ...]) -> None:
    points = one((85, 90, 1), (125, 110, 0))
    (view,) = PoseCompact(**options).compact([View.whole(320, 110)], points)
    assert view.box == box
    assert view.size == box[2:]


def test_compact_ignores_missing_joints_and_keeps_frames_without_any() -> None:
    points = one((85, 90, 1), (125, 110, 1), (0, 0, 0), (math.nan, 5, 1), count=4)
    (view,) = PoseCompact(padding=0.0).compact([View.whole(320, 240)], points)
    assert view.box == (85, 5, 40, 105)
    (view,) = PoseCompact().compact([View.whole(320, 240)], np.zeros((1, 1, 2, 3), np.float32))
    assert view == View.whole(320, 240)


def test_compact_box_beyond_the_frame_is_allowed() -> None:
    (view,) = PoseCompact(hw_ratio=1.0).compact([View.whole(320, 240)], one((10, 20, 1), (20, 220, 1)))
    assert view.box == (-110, -5, 250, 250)
    assert view.map_points(np.array([10.0, 20.0])).tolist() == [120, 25]


def test_batch_draws_the_maps_of_its_samples() -> None:
    """The joints travel as bytes beside those of another sample with fewer persons."""
    steps = {
        "sample": UniformSampleFrames(clip_len=2, num_clips=2), "resize": Resize(scale=[20, 16], keep_ratio=False),
        "target": GeneratePoseTarget(double=True),
    }  # fmt: skip
    samples = []
    for index, points in enumerate((joints(0), joints(1)[:1])):
        clips = make_clips(SkeletonReader(points, 320, 240), steps, np.random.default_rng(index), lazy=True)
        samples.append(Sample(clips, torch.tensor(index), index))
    batch = Collate()(samples)
    assert isinstance(batch, Batch)
    assert (batch.views, batch.view_shape) == (4, (2, 16, 20, 17))
    frames = batch.frames
    assert frames.dtype == torch.float32
    for index, sample in enumerate(samples):
        assert torch.equal(frames[index], sample.frames)
    assert torch.equal(batch.build(3, 6), frames.flatten(0, 1)[3:6])
    inputs = ImgNorm().prepare_input(batch, 1, 3)  # not normalized
    assert torch.equal(inputs, frames[0, 1:3].permute(0, 4, 1, 2, 3))
    assert inputs.is_contiguous()
    assert batch.pixels.numel() < frames.numel() * 4 / 10


def test_transform_of_pixels_is_refused_and_other_joint_count_named() -> None:
    with pytest.raises(UserError, match="ColorJitter needs frames, skeletons have none"):
        made(joints(0), ColorJitter(brightness=0.5), GeneratePoseTarget())
    with pytest.raises(UserError, match="has 2 joints, but joints=17"):
        made(one((1, 2, 1), (3, 4, 1)), GeneratePoseTarget())


def test_without_heat_maps_the_skeletons_are_drawn() -> None:
    frames = made(joints(0), Resize(scale=[40, 30], keep_ratio=False)).frames
    assert frames.shape == (1, 3, 30, 40, 3)
    assert frames.dtype == np.uint8
    assert frames.min() < 100 < 255 == frames.max()


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"with_kp": False}, "with_kp"),
        ({"left_kp": [1]}, "right_kp"),
        ({"joints": 5}, "left_kp"),
        ({"skeletons": [[0, 17]], "with_limb": True}, "skeletons"),
        ({"skeletons": [[0]]}, "skeletons"),
    ],
)
def test_target_invalid_option_is_named(options: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        GeneratePoseTarget(**options)
    assert caught.value.key == key


def test_pipeline_target_must_be_last() -> None:
    sample, target = UniformSampleFrames(clip_len=2), GeneratePoseTarget()
    assert Pipeline(train={"sample": sample, "target": target}).heat_maps("train") == 17
    with pytest.raises(ConfigError, match="must be the last transform"):
        Pipeline(train={"sample": sample, "target": target, "flip": Flip()})
