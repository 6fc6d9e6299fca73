"""The data of ``vexp show batch`` equal the model's input, and the drawn crop is the one that was applied."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from support.overlaps import overlapping_texts

from vexp.data.batch.batch import Batch, Collate
from vexp.data.batch.mixup import Blending
from vexp.data.batch.normalize import ImgNorm
from vexp.data.transforms.crops import RandomCrop
from vexp.data.transforms.frame_sampling import SampleFrames
from vexp.data.transforms.resize import Flip
from vexp.tools.visualize.batch_data import BatchSummary, BlendedBatch, SampleDraws, batch_warnings, summarize_batch
from vexp.tools.visualize.batch_sheet import batch_sheet
from vexp.tools.visualize.samples import Split, load_sample

STEPS = [SampleFrames(clip_len=4), RandomCrop(size=8), Flip()]
KEYS = [(5, 1), (5, 0), (5, 2)]
Make = Callable[..., Split]


def batch_of(split: Split) -> Batch:
    batch = Collate()([load_sample(split.dataset, key) for key in KEYS])
    assert isinstance(batch, Batch)
    return batch


@pytest.mark.parametrize("to_bgr", [False, True])
def test_summarize_batch_matches_model_input(split: Make, to_bgr: bool) -> None:
    one, norm = split("train", STEPS, [(30, 10.0)] * 3), ImgNorm(to_bgr=to_bgr)
    batch = batch_of(one)
    shown = summarize_batch(one, batch, KEYS, norm, count=2, frames=4)
    inputs = norm.prepare_input(batch)
    assert (shown.low, shown.high) == (inputs.min(), inputs.max())
    for sample, values, (_, index) in zip(shown.samples, inputs, KEYS, strict=False):
        assert np.array_equal(sample.model_input, values.numpy())
        assert sample.name == one.dataset.source.name(index)
        x, y, width, height = (round(edge) for edge in sample.crops[0].box)
        cut = sample.source[y : y + height, x : x + width]  # of the clip's frame number 2
        assert np.array_equal(cut[:, ::-1] if sample.crops[0].mirrored else cut, sample.frames[2])


def test_summarize_batch_omits_crops_of_replacement(split: Make) -> None:
    one = split("train", STEPS, [(30, 10.0)] * 3)
    shown = summarize_batch(one, batch_of(one), [(5, 1), (5, 9), (5, 2)], ImgNorm(), count=3, frames=1)
    assert [len(sample.crops) for sample in shown.samples] == [1, 0, 1]


def test_sample_draws_match_epochs(split: Make) -> None:
    one = split("train", STEPS, [(30, 10.0)] * 3)
    draws = SampleDraws(one, 1, count=3)
    for epoch in range(3):
        clips = one.dataset[epoch, 1].clips
        assert np.array_equal(draws.frames[epoch], clips.frames[0, 2])
        assert draws.crops[epoch] == clips.crops[0]


def test_blended_batch_matches_training(split: Make) -> None:
    one, mix = split("train", STEPS, [(30, 10.0)] * 3), Blending(mixup_alpha=1.0)
    batch = batch_of(one)
    before = torch.random.get_rng_state()
    found = BlendedBatch(one, batch, ImgNorm(), mix, seed=3, count=2)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(3)
    mixed, _ = mix.apply(ImgNorm().prepare_input(batch), batch.labels, 2)
    torch.random.set_rng_state(before)
    assert np.array_equal(found.frames[1], ImgNorm().undo(mixed)[1, 2].numpy())
    assert len(found.labels) == 2


@pytest.mark.parametrize(
    ("mean", "std", "warned"),
    [
        ([0.1, -0.3, 0.2], [1.1, 0.8, 0.9], False),
        ([490.0, 510.0, 510.0], [180.0] * 3, True),  # mean and std in 0..1
        ([0.0] * 3, [0.004] * 3, True),  # divided by 255 twice
        ([0.0, 0.0], [0.02, 0.01], False),  # flow of a still scene
    ],
)
def test_batch_warnings_for_unusual_normalization(
    split: Make, mean: list[float], std: list[float], warned: bool
) -> None:
    one = split("train", STEPS, [(30, 10.0)])
    offsets = torch.tensor(std)[:, None] / 2**0.5 * torch.tensor([-1.0, 1.0])  # of two pixels with this deviation
    inputs = (torch.tensor(mean)[:, None] + offsets).reshape(1, len(mean), 1, 1, 2)
    assert bool(batch_warnings([BatchSummary(one, inputs, [], views=1)])) == warned


def test_batch_sheet_texts_do_not_overlap(split: Make) -> None:
    one = split("train", STEPS, [(30, 10.0)] * 3)
    batch, norm = batch_of(one), ImgNorm()
    shown = [summarize_batch(one, batch, KEYS, norm, count=3, frames=3) for _ in range(3)]
    blends = BlendedBatch(one, batch, norm, Blending(cutmix_alpha=1.0), seed=0, count=3)
    canvas = batch_sheet(shown, SampleDraws(one, 0, count=12), blends, img_norm=norm, warnings=[])
    assert overlapping_texts(canvas) == []
