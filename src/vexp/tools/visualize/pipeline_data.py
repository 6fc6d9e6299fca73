"""``show pipeline``: one sample after each step of its pipeline, and as the net gets it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vexp.data.batch.batch import Batch, Collate, Sample
from vexp.data.batch.normalize import ImgNorm
from vexp.data.loading.dataset import ClipDataset
from vexp.data.transforms.view import Frames, View
from vexp.tools.visualize.samples import Split, Video, draw, evenly_spaced, label_text, step_text, truncate_pipeline

STRIP = 8  # frames of a stage that are shown
MOST_VIEWS = 30


@dataclass(frozen=True, slots=True)
class Stage:
    """The sample after a step.

    Attributes:
        name, does: of the step, and its class with arguments.
        shape: (V, T, H, W, C).
        low, high: of its values.
        strip: some frames of the first view, uint8 (k, H, W, C).
        views: the middle frame of each view where there are several, uint8 (v, H, W, C).
        crops: what each crop shows of the video's frames.
    """

    name: str
    does: str
    shape: tuple[int, ...]
    low: int
    high: int
    strip: Frames
    views: Frames
    crops: tuple[View, ...]

    @classmethod
    def of(cls, name: str, does: str, sample: Sample) -> Stage:
        frames = sample.clips.frames
        views, length = frames.shape[:2]
        several = frames[:MOST_VIEWS, length // 2] if views > 1 else frames[:0, 0]
        return cls(
            name, does, frames.shape, int(frames.min()), int(frames.max()), frames[0, evenly_spaced(length, STRIP)].copy(),
            several.copy(), sample.clips.crops,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Stages:
    """A sample's way.

    Attributes:
        split, index, label: which sample.
        video: that it is of; ``frames``: some of it, evenly spread, uint8 (k, H, W, C), and their ``places``.
        numbers: int64 (clips, clip_len), the frames that were taken.
        steps: the sample after each, one after the other as documented.
        final: as a worker sends it; ``difference``: mean and largest, in grey levels, from the last of the steps.
        net: the first view as the net gets it, float32 (C, T, H, W), of ``views``.
    """

    split: Split
    index: int
    label: str
    video: Video
    frames: Frames
    places: list[int]
    numbers: NDArray[np.int64]
    steps: list[Stage]
    final: Stage
    difference: tuple[float, int]
    net: NDArray[np.float32]
    views: int


def collect(split: Split, index: int, img_norm: ImgNorm, *, epoch: int = 0) -> Stages:
    """Sample ``index`` of a split in an epoch (0-based): the pipeline is run anew up to each of its steps.

    Raises:
        UserError: it cannot be made.
    """
    dataset, key = split.dataset, (epoch, index)
    steps = list(dataset.steps.items())
    stages, last = [], None
    for count, (name, step) in enumerate(steps, start=1):
        last = draw(truncate_pipeline(dataset, dict(steps[:count])), key)
        stages.append(Stage.of(name, step_text(step), last))
    assert last is not None
    sample = draw(dataset, key)
    apart = np.abs(sample.clips.frames.astype(np.int16) - last.clips.frames)
    batch = Collate()([sample])
    assert isinstance(batch, Batch)
    video, frames, places = _video(dataset, index)
    does = "one resample of all geometry" if dataset.lazy else "as the last step"
    final = replace(Stage.of("batch", does, sample), views=stages[-1].views[:0])  # shown once
    return Stages(
        split, index, label_text(sample.labels, dataset.source.classes), video, frames, places, sample.clips.numbers,
        stages, final, (float(apart.mean()), int(apart.max())), img_norm.prepare_input(batch, 0, 1)[0].numpy(),
        sample.clips.plan.views,
    )  # fmt: skip


def _video(dataset: ClipDataset, index: int) -> tuple[Video, Frames, list[int]]:
    with dataset.source.open(index) as reader:
        places = evenly_spaced(reader.num_frames, STRIP)
        return Video.of(dataset.source.name(index), reader), reader.frames(places), places
