"""Samples on their way from workers to the device: each distinct pixel once, in one block of bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import get_worker_info

from vexp.data.batch.shared_memory import SharedMemoryPool, received
from vexp.data.transforms.pipeline import Clips
from vexp.data.transforms.resample import FLOW_CHANNELS, Window
from vexp.data.transforms.view import Frames
from vexp.data.transforms.view_layout import ViewLayout


@dataclass(frozen=True, slots=True)
class Sample:
    """One video of a source: its clips, its class, its number. ``labels`` as in ``Batch``, without the N."""

    clips: Clips
    labels: torch.Tensor
    id: int

    @property
    def frames(self) -> torch.Tensor:
        """The views: uint8 (V, T, H, W, C)."""
        return torch.from_numpy(self.clips.frames)


@dataclass(frozen=True, slots=True)
class Failure:
    """A sample that could not be made. It travels as a value: an exception would arrive as a worker's traceback.

    ``deadly``: it ended the worker that was at it, so nobody tries it again.
    """

    id: int
    message: str
    epoch: int = 0
    fatal: bool = False


@dataclass(frozen=True, slots=True)
class Batch:
    """N samples of V views each, all views of one shape. One copy of ``pixels`` brings every frame to the device.

    Attributes:
        pixels: uint8 (bytes,), the pictures of all samples end to end; of different numbers and sizes if need be.
        rows: int64, the samples' ``Clips.rows`` end to end.
        plans: how each sample's views come out of both.
        labels: int64 (N,), or where a sample may have several labels float32 (N, classes) of 0 and 1.
        ids: int64 (N,), numbers of the samples in their source.
        magnification: float32 (N * V, 2), by how much optical flow was resized; None for pictures.
    """

    pixels: torch.Tensor
    rows: torch.Tensor
    plans: tuple[ViewLayout, ...]
    labels: torch.Tensor
    ids: torch.Tensor
    scale: torch.Tensor | None = None

    @classmethod
    def of_views(cls, frames: torch.Tensor, labels: torch.Tensor, ids: torch.Tensor) -> Batch:
        """A batch of ready views, uint8 (N, V, T, H, W, C): for a loader of one's own."""
        videos, views, length, height, width, channels = frames.shape
        plan = ViewLayout(
            shape=(1, views * length, height, width, channels), windows=(Window(0, 0, 0),), size=(width, height),
            clips=views, clip_len=length, is_identity=True,
        )  # fmt: skip
        rows = torch.arange(views * length).repeat(videos)
        return cls(frames.reshape(-1), rows, (plan,) * videos, labels, ids)

    def __len__(self) -> int:
        return len(self.plans)

    @property
    def views(self) -> int:
        """V, the views of each sample."""
        return self.plans[0].views

    @property
    def frames(self) -> torch.Tensor:
        """The views: uint8 (N, V, T, H, W, C), where ``pixels`` lies."""
        return self.build(0, len(self) * self.views).view(len(self), self.views, *self.plans[0].view_shape)

    def build(self, start: int, stop: int) -> torch.Tensor:
        """Views ``start`` to ``stop`` of the N * V, a sample's in a row: uint8 (stop - start, T, H, W, C)."""
        shape, each = self.plans[0].view_shape, self.views
        if all(plan.is_identity for plan in self.plans):
            return self.pixels.view(-1, *shape)[start:stop]
        out = self.pixels.new_empty((stop - start, *shape))
        pixels = torch.split(self.pixels, [plan.num_bytes for plan in self.plans])
        rows = torch.split(self.rows, [plan.clips * plan.clip_len for plan in self.plans])
        for number in range(start // each, -(-stop // each)):
            first, last = max(start, number * each), min(stop, (number + 1) * each)
            target = out[first - start : last - start]
            self.plans[number].build(pixels[number], rows[number], target, first - number * each)
        return out

    def to(self, device: torch.device) -> Batch:
        """The batch on ``device``; from pinned memory without waiting for it."""
        if self.pixels.device == device:
            return self
        return self._moved(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """The batch in pinned memory, as torch's DataLoader asks for."""
        return self._moved(torch.Tensor.pin_memory)

    def _moved(self, move: Callable[[torch.Tensor], torch.Tensor]) -> Batch:
        return replace(
            self,
            pixels=move(self.pixels),
            rows=move(self.rows),
            labels=move(self.labels),
            ids=move(self.ids),
            scale=None if self.scale is None else move(self.scale),
        )


class Collate:
    """Samples to a batch; the first failure if there is one. In a worker the pixels go into shared memory."""

    def __init__(self) -> None:
        self._slots = SharedMemoryPool()  # of this worker: each gets its own copy of this object

    def __call__(self, samples: Sequence[Sample | Failure]) -> Batch | SharedBatch | Failure:
        whole: list[Sample] = []
        for sample in samples:
            if isinstance(sample, Failure):
                return sample
            whole.append(sample)
            if _views(sample) != _views(whole[0]):
                return _shape_mismatch(whole[0], sample)
        clips = [sample.clips for sample in whole]
        num_bytes = sum(clip.pictures.size for clip in clips)
        in_worker = get_worker_info() is not None
        block = self._slots.take(num_bytes) if in_worker else torch.empty(num_bytes, dtype=torch.uint8)
        _copy_concatenated([clip.pictures for clip in clips], block.numpy())
        is_flow = clips[0].plan.shape[-1] == FLOW_CHANNELS
        parcel = SharedBatch(
            block=block,
            num_bytes=num_bytes,
            rows=np.concatenate([clip.rows.reshape(-1) for clip in clips]),
            plans=tuple(clip.plan for clip in clips),
            labels=torch.stack([sample.labels for sample in whole]).numpy(),
            ids=np.array([sample.id for sample in whole]),
            scale=np.concatenate([clip.scale for clip in clips]) if is_flow else None,
        )
        return parcel if in_worker else parcel.opened(block)


@dataclass(frozen=True, slots=True)
class SharedBatch:
    """A batch between two processes: one block of shared memory, the rest by value. It arrives as a ``Batch``."""

    block: torch.Tensor
    num_bytes: int
    rows: NDArray[np.int64]
    plans: tuple[ViewLayout, ...]
    labels: NDArray[Any]
    ids: NDArray[np.int64]
    scale: NDArray[np.float32] | None

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, tuple(getattr(self, field.name) for field in fields(self))

    def opened(self, pixels: torch.Tensor) -> Batch:
        return Batch(
            pixels=pixels,
            rows=torch.from_numpy(self.rows),
            plans=self.plans,
            labels=torch.from_numpy(self.labels),
            ids=torch.from_numpy(self.ids),
            scale=None if self.scale is None else torch.from_numpy(self.scale),
        )


def _rebuild(*content: Any) -> Batch:
    parcel = SharedBatch(*content)
    return parcel.opened(received(parcel.block, parcel.num_bytes))


def _copy_concatenated(pictures: Sequence[Frames], target: NDArray[np.uint8]) -> None:
    done = 0
    for picture in pictures:
        target[done : done + picture.size].reshape(picture.shape)[...] = picture
        done += picture.size


def _views(sample: Sample) -> tuple[int, ...]:
    """(V, T, H, W, C)."""
    return (sample.clips.plan.views, *sample.clips.plan.view_shape)


def _shape_mismatch(first: Sample, other: Sample) -> Failure:
    shapes = [" x ".join(map(str, _views(sample))) for sample in (first, other)]
    return Failure(
        other.id,
        f"samples {first.id} and {other.id} cannot share a batch, their views x frames x height x width x "
        f"channels are {shapes[0]} and {shapes[1]}: end the pipeline with a crop to one size, or set batch_size=1",
    )
