"""Where a sample's frames come from: the door between a data set and the sampling, decoding and geometry after it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vexp.data.annotation import Annotation
from vexp.errors import UserError


class Reader(Protocol):
    """An opened video. ``width`` and ``height`` are those of the frames it delivers."""

    @property
    def num_frames(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...

    def frames(self, indices: Sequence[int] | NDArray[np.int64]) -> NDArray[np.uint8]:
        """The frames of 0-based numbers, in that order: uint8 (len(indices), height, width, 3) RGB."""
        ...


class Source(Protocol):
    """The samples of one split. A data set of one's own implements this (see ``vexp.data.options.Data``)."""

    @property
    def labels(self) -> NDArray[np.int64]: ...
    @property
    def classes(self) -> list[str]: ...

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """What a sample is called in reports and messages."""
        ...

    def open(self, index: int) -> AbstractContextManager[Reader]:
        """Called in the worker that makes the sample; closed after it."""
        ...


class ArrayReader:
    """A reader of frames that are in memory: uint8 (T, H, W, 3) RGB."""

    def __init__(self, frames: NDArray[np.uint8]) -> None:
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3:
            raise UserError(f"frames must be uint8 (T, H, W, 3), got {frames.dtype} {frames.shape}")
        self._frames = frames
        self.num_frames, self.height, self.width, _ = frames.shape

    def frames(self, indices: Sequence[int] | NDArray[np.int64]) -> NDArray[np.uint8]:
        wanted: NDArray[np.uint8] = self._frames[np.asarray(indices)]
        return wanted

    def __enter__(self) -> ArrayReader:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class VideoSource:
    """Video files named by an annotation."""

    def __init__(self, annotation: Annotation) -> None:
        self.annotation = annotation
        self.labels = annotation.labels
        self.classes = annotation.classes

    def __len__(self) -> int:
        return len(self.annotation)

    def name(self, index: int) -> str:
        return self.annotation.name(index)

    def open(self, index: int) -> AbstractContextManager[Reader]:
        from vexp.data.decode import VideoReader  # PyAV and its FFmpeg are loaded by the worker that decodes

        reader: AbstractContextManager[Reader] = VideoReader(self.annotation.path(index))
        return reader
