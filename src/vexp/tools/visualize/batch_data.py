"""``show batch``: what the real loader gives, as the net gets it, beside the frames of the videos it was cut from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from vexp.data.batch.batch import Batch
from vexp.data.batch.mixup import Blending
from vexp.data.batch.normalize import ImgNorm
from vexp.data.loading.dataset import ClipDataset, Key
from vexp.data.transforms.view import Frames, View
from vexp.tools.visualize.samples import Split, draw, evenly_spaced, label_text

_TRIES = 16  # batches of a blending that mixes only some
_FAR_MEAN, _SMALL_STD, _LARGE_STD = 4.0, 0.1, 10.0


@dataclass(frozen=True, slots=True)
class Crop:
    """A sample of a batch.

    Attributes:
        name, label: of the video, and what the batch says it is.
        source: a frame of the video, uint8 (H, W, C), and what its crops show of it.
        net: some frames of the first view as the net gets them, float32 (C, k, H, W).
        frames: the same de-normalised, uint8 (k, H, W, C).
        views: of the sample.
    """

    name: str
    label: str
    source: Frames
    crops: tuple[View, ...]
    net: NDArray[np.float32]
    frames: Frames
    views: int


@dataclass(frozen=True, slots=True)
class Shown:
    """A batch of a split: of all its values ``low``, ``high``, and of each channel mean and standard deviation."""

    split: Split
    size: int
    shape: tuple[int, ...]
    samples: list[Crop]
    low: float
    high: float
    mean: list[float]
    std: list[float]


@dataclass(frozen=True, slots=True)
class Draws:
    """One sample in several epochs: a frame of the video, what each draw shows of it, and a frame of each draw."""

    name: str
    source: Frames
    crops: list[View]
    frames: list[Frames]
    labels: list[str]


@dataclass(frozen=True, slots=True)
class Blended:
    """A blended batch: a frame of each sample, uint8 (H, W, C), de-normalised, with its shares of classes."""

    frames: list[Frames]
    labels: list[str]
    note: str


def look(split: Split, batch: Batch, keys: Sequence[Key], img_norm: ImgNorm, *, count: int, frames: int) -> Shown:
    """``count`` samples of a batch, ``frames`` of each; ``keys`` are those that its samples were asked for by."""
    views, classes = batch.views, split.dataset.source.classes
    net = torch.cat([img_norm.prepare_input(batch, start, start + 1) for start in range(0, len(batch) * views, views)])
    samples = []
    for number in range(min(count, len(batch))):
        index = int(batch.ids[number])
        # One that stands for a sample that cannot be made was asked for by another key: its crop is not known.
        key = next((key for key in keys[number:] if key[1] == index), None)
        middle, crops = _on_video(split.dataset, key or (0, index))
        crops = crops if key is not None else ()
        chosen = evenly_spaced(net.shape[2], frames)
        magnification = None if batch.scale is None else batch.scale[number * views, None]
        pictures = img_norm.undo(net[number, None], magnification)[0, chosen]
        samples.append(Crop(
            split.dataset.source.name(index), label_text(batch.labels[number], classes), middle, crops,
            net[number, :, chosen].numpy(), pictures.numpy(), views,
        ))  # fmt: skip
    means, stds = net.mean((0, 2, 3, 4)), net.std((0, 2, 3, 4))
    shape = (len(batch) * views, *net.shape[1:])
    return Shown(
        split, len(batch), shape, samples, float(net.min()), float(net.max()), means.tolist(), stds.tolist()
    )  # fmt: skip


def several_draws(split: Split, index: int, *, count: int) -> Draws:
    """Sample ``index`` as ``count`` epochs of training see it, the middle frame of its first view."""
    dataset = split.dataset
    samples = [draw(dataset, (epoch, index)) for epoch in range(count)]
    source, _ = _on_video(dataset, (0, index))
    return Draws(
        dataset.source.name(index), source, [sample.clips.crops[0] for sample in samples],
        [sample.clips.frames[0, sample.clips.plan.clip_len // 2] for sample in samples],
        [label_text(sample.labels, dataset.source.classes) for sample in samples],
    )  # fmt: skip


def blended(split: Split, batch: Batch, img_norm: ImgNorm, blending: Blending, *, seed: int, count: int) -> Blended:
    """The batch after ``blending``, of which some batches are left as they are: the first that is not."""
    views, classes = batch.views, split.dataset.source.classes
    net = img_norm.prepare_input(batch)
    labels = batch.labels.repeat_interleave(views, dim=0) if views > 1 else batch.labels
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for _ in range(_TRIES):
            mixed, shares = blending.apply(net, labels, len(classes))
            if mixed is not net:
                break
    frames = img_norm.undo(mixed[::views, :, mixed.shape[2] // 2, None], None)[:count, 0]
    note = "every batch" if blending.probability == 1 else f"{blending.probability:.0%} of the batches, as this one"
    return Blended(
        list(frames.numpy()), [label_text(share, classes) for share in shares[:: views][:count]], note
    )  # fmt: skip


def warnings(shown: Sequence[Shown]) -> list[str]:
    """Where normalised values are not what nets are made for."""
    odd = [one for one in shown if _is_odd(one)]
    if not odd:
        return []
    return [
        f"{', '.join(one.split.name for one in odd)}: after img_norm the channels have mean {_list(odd[0].mean)} and "
        f"standard deviation {_list(odd[0].std)}; nets expect about 0 and 1: img_norm.mean and std count in grey "
        "levels 0..255"
    ]


def _is_odd(shown: Shown) -> bool:
    small = len(shown.std) == 3 and min(shown.std) < _SMALL_STD  # flow is mostly still, and small at best
    return max(map(abs, shown.mean)) > _FAR_MEAN or max(shown.std) > _LARGE_STD or small


def _list(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.2g}" for value in values)


def _on_video(dataset: ClipDataset, key: Key) -> tuple[Frames, tuple[View, ...]]:
    """The frame in the middle of a sample's first clip, and what its crops show of it."""
    clips = draw(dataset, key).clips
    number = int(clips.numbers[0, clips.numbers.shape[1] // 2])
    with dataset.source.open(key[1]) as reader:
        return reader.frames([number])[0], clips.crops
