"""Frames by their numbers, one at a time: each is cropped and resized as it is decoded, none waits for the others.

A frame that is used at once still lies in the processor's cache, and is copied nowhere on its way to the clip.
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
    """F frames of one size that can be gone through once. An array uint8 (F, H, W, C) can take its place."""

    shape: tuple[int, ...]  # (F, H, W, C)
    pictures: Iterator[Frame]

    @classmethod
    def of(cls, pictures: Iterator[Frame], count: int) -> FrameStream:
        """``count`` pictures of one size; the first is decoded here, for it knows the size."""
        first = next(pictures)
        return cls((count, *first.shape), chain((first,), pictures))

    def __iter__(self) -> Iterator[Frame]:
        return self.pictures


class StreamingReader(Protocol):
    """A reader that hands its frames over as it decodes them."""

    @property
    def height(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def channels(self) -> int: ...

    def pictures(self, numbers: Sequence[int]) -> Iterator[Frame]:
        """The frames ``numbers``, ascending and distinct, all of one size; `UserError` for one that cannot be had."""
        ...


def frames_in_order(reader: StreamingReader, indices: Sequence[int] | NDArray[np.integer[Any]]) -> NDArray[np.uint8]:
    """The frames of these numbers, in any order and repeated or not: uint8 (len(indices), H, W, C).

    Each distinct frame is decoded and converted once.
    """
    asked = np.asarray(indices)
    if asked.ndim != 1 or (asked.size and asked.dtype.kind not in "iu"):
        raise ValueError(f"frame indices must be a flat list of whole numbers, got {indices!r}")
    if not asked.size:
        return np.empty((0, reader.height, reader.width, reader.channels), np.uint8)
    distinct, rows = np.unique(asked, return_inverse=True)
    film = FrameStream.of(reader.pictures(distinct.tolist()), len(distinct))
    out = np.empty(film.shape, np.uint8)
    for place, picture in zip(range(len(out)), film, strict=True):
        out[place] = picture
    return out if len(rows) == len(distinct) and (rows[1:] > rows[:-1]).all() else out[rows]


def check_range(path: Path, numbers: Sequence[int], num_frames: int) -> None:
    """Raises `UserError` for the first of ``numbers`` that the video does not have."""
    for number in numbers:
        if not 0 <= number < num_frames:
            raise UserError(
                f"{path}: frame index {number} is outside 0..{num_frames - 1}: the video has {num_frames} frames. "
                "Correct the annotation, or draw indices below `num_frames`."
            )
