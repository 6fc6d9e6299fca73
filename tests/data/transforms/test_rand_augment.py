"""RandAugment and TrivialAugment: each operation against Pillow, timm and torchvision, draws, and lazy planning."""

import json
import math
import random

import numpy as np
import pytest
from PIL import Image
from support.paths import GOLDEN_DIR
from torchvision.transforms import InterpolationMode
from torchvision.transforms.autoaugment import RandAugment as TorchvisionRandAugment
from torchvision.transforms.autoaugment import TrivialAugmentWide, _apply_op

import vexp
from vexp.core.errors import ConfigError, UserError
from vexp.data.sources.base import ArrayReader
from vexp.data.transforms import rand_augment
from vexp.data.transforms.crops import RandomResizedCrop, TenCrop
from vexp.data.transforms.frame_sampling import SampleFrames
from vexp.data.transforms.pipeline import make_clips, make_repeats
from vexp.data.transforms.rand_augment import PixelOperation, RandAugment, TrivialAugment, WarpOperation
from vexp.data.transforms.resample import render
from vexp.data.transforms.resize import Flip, Resize
from vexp.data.transforms.view import View

FRAMES = np.random.RandomState(0).randint(0, 256, (2, 40, 56, 3), np.uint8)  # (T, H, W, 3)
#: Operation -> Pillow's map of points of the result to points of the image, as ``Image.AFFINE``.
MAPS = {
    "ShearX": lambda amount: (1, amount, 0, 0, 1, 0),
    "ShearY": lambda amount: (1, 0, 0, amount, 1, 0),
    "TranslateX": lambda amount: (1, 0, amount, 0, 1, 0),
    "TranslateY": lambda amount: (1, 0, 0, 0, 1, amount),
}
RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "nearest": Image.Resampling.NEAREST}


def rng(seed=0):
    return np.random.default_rng(seed)


def warp(name, amount, interpolation="bilinear", fill=(128, 1, 200)):
    return WarpOperation(name=name, amount=amount, fill=fill, interpolation=interpolation)


def in_pillow(frames, operation):
    """Apply a WarpOperation to every frame with Pillow."""
    resample, fill = RESAMPLING[operation.interpolation], operation.fill
    images = [Image.fromarray(frame) for frame in frames]
    if operation.name == "Rotate":
        return np.stack([np.asarray(one.rotate(operation.amount, resample, fillcolor=fill)) for one in images])
    affine = MAPS[operation.name](operation.amount)
    transform = Image.Transform.AFFINE
    return np.stack(
        [np.asarray(one.transform(one.size, transform, affine, resample, fillcolor=fill)) for one in images]
    )


# ---- one operation ----


@pytest.mark.parametrize("interpolation", RESAMPLING)
@pytest.mark.parametrize(
    ("name", "amount"),
    [
        ("ShearX", 0.21), ("ShearX", -0.3), ("ShearY", 0.17), ("TranslateX", 7.3), ("TranslateX", -3),
        ("TranslateY", 5.6), ("Rotate", 21.0), ("Rotate", -30.0), ("Rotate", 117.0),
    ],
)  # fmt: skip
def test_warp_operation_equals_pillow_up_to_rounding(name, amount, interpolation):
    operation = warp(name, amount, interpolation)
    ours = operation.apply(FRAMES, rng()).reshape(FRAMES.shape)
    difference = np.abs(ours.astype(int) - in_pillow(FRAMES, operation))
    assert difference.max() <= (1 if interpolation == "bilinear" else 0)
    assert difference.max() == 0 or amount != int(amount) or name == "Rotate"


def test_flow_cannot_be_warped_or_augmented():
    flow = FRAMES[..., :2]
    with pytest.raises(UserError, match="optical flow"):
        warp("Rotate", 9.0).apply(flow, rng())
    steps = {"sample": SampleFrames(clip_len=2), "augment": RandAugment()}
    for seed in range(5):  # whatever is drawn
        with pytest.raises(UserError, match="RandAugment requires RGB"):
            make_clips(ArrayReader(flow), steps, rng(seed), lazy=True)


RECORDED = json.loads((GOLDEN_DIR / "augment.json").read_text())["operations"]
_OF_PYTORCHVIDEO = {"AdjustBrightness": "Brightness", "AdjustContrast": "Contrast", "AdjustSaturation": "Color",
                    "AdjustSharpness": "Sharpness"}  # fmt: skip


@pytest.mark.parametrize("case", RECORDED, ids=[f"{case['op']}-{case['factor']}" for case in RECORDED])
def test_operation_equals_mmaction2_up_to_rounding(case):
    """It calls torchvision's operations on tensors (pytorchvideo), which blend the border of a warp with its fill."""
    frames = np.stack([np.random.RandomState(i).randint(0, 256, (6, 9, 3), np.uint8) for i in range(2)])
    name, factor = _OF_PYTORCHVIDEO.get(case["op"], case["op"]), case["factor"]
    unit = {"TranslateX": 9, "TranslateY": 6, "Solarize": 255}.get(name, 1)
    operation = RandAugment(fill=[0, 0, 0])._operation(name, (factor * unit,))
    difference = np.abs(operation.apply(frames, rng()).reshape(frames.shape).astype(int) - case["frames"])
    if isinstance(operation, PixelOperation) or not factor:
        assert difference.max() <= 1
        return
    inner = difference[:, 2:-2, 3:-3] if name == "Rotate" or name.startswith("Shear") else difference
    assert np.median(inner) == 0
    assert np.mean(inner > 1) <= 0.2


# ---- the rules of magnitudes ----


@pytest.mark.parametrize("increasing", [False, True])
def test_timm_policy_has_arguments_of_timm(increasing, monkeypatch):
    aa = pytest.importorskip("timm.data.auto_augment")
    names = aa._RAND_INCREASING_TRANSFORMS if increasing else aa._RAND_TRANSFORMS
    ours = [name.removesuffix("Rel").removesuffix("Increasing") for name in names]
    assert sorted(ours) == sorted(rand_augment._TIMM)
    for theirs, name in zip(names, ours, strict=True):
        to_arguments = aa.LEVEL_TO_ARG[theirs] or (lambda level, options: ())
        for level in (0.0, 3.3, 7.0, 9.99, 10.0):
            for draw in (0.2, 0.8):  # timm negates above 0.5, vexp below
                monkeypatch.setattr(random, "random", lambda draw=draw: 1 - draw)
                expected = to_arguments(level, {})
                if name.startswith("Translate"):
                    expected = (expected[0] * (200 if name == "TranslateX" else 100),)
                signs = type("Signs", (), {"random": lambda self, draw=draw: draw})()
                found = rand_augment._timm_arguments(name, level, (200, 100), signs, increasing=increasing)
                assert found == pytest.approx(expected, rel=1e-15), (name, level)


@pytest.mark.parametrize("policy", ["rand", "trivial"])
def test_torchvision_policy_equals_torchvision_on_the_same_draw(policy):
    """To the bit; where a point lies between two pixels, the nearest one may be the other (the last 5 % here)."""
    height, width = FRAMES.shape[1:3]
    image = Image.fromarray(FRAMES[0])
    if policy == "rand":
        space = TorchvisionRandAugment()._augmentation_space(31, (height, width))
        largest = rand_augment._largest((width, height))
    else:
        space, largest = TrivialAugmentWide()._augmentation_space(31), rand_augment._LARGEST_WIDE
    assert sorted(space) == sorted(rand_augment._TORCHVISION)
    option = TrivialAugment()
    for name, (magnitudes, signed) in space.items():
        for index in (0, 1, 9, 15, 30):
            for negative in (False, True) if signed else (False,):
                magnitude = float(magnitudes[index]) if magnitudes.ndim else 0.0
                signs = type("Signs", (), {"random": lambda self, negative=negative: 0.0 if negative else 0.9})()
                arguments = rand_augment._torchvision_arguments(name, index, 31, largest, signs)
                operation = option._operation(name, arguments)
                ours = FRAMES[:1] if operation is None else operation.apply(FRAMES[:1], rng())
                signed_magnitude = -magnitude if negative else magnitude
                theirs = np.asarray(_apply_op(image, name, signed_magnitude, InterpolationMode.NEAREST, None))
                unequal = np.mean(ours.reshape(FRAMES.shape[1:]) != theirs)
                assert unequal <= (0.05 if name in ("ShearX", "ShearY", "Rotate") else 0), (name, index)


# ---- draws ----


def test_rand_augment_draws_operations_uniformly_and_applies_half_of_them():
    step, generator = RandAugment(), rng(1)
    drawn = [operation.name for _ in range(3000) for operation in step.draw((56, 40), generator)]
    assert len(drawn) == pytest.approx(3000 * 4 * 0.5, rel=0.03)
    names, counts = np.unique(drawn, return_counts=True)
    assert sorted(names) == sorted(rand_augment._TIMM)
    expected = len(drawn) / len(names)
    assert np.sum((counts - expected) ** 2 / expected) < 14 + 4 * math.sqrt(28)  # chi-squared, 14 degrees of freedom


def test_rand_augment_magnitude_is_normal_and_cut():
    levels = np.array([RandAugment()._level(generator) for generator in [rng(2)] for _ in range(4000)])
    assert (levels.mean(), levels.std()) == (pytest.approx(7, abs=0.03), pytest.approx(0.5, abs=0.03))
    assert max(RandAugment(magnitude=10.0)._level(rng(seed)) for seed in range(50)) == 10
    assert RandAugment(magnitude_std=0.0)._level(rng()) == 7
    uniform = [RandAugment(magnitude_std=math.inf)._level(generator) for generator in [rng(2)] for _ in range(2000)]
    assert (min(uniform), max(uniform)) == (pytest.approx(0, abs=0.05), pytest.approx(7, abs=0.05))


def test_trivial_augment_draws_one_operation():
    drawn = [TrivialAugment().draw((56, 40), rng(seed)) for seed in range(300)]
    assert {len(operations) for operations in drawn} == {0, 1}  # none: identity
    assert {operation.name for operations in drawn for operation in operations} == {*rand_augment._TORCHVISION[1:]}


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        ({"magnitude": 11.0}, "magnitude"),
        ({"policy": "torchvision"}, "magnitude_std"),
        ({"policy": "torchvision", "magnitude": 31.0}, "magnitude"),
        ({"policy": "torchvision", "magnitude": 8.5}, "magnitude"),
        ({"policy": "torchvision", "magnitude_std": 0.0, "increasing": False}, "increasing"),
        ({"fill": [0, 0]}, "fill"),
        ({"probability": 1.5}, "probability"),
    ],
)
def test_rand_augment_rejects_invalid_arguments(arguments, key):
    with pytest.raises(ConfigError) as caught:
        RandAugment(**arguments)
    assert caught.value.key == key


def test_option_rand_augment_torchvision_has_defaults_of_torchvision():
    config = vexp.compose(["+transform@pipeline.train.augment=rand_augment_torchvision"])
    ours, theirs = config.pipeline.train["augment"], TorchvisionRandAugment()
    assert (ours.magnitude, ours.num_layers) == (theirs.magnitude, theirs.num_ops)
    assert (ours.policy, ours.probability, ours.fill, ours.interpolation) == ("torchvision", 1, [0, 0, 0], "nearest")


# ---- in a pipeline ----


def test_augmented_clip_equals_timm_on_the_same_draw():
    aa = pytest.importorskip("timm.data.auto_augment")
    step = RandAugment(num_layers=3, probability=1.0, interpolation="nearest")
    for seed in range(25):
        operations = step.draw((56, 40), rng(seed))
        ours = step.apply(FRAMES, rng(seed))
        images = [Image.fromarray(frame) for frame in FRAMES]
        for operation in operations:
            if isinstance(operation, PixelOperation):
                arguments, options = operation.arguments, {}
            else:
                arguments = (operation.amount,)
                options = {"resample": Image.Resampling.NEAREST, "fillcolor": operation.fill}
            images = [aa.NAME_TO_OP[operation.name](image, *arguments, **options) for image in images]
        theirs = np.stack([np.asarray(image) for image in images])
        assert np.mean(ours != theirs) < 0.01, operations  # a point between two pixels


class Warps:
    """Draws three warps of the default magnitude."""

    def draw(self, size, generator):
        names = [rand_augment._WARPS[index] for index in generator.integers(5, size=3)]
        return [
            warp(name, rand_augment._timm_arguments(name, 7.0, size, generator, increasing=True)[0]) for name in names
        ]


STEPS = {
    "sample": SampleFrames(clip_len=2),
    "crop": RandomResizedCrop(area_range=[0.4, 1.0]),
    "resize": Resize(scale=[32, 32], keep_ratio=False),
    "flip": Flip(),
    "augment": Warps(),
    "again": RandomResizedCrop(area_range=[0.5, 1.0]),
    "last": Resize(scale=[24, 24], keep_ratio=False),
}


def test_warps_planned_lazily_differ_by_one_resampling_instead_of_several():
    y, x = np.mgrid[:40, :56]
    smooth = np.stack([np.stack([x * 4, y * 6, 255 - x - y], axis=-1)] * 2).astype(np.uint8)
    mirrored, differences = set(), []
    for seed in range(60):
        lazy = make_clips(ArrayReader(smooth), STEPS, rng(seed), lazy=True)
        eager = make_clips(ArrayReader(smooth), STEPS, rng(seed), lazy=False)
        differences.append(np.abs(lazy.frames.astype(int) - eager.frames))
        assert np.median(differences[-1]) <= 2, seed
        np.testing.assert_array_equal(lazy.mirrored, eager.mirrored)
        for one, other in zip(lazy.crops, eager.crops, strict=True):
            np.testing.assert_allclose(one.outline(), other.outline(), atol=1e-9)
        mirrored.add(bool(lazy.mirrored[0]))
    assert np.mean(differences) < 4  # at the edges of the fill, which is resampled when it is rendered
    assert mirrored == {False, True}  # a flip before the augmentation counts


def test_warp_after_crop_shows_fill_and_not_what_was_cropped():
    """The result of a rotated crop has no pixels from outside of the crop, as if it had been rendered first."""
    frames = np.full((1, 40, 56, 3), 255, np.uint8)
    frames[:, 10:30, 10:30] = 60
    view = View.whole(56, 40).cropped(10, 10, 20, 20)
    (rotated,) = warp("Rotate", 30.0, fill=(0, 0, 0)).plan([view], rng())
    for scaled in (rotated, rotated.resized(33, 27), rotated.cropped(2, 3, 15, 16).flipped()):
        assert set(np.unique(render(frames, scaled))) == {0, 60}


def test_crops_of_augmented_frames_have_one_draw():
    steps = {"sample": SampleFrames(clip_len=2), "augment": RandAugment(probability=1.0), "crop": TenCrop(crop_size=24)}
    clips = make_clips(ArrayReader(FRAMES), steps, rng(3), lazy=True)
    eager = make_clips(ArrayReader(FRAMES), steps, rng(3), lazy=False)
    assert clips.frames.shape == (10, 2, 24, 24, 3)
    assert np.abs(clips.frames[0, :, :, ::-1].astype(int) - clips.frames[1]).max() <= 1
    assert np.abs(clips.frames.astype(int) - eager.frames).max() <= 1


def test_repeats_share_frames_and_the_first_is_the_single_sample():
    reader = ArrayReader(np.random.RandomState(1).randint(0, 256, (30, 40, 56, 3), np.uint8))
    single = make_clips(reader, STEPS, rng(0), lazy=True)
    first, second, third = make_repeats(reader, STEPS, [rng(0), rng(1), rng(2)], lazy=True)
    np.testing.assert_array_equal(first.frames, single.frames)
    np.testing.assert_array_equal(first.frame_indices, third.frame_indices)
    assert not np.array_equal(second.frames, third.frames)


def test_repeat_is_drawn_by_its_own_generator():
    reader = ArrayReader(np.random.RandomState(1).randint(0, 256, (30, 40, 56, 3), np.uint8))
    steps = STEPS | {"sample": SampleFrames(clip_len=2, test_mode=True)}  # it draws nothing
    repeats = make_repeats(reader, steps, [rng(0), rng(1)], lazy=True)
    for seed, repeat in enumerate(repeats):
        np.testing.assert_array_equal(repeat.frames, make_clips(reader, steps, rng(seed), lazy=True).frames)
