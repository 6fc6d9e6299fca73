"""Batches of samples: each distinct pixel is stored once, and all of them in one block of bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import numpy as np
import torch
from torch.utils.data import get_worker_info

from vexp.core.errors import UserError
from vexp.data.batch.shared_memory import SharedMemoryPool, received
from vexp.data.transforms.heat_map_layout import HeatMapLayout
from vexp.data.transforms.pipeline import Clips
from vexp.data.transforms.resample import FLOW_CHANNELS, Window
from vexp.data.transforms.view_layout import ViewLayout


@dataclass(frozen=True, slots=True)
class Sample:
    """A loaded sample: its clips, its labels as in ``Batch`` without the N, and its index in the source."""

    equal_shapes: ClassVar[bool] = True  # whether the views of all samples of a batch must have one shape

    clips: Clips
    labels: torch.Tensor
    id: int

    @property
    def frames(self) -> torch.Tensor:
        """The views: uint8 (V, T, H, W, C)."""
        return torch.from_numpy(self.clips.frames)

    @staticmethod
    def batch(samples: Sequence[Any], **fields: Any) -> Batch:
        """Return the batch with the given fields; a subclass adds those of its own batch class."""
        return Batch(**fields)


@dataclass(frozen=True, slots=True)
class FeatureSample:
    """A sample with cached features of its views, float (V, ...), in place of its clips."""

    features: torch.Tensor
    labels: torch.Tensor
    id: int

    @staticmethod
    def collate(samples: Sequence[FeatureSample]) -> FeatureBatch:
        """Return a batch of samples."""
        return FeatureBatch(
            pixels=torch.empty(0, dtype=torch.uint8),
            positions=torch.empty(0, dtype=torch.int64),
            layouts=(),
            labels=torch.stack([sample.labels for sample in samples]),
            ids=torch.tensor([sample.id for sample in samples]),
            features=torch.stack([sample.features for sample in samples]),
        )


@dataclass(frozen=True, slots=True)
class Batch:
    """N samples of V views each; all views have the same shape. Copying ``pixels`` moves every frame to the device."""

    pixels: torch.Tensor  # uint8 (bytes,), the images of all samples, which may differ in number and size
    positions: torch.Tensor  # int64, ``Clips.positions`` of the samples, concatenated
    layouts: tuple[ViewLayout | HeatMapLayout, ...]  # how the views of each sample are built from both
    labels: torch.Tensor  # int64 (N,), or for multi-label data float32 (N, classes) of 0 and 1
    ids: torch.Tensor  # int64 (N,), indices of the samples in their source
    scale: torch.Tensor | None = None  # float32 (N * V, 2), factors in x and y that resized optical flow; None for RGB

    @classmethod
    def of_views(cls, frames: torch.Tensor, labels: torch.Tensor, ids: torch.Tensor) -> Batch:
        """Create a batch of finished views, uint8 (N, V, T, H, W, C), for use in a custom loader."""
        videos, views, length, height, width, channels = frames.shape
        positions = torch.arange(views * length)
        shape, of_clip = (1, views * length, height, width, channels), positions.view(views, length).numpy()
        layout = ViewLayout.of(shape, [Window(0, 0, 0)], (width, height), of_clip)
        return cls(frames.reshape(-1), positions.repeat(videos), (layout,) * videos, labels, ids)

    def __len__(self) -> int:
        return len(self.layouts)

    @property
    def views(self) -> int:
        """V, the number of views of each sample."""
        return self.layouts[0].views

    @property
    def view_shape(self) -> tuple[int, ...]:
        """Shape of a view, (T, H, W, C)."""
        return self.layouts[0].view_shape

    @property
    def frames(self) -> torch.Tensor:
        """The views: uint8 (N, V, T, H, W, C), or float32 heat maps, on the device of ``pixels``."""
        return self.build(0, len(self) * self.views).view(len(self), self.views, *self.layouts[0].view_shape)

    def build(self, start: int, stop: int) -> torch.Tensor:
        """Build views ``start`` to ``stop`` of the N * V, (n, T, H, W, C) as ``frames``; a sample's are adjacent."""
        shape, views = self.layouts[0].view_shape, self.views
        if all(layout.is_identity for layout in self.layouts):
            return self.pixels.view(-1, *shape)[start:stop]
        out = self.pixels.new_empty((stop - start, *shape), dtype=getattr(torch, self.layouts[0].dtype))
        pixels = torch.split(self.pixels, [layout.num_bytes for layout in self.layouts])
        positions = torch.split(self.positions, [layout.clips * layout.clip_len for layout in self.layouts])
        for index in range(start // views, -(-stop // views)):
            first, last = max(start, index * views), min(stop, (index + 1) * views)
            target = out[first - start : last - start]
            self.layouts[index].build(pixels[index], positions[index], target, first - index * views)
        return out

    def to(self, device: torch.device) -> Batch:
        """Return the batch on ``device``; the copy is asynchronous from pinned memory."""
        if self.ids.device == device:
            return self
        return self._moved(lambda tensor: tensor.to(device, non_blocking=device.type == "cuda"))

    def pin_memory(self) -> Batch:
        """Return the batch in pinned memory; called by ``torch.utils.data.DataLoader``."""
        return self._moved(torch.Tensor.pin_memory)

    def _moved(self, move: Callable[[torch.Tensor], torch.Tensor]) -> Batch:
        values: dict[str, Any] = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        tensors = {key: move(value) for key, value in values.items() if isinstance(value, torch.Tensor)}
        return type(self)(**values | tensors)


@dataclass(frozen=True, slots=True)
class FeatureBatch(Batch):
    """N samples with cached features of V views each, which take the place of the frames."""

    features: torch.Tensor = field(default_factory=lambda: torch.empty(0, 0))  # float (N, V, ...)

    def __len__(self) -> int:
        return len(self.features)

    @property
    def views(self) -> int:
        return self.features.shape[1]

    @property
    def view_shape(self) -> tuple[int, ...]:
        """Shape of the features of a view."""
        return tuple(self.features.shape[2:])


class Collate:
    """Collate samples into a batch. In a worker process, its pixels are written to shared memory."""

    def __init__(self) -> None:
        self._pool = SharedMemoryPool()  # each worker has its own copy of this object

    def __call__(self, samples: Sequence[Any]) -> Any:
        """Collate ``samples`` of one type: those of type ``Sample`` here, others by their method ``collate``.

        Raises:
            UserError: If their views differ in number or shape.
        """
        if not isinstance(samples[0], Sample):
            return samples[0].collate(samples)
        for sample in samples if samples[0].equal_shapes else ():
            if _view_shape(sample) != _view_shape(samples[0]):
                shapes = [" x ".join(map(str, _view_shape(each))) for each in (samples[0], sample)]
                raise UserError(
                    f"samples {samples[0].id} and {sample.id} cannot be in one batch: their views x frames x height x "
                    f"width x channels are {shapes[0]} and {shapes[1]}; end the pipeline with a crop to one size, or "
                    "set batch_size=1"
                )
        clips = [sample.clips for sample in samples]
        sizes = [clip.images.size for clip in clips]
        in_worker = get_worker_info() is not None
        block = self._pool.take(sum(sizes)) if in_worker else torch.empty(sum(sizes), dtype=torch.uint8)
        for clip, stop in zip(clips, np.cumsum(sizes), strict=True):
            block.numpy()[stop - clip.images.size : stop].reshape(clip.images.shape)[...] = clip.images
        is_flow = clips[0].layout.shape[-1] == FLOW_CHANNELS
        batch = samples[0].batch(
            samples,
            pixels=block,
            positions=torch.from_numpy(np.concatenate([clip.positions.reshape(-1) for clip in clips])),
            layouts=tuple(clip.layout for clip in clips),
            labels=torch.stack([sample.labels for sample in samples]),
            ids=torch.tensor([sample.id for sample in samples]),
            scale=torch.from_numpy(np.concatenate([clip.scale for clip in clips])) if is_flow else None,
        )
        return SharedBatch(batch, sum(sizes)) if in_worker else batch


@dataclass(frozen=True, slots=True)
class SharedBatch:
    """A batch sent between processes: pixels in shared memory, the rest by value. It is unpickled as a ``Batch``."""

    batch: Batch  # its pixels are the block of shared memory
    num_bytes: int

    def __reduce__(self) -> tuple[Any, ...]:
        values = {entry.name: getattr(self.batch, entry.name) for entry in fields(self.batch)}
        block = values.pop("pixels")
        arrays = {key: value.numpy() if isinstance(value, torch.Tensor) else value for key, value in values.items()}
        return _received_batch, (type(self.batch), block, self.num_bytes, arrays)  # arrays are pickled by value


def _received_batch(cls: type[Batch], block: torch.Tensor, num_bytes: int, values: dict[str, Any]) -> Batch:
    for key, value in values.items():
        if isinstance(value, np.ndarray):
            values[key] = torch.from_numpy(value)
    return cls(pixels=received(block, num_bytes), **values)


def _view_shape(sample: Sample) -> tuple[int, ...]:
    """Return the shape of all views of a sample, (V, T, H, W, C)."""
    return (sample.clips.layout.views, *sample.clips.layout.view_shape)
