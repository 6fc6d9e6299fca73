"""Base class of the readers, which stream frames: each is cropped and resized as soon as it is decoded.

The frame is then still in the CPU cache and is not copied before it is written to the clip.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vexp.core.errors import UserError
from vexp.core.lazy import np
from vexp.data.pixel_type import Frame
from vexp.data.storage import StoredFile, is_stored

if TYPE_CHECKING:
    from typing import Self

    from numpy.typing import NDArray

"""One frame: (H, W, C)."""


@dataclass(frozen=True, slots=True)
class FrameStream:
    """F frames of one size that can be iterated once; interchangeable with an array uint8 (F, H, W, C)."""

    shape: tuple[int, ...]  # (F, H, W, C)
    frames: Iterator[Frame]

    @classmethod
    def of(cls, frames: Iterator[Frame], count: int) -> FrameStream:
        """Build a stream of ``count`` frames; the first is decoded immediately to determine the size."""
        first = next(frames)
        return cls((count, *first.shape), chain((first,), frames))

    def __iter__(self) -> Iterator[Frame]:
        return self.frames

    def to_array(self) -> NDArray[np.uint8]:
        """Read all frames: uint8 (F, H, W, C)."""
        out = np.empty(self.shape, np.uint8)
        for target, frame in zip(out, self, strict=True):
            target[:] = frame
        return out


class FrameReader(ABC):
    """Base class of the readers, which are context managers.

    ``frames``, ``num_frames``, ``height`` and ``width`` may be used by several threads, one of which decodes at a time.
    """

    channels = 3
    _num_frames: int

    path: Path | StoredFile | str

    def __init__(self, path: str | Path | StoredFile) -> None:
        self.path = path if isinstance(path, StoredFile) or is_stored(path) else Path(path)
        self._lock = threading.RLock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def num_frames(self) -> int:
        """Exact number of frames."""
        return self._num_frames

    @property
    def height(self) -> int:
        """Height in pixels after rotation; decodes the first frame if none has been decoded."""
        with self._lock:
            return self._frame_size()[0]

    @property
    def width(self) -> int:
        """Width in pixels after rotation; decodes the first frame if none has been decoded."""
        with self._lock:
            return self._frame_size()[1]

    def frames(self, indices: Sequence[int] | NDArray[np.integer[Any]]) -> NDArray[np.uint8]:
        """Return the frames at ``indices``, in their order and possibly repeated, uint8 (len(indices), H, W, C).

        C is 3 for RGB and 2 for optical flow (x, y). Each distinct frame is decoded and converted once.

        Raises:
            UserError: If an index is out of range or a frame cannot be decoded.
        """
        requested = np.asarray(indices)
        if requested.ndim != 1 or (requested.size and requested.dtype.kind not in "iu"):
            raise ValueError(f"frame indices must be a flat list of integers, got {indices!r}")
        if not requested.size:
            return np.empty((0, self.height, self.width, self.channels), np.uint8)
        distinct, rows = np.unique(requested, return_inverse=True)
        places = np.split(np.argsort(rows, kind="stable"), np.cumsum(np.bincount(rows))[:-1])  # of each distinct frame
        with self._lock:
            stream = FrameStream.of(self.iter_frames(distinct.tolist()), len(distinct))
            out = np.empty((len(requested), *stream.shape[1:]), np.uint8)
            for frame, frame_places in zip(stream, places, strict=True):
                for place in frame_places.tolist():
                    out[place] = frame
        return out

    def check_range(self, indices: Sequence[int]) -> None:
        """Raise UserError if an index is out of range."""
        for index in indices:
            if not 0 <= index < self.num_frames:
                raise UserError(
                    f"{self.path}: frame index {index} is out of range: the video has {self.num_frames} frames. "
                    "Correct the annotation, or sample indices below num_frames."
                )

    @abstractmethod
    def iter_frames(self, indices: Sequence[int]) -> Iterator[Frame]:
        """Yield the frames at ascending, distinct ``indices``, all of one size; raise UserError if one is damaged."""

    @abstractmethod
    def _frame_size(self) -> tuple[int, int]:
        """Return (height, width)."""

    def close(self) -> None:  # noqa: B027 - a folder of frames has nothing to close
        pass
