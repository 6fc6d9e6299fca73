"""Streaming of decoded frames: each is cropped and resized as soon as it is decoded.

The frame is then still in the CPU cache and is not copied before it is written to the clip.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vexp.core.errors import UserError

Frame = NDArray[np.uint8]
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


class StreamingReader(Protocol):
    """A reader that yields frames as it decodes them."""

    @property
    def height(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def channels(self) -> int: ...

    def iter_frames(self, indices: Sequence[int]) -> Iterator[Frame]:
        """Yield the frames at ascending, distinct ``indices``, all of one size; raise UserError if one cannot be read."""
        ...


def frames_in_order(reader: StreamingReader, indices: Sequence[int] | NDArray[np.integer[Any]]) -> NDArray[np.uint8]:
    """Return the frames at ``indices``, in any order and possibly repeated, uint8 (len(indices), H, W, C).

    Each distinct frame is decoded and converted once.
    """
    requested = np.asarray(indices)
    if requested.ndim != 1 or (requested.size and requested.dtype.kind not in "iu"):
        raise ValueError(f"frame indices must be a flat list of integers, got {indices!r}")
    if not requested.size:
        return np.empty((0, reader.height, reader.width, reader.channels), np.uint8)
    distinct, rows = np.unique(requested, return_inverse=True)
    stream = FrameStream.of(reader.iter_frames(distinct.tolist()), len(distinct))
    out = np.empty(stream.shape, np.uint8)
    for row, frame in zip(range(len(out)), stream, strict=True):
        out[row] = frame
    return out if len(rows) == len(distinct) and (rows[1:] > rows[:-1]).all() else out[rows]


def check_range(path: Path, indices: Sequence[int], num_frames: int) -> None:
    """Raise UserError if an index is out of range."""
    for index in indices:
        if not 0 <= index < num_frames:
            raise UserError(
                f"{path}: frame index {index} is out of range: the video has {num_frames} frames. "
                "Correct the annotation, or sample indices below num_frames."
            )
