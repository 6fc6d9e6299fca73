"""Colour changes: against torchvision, drawn once a sample, from the sample's own numbers; what is refused."""

import numpy as np
import pytest
import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

import vexp
from vexp.core.errors import UserError
from vexp.data.sources.base import ArrayReader
from vexp.data.transforms.color import (
    PHOTOMETRIC,
    REPLACEMENTS,
    ColorJitter,
    TensorTransform,
    build_transforms,
    check_torchvision_transform,
)
from vexp.data.transforms.crops import CenterCrop, RandomResizedCrop, ThreeCrop
from vexp.data.transforms.frame_sampling import SampleFrames
from vexp.data.transforms.pipeline import Pipeline, make_clips
from vexp.data.transforms.resize import Flip, Resize

FRAMES = np.random.RandomState(0).randint(0, 256, (4, 24, 32, 3), np.uint8)  # (T, H, W, 3)
NOTHING = {"brightness": 0, "contrast": 0, "saturation": 0, "hue": 0}
#: As arguments: the one change with a fixed amount, the torchvision function that it is.
CHANGES = {
    "brightness": functional.adjust_brightness,
    "contrast": functional.adjust_contrast,
    "saturation": functional.adjust_saturation,
    "hue": functional.adjust_hue,
}


def rng(seed=0):
    return np.random.default_rng(seed)


def in_torch(function, frames, *arguments):
    return function(torch.from_numpy(frames).permute(0, 3, 1, 2), *arguments).permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize(
    ("name", "amounts"),
    [
        ("brightness", [0.0, 0.4, 1.7, 5.0]),
        ("contrast", [0.0, 0.4, 1.7]),
        ("saturation", [0.0, 0.4, 1.7]),
        ("hue", [-0.5, -0.1, 0.25, 0.5]),
    ],
)
def test_each_change_is_torchvisions_but_for_rounding(name, amounts):
    for amount in amounts:
        ours = ColorJitter(**NOTHING | {name: [amount, amount]}).apply(FRAMES, rng())
        theirs = in_torch(CHANGES[name], FRAMES, amount)
        assert np.abs(ours.astype(int) - theirs).max() <= (2 if name == "saturation" else 1), amount
        assert (ours.dtype, ours.shape) == (np.uint8, FRAMES.shape)


def test_nothing_to_change_changes_nothing():
    assert ColorJitter(**NOTHING).apply(FRAMES, rng()) is FRAMES
    before = FRAMES.copy()
    assert not np.array_equal(ColorJitter().apply(FRAMES, rng()), FRAMES)
    np.testing.assert_array_equal(FRAMES, before)


def test_amounts_are_uniform_in_their_ranges():
    grey = np.full((1, 1, 1, 3), 100, np.uint8)
    step, generator = ColorJitter(**NOTHING | {"brightness": 0.5}), rng(3)
    factors = np.array([step.apply(grey, generator)[0, 0, 0, 0] for _ in range(4000)]) / 100
    assert (factors.min(), factors.max()) == (0.5, 1.5)
    counts, _ = np.histogram(factors, bins=10, range=(0.5, 1.5))
    assert np.sum((counts - 400) ** 2 / 400) < 9 + 4 * np.sqrt(18)
    step = ColorJitter(**NOTHING | {"brightness": [1.2, 1.3]})
    assert 120 <= step.apply(grey, generator)[0, 0, 0, 0] <= 130
    assert ColorJitter(brightness=3.0).brightness == 3.0  # 0 to 4


def test_the_order_of_the_changes_is_drawn_for_each_sample():
    # Brightness 3 and then contrast 0.5, or the other way round: two results, about as often.
    step = ColorJitter(brightness=[3.0, 3.0], contrast=[0.5, 0.5], saturation=0, hue=0)
    frames = np.array([[[[0] * 3, [120] * 3]]], np.uint8)
    generator = rng(5)
    results = [tuple(step.apply(frames, generator)[0, 0, :, 0].tolist()) for _ in range(400)]
    assert set(results) == {(64, 191), (90, 255)}
    assert 150 < results.count((90, 255)) < 250


def test_all_frames_of_all_crops_are_changed_alike():
    flat = np.full((6, 8, 16, 3), (90, 120, 150), np.uint8)
    steps = {"a": SampleFrames(clip_len=2, num_clips=3), "b": ThreeCrop(crop_size=8), "c": ColorJitter()}
    for steps_run in (steps, steps | {"c": TensorTransform(v2.ColorJitter(0.5, 0.5, 0.5, 0.1))}):
        made = make_clips(ArrayReader(flat), steps_run, rng(1), lazy=True).frames
        assert made.shape[0] == 9
        assert len(np.unique(made.reshape(-1, 3), axis=0)) == 1
        assert made[0, 0, 0, 0].tolist() != [90, 120, 150]


@pytest.mark.parametrize("step", [ColorJitter(), TensorTransform(v2.RandomPhotometricDistort(p=0.5))])
def test_lazy_and_eager_see_the_same_colours(step):
    steps = {"a": SampleFrames(clip_len=2), "b": RandomResizedCrop(), "c": Resize(scale=[8, 8], keep_ratio=False),
             "d": Flip(), "e": step}  # fmt: skip
    for seed in range(5):
        lazy, eager = (make_clips(ArrayReader(FRAMES), steps, rng(seed), lazy=lazy).frames for lazy in (True, False))
        np.testing.assert_array_equal(lazy, eager)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"brightness": -0.1}, "brightness=-0.1: must be a number from 0 to inf"),
        ({"hue": 0.6}, "hue=0.6: must be a number from 0 to 0.5"),
        ({"hue": [-0.6, 0]}, r"hue=\[-0.6,0\]: must be \[lowest,highest\] within -0.5 to 0.5"),
        ({"contrast": [1.2, 0.8]}, r"contrast=\[1.2,0.8\]: must be \[lowest,highest\]"),
        ({"saturation": "much"}, "saturation=much: must be a number or"),
        ({"saturation": [1]}, r"saturation=\[1\]: must be a number or \[lowest,highest\]"),
    ],
)
def test_a_broken_rule_is_named(arguments, message):
    with pytest.raises(ValueError, match="^" + message):
        ColorJitter(**arguments)


# ---- torchvision ----

ARGUMENTS = {
    "GaussianBlur": {"kernel_size": 3}, "Grayscale": {"num_output_channels": 3}, "JPEG": {"quality": 50},
    "RandomAdjustSharpness": {"sharpness_factor": 2}, "RandomPosterize": {"bits": 3},
    "RandomSolarize": {"threshold": 128}, "ColorJitter": {"brightness": 0.5, "hue": 0.1},
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:The image decoding and encoding")  # JPEG is to move to torchcodec
@pytest.mark.parametrize("name", PHOTOMETRIC)
def test_every_photometric_transform_of_v2_works_on_clips(name):
    step = TensorTransform(getattr(v2, name)(**ARGUMENTS.get(name, {})))
    state = torch.get_rng_state()
    made = step.apply(FRAMES, rng(2))
    assert (made.shape, made.dtype) == (FRAMES.shape, np.uint8)
    np.testing.assert_array_equal(made, step.apply(FRAMES, rng(2)))  # a function of the sample's generator
    assert torch.equal(torch.get_rng_state(), state)  # the model's numbers are left alone


def test_its_numbers_come_from_the_sample():
    step = TensorTransform(v2.ColorJitter(brightness=0.5))
    made = {step.apply(FRAMES, rng(seed)).tobytes() for seed in range(8)}
    assert len(made) == 8
    torch.manual_seed(1)
    first = step.apply(FRAMES, rng(0))
    torch.manual_seed(2)
    np.testing.assert_array_equal(step.apply(FRAMES, rng(0)), first)


def test_the_two_lists_name_what_torchvision_has():
    assert [name for name in (*PHOTOMETRIC, *REPLACEMENTS) if not hasattr(v2, name)] == []
    assert set(PHOTOMETRIC) & set(REPLACEMENTS) == set()


@pytest.mark.parametrize(
    ("transform", "text"),
    [
        (v2.Grayscale(), r"Grayscale turns torch.uint8 \(4, 3, 24, 32\) into torch.uint8 \(4, 1, 24, 32\)"),
        (lambda frames: frames.float(), "into torch.float32 .*: a photometric transform must keep shape and dtype"),
    ],
)
def test_a_transform_that_changes_type_or_shape_is_refused(transform, text):
    with pytest.raises(UserError, match=text):
        TensorTransform(transform).apply(FRAMES, rng())


@pytest.mark.parametrize("step", [ColorJitter(), TensorTransform(v2.RandomInvert())])
def test_flow_has_no_colours(step):
    with pytest.raises(UserError, match="requires RGB frames, but they have 2 channels"):
        step.apply(FRAMES[..., :2], rng())


def composed(*words):
    return vexp.compose(["+transform@pipeline.train.extra=torchvision", *words])


V2 = "pipeline.train.extra._target_=torchvision.transforms.v2."


def test_it_is_chosen_on_the_command_line():
    config = composed(V2 + "GaussianBlur", "+pipeline.train.extra.kernel_size=3", "pipeline.val={}",
                      "transform@pipeline.val.sample=sample_frames", "pipeline.val.sample.clip_len=2")  # fmt: skip
    built = build_transforms(config.pipeline.train)["extra"]
    assert isinstance(built.transform, v2.GaussianBlur)
    assert built.transform.kernel_size == (3, 3)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "pipeline.train.extra._target_: a value must be given"),
        ([V2 + "GaussianBlur"], "pipeline.train.extra.kernel_size: a value must be given"),
        ([V2 + "GaussianBlur", "+pipeline.train.extra.kernel_size=4"],
         "pipeline.train.extra: invalid arguments of GaussianBlur: Kernel size value should be an odd"),
        ([V2 + "Resize", "+pipeline.train.extra.size=4"],
         r"v2.Resize is not a photometric transform of v2; use transform=resize"),
        ([V2 + "RandomHorizontalFlip"], "use transform=flip"),
        ([V2 + "RandomRotation", "+pipeline.train.extra.degrees=4"], "not a photometric transform of v2; .* has ColorJ"),
        (["pipeline.train.extra._target_=torchvision.transforms.ColorJitter"], "a config may instantiate classes of"),
    ],
)  # fmt: skip
def test_what_is_refused_when_composed(words, text):
    with pytest.raises(ValueError, match=text):
        composed(*words)


def test_a_transform_of_ones_own_is_taken():
    class Own(torch.nn.Module):
        def forward(self, frames):
            return 255 - frames

    class Option:
        target = Own

        def build(self):
            return Own()

    check_torchvision_transform(Option(), "train.own")
    steps = Pipeline(train={"sample": SampleFrames(clip_len=2), "own": Option(), "crop": CenterCrop(crop_size=4)}).train
    made = make_clips(ArrayReader(255 - FRAMES), build_transforms(steps), rng(), lazy=True).frames
    plain = {name: step for name, step in steps.items() if name != "own"}
    np.testing.assert_array_equal(made, make_clips(ArrayReader(FRAMES), plain, rng(), lazy=True).frames)
