"""Data of ``vexp show pipeline``: one sample after each step of its pipeline, and as the model receives it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vexp.data.batch.batch import Batch, Collate, Sample
from vexp.data.batch.normalize import ImgNorm
from vexp.data.loading.dataset import ClipDataset
from vexp.data.transforms.view import Frames, View
from vexp.tools.visualize.samples import (
    Split,
    Video,
    evenly_spaced,
    format_label,
    format_step,
    load_sample,
    truncate_pipeline,
)

STRIP = 8  # frames shown per stage
MAX_VIEWS = 30


@dataclass(frozen=True, slots=True)
class Stage:
    """The sample after a step.

    Attributes:
        name: Name of the step.
        description: Class of the step with its arguments.
        shape: Shape of the frames (V, T, H, W, C).
        low, high: Smallest and largest value.
        strip: Some frames of the first view, uint8 (k, H, W, C).
        views: The middle frame of each view if there are several, uint8 (v, H, W, C).
        crops: The part of the video's frames that each crop shows.
    """

    name: str
    description: str
    shape: tuple[int, ...]
    low: int
    high: int
    strip: Frames
    views: Frames
    crops: tuple[View, ...]

    @classmethod
    def from_sample(cls, name: str, description: str, sample: Sample) -> Stage:
        frames = sample.clips.frames
        num_views, length = frames.shape[:2]
        strip = frames[0, evenly_spaced(length, STRIP)].copy()
        views = (frames[:MAX_VIEWS, length // 2] if num_views > 1 else frames[:0, 0]).copy()
        low, high = int(frames.min()), int(frames.max())
        return cls(name, description, frames.shape, low, high, strip, views, sample.clips.crops)


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineStages:
    """A sample in all stages of its pipeline.

    Attributes:
        split, index, label: The sample.
        video: Its video.
        frames: Evenly spaced frames of the video, uint8 (k, H, W, C).
        frame_indices: Indices of ``frames``.
        numbers: Indices of the sampled frames, int64 (clips, clip_len).
        steps: The sample after each step, applied one after the other.
        final: The sample as a worker returns it.
        difference: Mean and largest difference of ``final`` from the last of ``steps``, in grey levels.
        model_input: The first view as the model receives it, float32 (C, T, H, W).
        num_views: Number of views.
    """

    split: Split
    index: int
    label: str
    video: Video
    frames: Frames
    frame_indices: list[int]
    numbers: NDArray[np.int64]
    steps: list[Stage]
    final: Stage
    difference: tuple[float, int]
    model_input: NDArray[np.float32]
    num_views: int


def collect_stages(split: Split, index: int, img_norm: ImgNorm, *, epoch: int = 0) -> PipelineStages:
    """Run the pipeline of one sample, in a 0-based epoch, up to each of its steps.

    Raises:
        UserError: If the sample cannot be read.
    """
    dataset, key = split.dataset, (epoch, index)
    steps = list(dataset.steps.items())
    stages, last = [], None
    for count, (name, step) in enumerate(steps, start=1):
        last = load_sample(truncate_pipeline(dataset, dict(steps[:count])), key)
        stages.append(Stage.from_sample(name, format_step(step), last))
    assert last is not None
    sample = load_sample(dataset, key)
    difference = np.abs(sample.clips.frames.astype(np.int16) - last.clips.frames)
    batch = Collate()([sample])
    assert isinstance(batch, Batch)
    video, frames, frame_indices = _video(dataset, index)
    description = "one resample of all geometry" if dataset.lazy else "as after the last step"
    final = Stage.from_sample("batch", description, sample)
    return PipelineStages(
        split=split,
        index=index,
        label=format_label(sample.labels, dataset.source.classes),
        video=video,
        frames=frames,
        frame_indices=frame_indices,
        numbers=sample.clips.numbers,
        steps=stages,
        final=replace(final, views=final.views[:0]),  # the last step shows them already
        difference=(float(difference.mean()), int(difference.max())),
        model_input=img_norm.prepare_input(batch, 0, 1)[0].numpy(),
        num_views=sample.clips.plan.views,
    )


def _video(dataset: ClipDataset, index: int) -> tuple[Video, Frames, list[int]]:
    with dataset.source.open(index) as reader:
        indices = evenly_spaced(reader.num_frames, STRIP)
        return Video.from_reader(dataset.source.name(index), reader), reader.frames(indices), indices
