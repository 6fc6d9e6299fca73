"""Each stage equals the pipeline up to its step, and the last equals the model's input."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from support.overlaps import overlapping_texts

from vexp.data.batch.batch import Collate
from vexp.data.batch.normalize import ImgNorm
from vexp.data.sources.base import ArrayReader
from vexp.data.transforms.color import ColorJitter
from vexp.data.transforms.crops import CenterCrop, RandomCrop, ThreeCrop
from vexp.data.transforms.frame_sampling import SampleFrames
from vexp.data.transforms.pipeline import make_clips
from vexp.data.transforms.resize import Flip, Resize
from vexp.tools.visualize.pipeline_data import PipelineStages
from vexp.tools.visualize.pipeline_sheet import pipeline_sheet
from vexp.tools.visualize.samples import Split, load_sample

SAMPLE = SampleFrames(clip_len=4, frame_interval=2)
NORM = ImgNorm(to_bgr=True)
Make = Callable[..., Split]


def test_pipeline_stages_matches_partial_pipelines(split: Make) -> None:
    steps = [SAMPLE, RandomCrop(size=12), ColorJitter(), Flip(flip_ratio=1.0)]
    one = split("train", steps, [(30, 10.0), (40, 10.0)])
    stages = PipelineStages(one, 1, NORM, epoch=2)
    video, rng = ArrayReader(*one.dataset.source.videos[1]), np.random.default_rng([3, 2, 1])
    numbers = SAMPLE.indices(40, rng)
    frames = video.frames(numbers[0])
    for stage, step in zip(stages.steps, [None, *steps[1:]], strict=True):
        if step is not None:
            frames = step.apply(frames, rng).reshape(stage.strip.shape)  # as documented: one after the other
        assert np.array_equal(stage.strip, frames)
        assert stage.shape == (1, *frames.shape)
        assert (stage.low, stage.high) == (frames.min(), frames.max())
    assert np.array_equal(stages.numbers, numbers)
    assert stages.label == one.dataset.source.classes[1]


@pytest.mark.parametrize("lazy", [True, False])
def test_pipeline_stages_ends_with_model_input(split: Make, lazy: bool) -> None:
    one = split("train", [SAMPLE, Resize(scale=[-1, 12]), Flip()], [(30, 10.0)], lazy=lazy)
    stages = PipelineStages(one, 0, NORM)
    batch = Collate()([load_sample(one.dataset, (0, 0))])
    assert np.array_equal(stages.model_input, NORM.prepare_input(batch)[0].numpy())
    assert stages.difference == (0.0, 0)


def test_pipeline_stages_difference_of_composed_resample(split: Make) -> None:
    """The lazy pipeline composes two consecutive resizes."""
    steps = [SAMPLE, Resize(scale=[-1, 8]), Resize(scale=[-1, 16])]
    one = split("train", steps, [(30, 10.0)])
    stages = PipelineStages(one, 0, NORM)
    mean, largest = stages.difference
    reader = ArrayReader(*one.dataset.source.videos[0])
    eager, lazy = (
        make_clips(reader, one.dataset.steps, np.random.default_rng([3, 0, 0]), lazy=lazy).frames.astype(int)
        for lazy in (False, True)
    )
    assert mean == pytest.approx(np.abs(eager - lazy).mean())
    assert largest == np.abs(eager - lazy).max() > 0


CASES = [
    ([SampleFrames(clip_len=4, num_clips=10, test_mode=True), Resize(scale=[-1, 12]), ThreeCrop(crop_size=12)], 3, {}),
    ([SampleFrames(clip_len=32), CenterCrop(crop_size=12)], 2, {"slow": 8, "fast": 1}),  # optical flow
]


@pytest.mark.parametrize(("steps", "channels", "pathways"), CASES)
def test_pipeline_sheet_texts_do_not_overlap(
    split: Make, steps: list[object], channels: int, pathways: dict[str, int]
) -> None:
    one = split("train", steps, [(64, None if channels == 2 else 29.97)], channels=channels)
    norm = ImgNorm(mean=[128.0] * 2, std=[128.0] * 2) if channels == 2 else NORM
    canvas = pipeline_sheet(PipelineStages(one, 0, norm), img_norm=norm, pathways=pathways, warnings=["w " * 150])
    assert overlapping_texts(canvas) == []
    assert canvas.bottom > 600
