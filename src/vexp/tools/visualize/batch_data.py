"""Data of ``vexp show batch``: batches of the data loader as the model receives them, and their source frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vexp.data.batch.batch import Batch
from vexp.data.batch.boxes import BoxBatch
from vexp.data.batch.mixup import Blending
from vexp.data.batch.normalize import ImgNorm
from vexp.data.loading.dataset import ClipDataset, Key
from vexp.data.pixel_type import Frames
from vexp.data.transforms.view import View
from vexp.tools.visualize.samples import Split, evenly_spaced, format_label, load_sample

_MAX_TRIES = 16  # to get a mixed batch from a blending that mixes only some
_BOX_COLOR = (255, 213, 74)
_MAX_MEAN, _MIN_STD, _MAX_STD = 4.0, 0.1, 10.0


@dataclass(frozen=True, slots=True)
class BatchSample:
    """A sample of a batch, with the label that it has in the batch."""

    name: str
    label: str
    source: Frames  # a frame of the video, uint8 (H, W, C)
    crops: tuple[View, ...]  # the part of ``source`` that each crop shows
    model_input: NDArray[np.float32]  # some frames of the first view as the model receives them, (C, k, H, W)
    frames: Frames  # the same frames denormalized, uint8 (k, H, W, C)


class BatchSummary:
    """A batch of a split: some of its samples, the range of its values, and mean and std of each channel.

    ``inputs`` are the first views of all samples as the model receives them, float32 (N, C, T, H, W).
    """

    def __init__(self, split: Split, inputs: Tensor, samples: list[BatchSample], views: int) -> None:
        self.split, self.samples, self.views, self.size = split, samples, views, len(inputs)
        self.shape = (len(inputs) * views, *inputs.shape[1:])
        self.low, self.high = float(inputs.min()), float(inputs.max())
        self.mean: list[float] = inputs.mean((0, 2, 3, 4)).tolist()
        self.std: list[float] = inputs.std((0, 2, 3, 4)).tolist()


def summarize_batch(
    split: Split, batch: Batch, keys: Sequence[Key], img_norm: ImgNorm, *, count: int, frames: int
) -> BatchSummary:
    """Summarize a batch, of samples with ``keys``, by ``count`` of its samples and ``frames`` frames of each."""
    views, source = batch.views, split.dataset.source
    inputs = torch.cat(
        [img_norm.prepare_input(batch, start, start + 1) for start in range(0, len(batch) * views, views)]
    )
    chosen = evenly_spaced(inputs.shape[2], frames)
    samples = []
    for position in range(min(count, len(batch))):
        index = int(batch.ids[position])
        # A sample that replaces an unreadable one was drawn with another key, so its crops are unknown.
        repeat, video = divmod(position, len(batch) // split.dataset.repeats)
        key = next((key for key in keys[video:] if key[1] == index), None)
        frame, crops = _source_frame(split.dataset, key or (0, index), repeat)
        scale = None if batch.scale is None else batch.scale[position * views, None]
        label, model_input = format_label(batch.labels[position], source.classes), inputs[position, :, chosen].numpy()
        denormalized = img_norm.undo(inputs[position, None], scale)[0, chosen].numpy()
        if isinstance(batch, BoxBatch):
            boxes = batch.boxes[batch.boxes[:, 0] == position, 1:].numpy()
            denormalized = np.stack([with_boxes(image, boxes) for image in denormalized])
            frame = with_boxes(frame, _source_boxes(source, index, frame))
        samples.append(BatchSample(source.name(index), label, frame, crops if key else (), model_input, denormalized))
    return BatchSummary(split, inputs, samples, views)


class SampleDraws:
    """One sample in several epochs: a frame of the video, and crop, frame and label of each epoch.

    The frames, uint8 (H, W, C), are the middle ones of the first view.
    """

    def __init__(self, split: Split, index: int, *, count: int) -> None:
        samples = [load_sample(split.dataset, (epoch, index)) for epoch in range(count)]
        self.name = split.dataset.source.name(index)
        self.source, _ = _source_frame(split.dataset, (0, index))
        self.crops = [sample.clips.crops[0] for sample in samples]
        middle = [(sample, sample.clips.frames[0, sample.clips.layout.clip_len // 2]) for sample in samples]
        self.frames = [with_boxes(image, getattr(sample, "boxes", ())) for sample, image in middle]
        self.labels = [format_label(sample.labels, split.dataset.source.classes) for sample in samples]


class BlendedBatch:
    """The first samples of a batch after blending: a denormalized frame of each, uint8 (H, W, C), and label weights."""

    def __init__(
        self, split: Split, batch: Batch, img_norm: ImgNorm, blending: Blending, *, seed: int, count: int
    ) -> None:
        """Blend the batch, repeatedly until ``blending`` mixes it, and keep ``count`` samples."""
        views, classes, inputs = batch.views, split.dataset.source.classes, img_norm.prepare_input(batch)
        labels = batch.labels.repeat_interleave(views, dim=0) if views > 1 else batch.labels
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for _ in range(_MAX_TRIES):
                mixed, weights = blending.apply(inputs, labels, len(classes))
                if mixed is not inputs:
                    break
        frames = img_norm.undo(mixed[::views, :, mixed.shape[2] // 2, None], None)[:count, 0]
        self.frames: list[Frames] = list(frames.numpy())
        self.labels = [format_label(one, classes) for one in weights[::views][:count]]
        batches = "every batch" if blending.probability == 1 else f"{blending.probability:.0%} of batches"
        self.note = f"applied to {batches}"


def with_boxes(image: Frames, boxes: Any) -> Frames:
    """Return an image (H, W, C) with the outlines of boxes (M, 4) in pixels; the image itself without boxes."""
    import cv2

    if not len(boxes):
        return image
    drawn = np.ascontiguousarray(image).copy()
    for box in np.asarray(boxes):
        left, top, right, bottom = box.round().astype(int).tolist()
        cv2.rectangle(drawn, (left, top), (right - 1, bottom - 1), _BOX_COLOR, max(1, min(image.shape[:2]) // 160))
    return drawn


def _source_boxes(source: Any, index: int, image: Frames) -> NDArray[np.float64]:
    """Return the labeled boxes of a key frame in pixels of its image."""
    boxes: NDArray[np.float64] = source.boxes(index).truth * ((image.shape[1], image.shape[0]) * 2)
    return boxes


def batch_warnings(batches: Sequence[BatchSummary]) -> list[str]:
    """Return a warning for batches whose values are far from mean 0 and standard deviation 1."""
    unusual = [batch for batch in batches if _is_unusual(batch)]
    if not unusual:
        return []
    mean, std = (", ".join(f"{value:.2g}" for value in values) for values in (unusual[0].mean, unusual[0].std))
    return [
        f"{', '.join(batch.split.name for batch in unusual)}: after img_norm the channels have mean {mean} and "
        f"standard deviation {std}; models expect about 0 and 1: img_norm.mean and img_norm.std are in grey levels "
        "(0..255)"
    ]


def _is_unusual(batch: BatchSummary) -> bool:
    is_small = len(batch.std) == 3 and min(batch.std) < _MIN_STD  # optical flow may well be small
    return max(map(abs, batch.mean)) > _MAX_MEAN or max(batch.std) > _MAX_STD or is_small


def _source_frame(dataset: ClipDataset, key: Key, repeat: int = 0) -> tuple[Frames, tuple[View, ...]]:
    """Return the middle frame of a sample's first clip, before its crops, and the crops."""
    clips = load_sample(dataset, key, repeat).clips
    number = int(clips.frame_indices[0, clips.frame_indices.shape[1] // 2])
    with dataset.source.open(key[1]) as reader:
        return reader.frames([number])[0], clips.crops
