"""What is drawn of a pipeline is what it makes: each stage the pipeline up to there, the end what the net gets."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from vexp.data.batch.batch import Collate
from vexp.data.batch.normalize import ImgNorm
from vexp.data.sources.base import ArrayReader
from vexp.data.transforms.color import ColorJitter
from vexp.data.transforms.frame_sampling import SampleFrames
from vexp.data.transforms.pipeline import make_clips
from vexp.data.transforms.resize import CenterCrop, Flip, RandomCrop, Resize, ThreeCrop
from vexp.tools.visualize.pipeline_data import collect
from vexp.tools.visualize.pipeline_sheet import pipeline_sheet
from vexp.tools.visualize.samples import Split, draw

SAMPLE = SampleFrames(clip_len=4, frame_interval=2)
NORM = ImgNorm(to_bgr=True)
Make = Callable[..., Split]


def test_every_stage_is_the_pipeline_up_to_there(split: Make) -> None:
    steps = [SAMPLE, RandomCrop(size=12), ColorJitter(), Flip(flip_ratio=1.0)]
    one = split("train", steps, [(30, 10.0), (40, 10.0)])
    found = collect(one, 1, NORM, epoch=2)
    video, rng = ArrayReader(*one.dataset.source.videos[1]), np.random.default_rng([3, 2, 1])
    numbers = SAMPLE.indices(40, rng)
    frames = video.frames(numbers[0])
    for stage, step in zip(found.steps, [None, *steps[1:]], strict=True):
        if step is not None:
            frames = step.apply(frames, rng).reshape(stage.strip.shape)  # as documented: one after the other
        assert np.array_equal(stage.strip, frames)
        assert stage.shape == (1, *frames.shape)
        assert (stage.low, stage.high) == (frames.min(), frames.max())
    assert np.array_equal(found.numbers, numbers)
    assert found.label == one.dataset.source.classes[1]


@pytest.mark.parametrize("lazy", [True, False])
def test_the_end_is_what_the_net_gets(split: Make, lazy: bool) -> None:
    one = split("train", [SAMPLE, Resize(scale=[-1, 12]), Flip()], [(30, 10.0)], lazy=lazy)
    found = collect(one, 0, NORM)
    batch = Collate()([draw(one.dataset, (0, 0))])
    assert np.array_equal(found.net, NORM.prepare_input(batch)[0].numpy())
    assert found.difference == (0.0, 0)


def test_the_difference_of_the_composed_resample_is_told(split: Make) -> None:
    """Two resizes in a row are one in the lazy pipeline."""
    steps = [SAMPLE, Resize(scale=[-1, 8]), Resize(scale=[-1, 16])]
    one = split("train", steps, [(30, 10.0)])
    found = collect(one, 0, NORM)
    mean, most = found.difference
    reader = ArrayReader(*one.dataset.source.videos[0])
    eager, lazy = (
        make_clips(reader, one.dataset.steps, np.random.default_rng([3, 0, 0]), lazy=way).frames.astype(int)
        for way in (False, True)
    )
    assert mean == pytest.approx(np.abs(eager - lazy).mean())
    assert most == np.abs(eager - lazy).max() > 0


CASES = [
    ([SampleFrames(clip_len=4, num_clips=10, test_mode=True), Resize(scale=[-1, 12]), ThreeCrop(crop_size=12)], 3, {}),
    ([SampleFrames(clip_len=32), CenterCrop(crop_size=12)], 2, {"slow": 8, "fast": 1}),  # optical flow
]


@pytest.mark.parametrize(("steps", "channels", "pathways"), CASES)
def test_no_label_lies_on_another(split: Make, steps: list[object], channels: int, pathways: dict[str, int]) -> None:
    one = split("train", steps, [(64, None if channels == 2 else 29.97)], channels=channels)
    norm = ImgNorm(mean=[128.0] * 2, std=[128.0] * 2) if channels == 2 else NORM
    sheet = pipeline_sheet(collect(one, 0, norm), img_norm=norm, pathways=pathways, warnings=["w " * 150])
    assert sheet.overlaps() == []
    assert sheet.bottom > 600
