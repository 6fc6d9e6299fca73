"""Videos without labels: files, folders of them, and windows of long ones."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from vexp.core.errors import UserError
from vexp.data.annotations.folders import VIDEO_SUFFIXES
from vexp.data.decoding import VIDEO_BACKENDS, open_video
from vexp.data.sources.base import Reader, segment_of
from vexp.data.sources.config import Data

_ROUNDING = 1e-6  # seconds


@dataclass(frozen=True, slots=True)
class VideoWindow:
    """A video, or the part of it that ``window`` (start, end in seconds) names."""

    path: Path
    name: str
    window: tuple[float, float] | None = None

    def __str__(self) -> str:
        return self.name if self.window is None else f"{self.name} {self.window[0]:.1f}-{self.window[1]:.1f} s"


def find_videos(named: Path) -> list[tuple[Path, str]]:
    """(path, name) of a file, or of every video below a folder in alphabetical order.

    Raises:
        UserError: there is none.
    """
    if named.is_file():
        return [(named, named.name)]
    if not named.is_dir():
        raise UserError(f"input={named}: no such file or folder")
    below = (path.relative_to(named) for path in sorted(named.rglob("*")) if path.is_file())
    found = [
        (named / path, str(path))
        for path in below
        if path.suffix.lower() in VIDEO_SUFFIXES and not any(part.startswith(".") for part in path.parts)
    ]
    if not found:
        raise UserError(f"input={named}: holds no video ({', '.join(sorted(VIDEO_SUFFIXES))})")
    return found


def windows(duration: float, length: float, stride: float) -> list[tuple[float, float]]:
    """(start, end) of windows of ``length``, ``stride`` apart; the last one ends with the video.

    A video that is not longer than a window is one window.
    """
    last = max(0.0, duration - length)
    starts = [*np.arange(0.0, last - _ROUNDING, stride).tolist(), last]
    return [(start, min(start + length, duration)) for start in starts]


class UnlabeledVideos:
    """Pieces of video as a source of samples, decoded as the data options of a run say. Their labels are 0 and mean
    nothing."""

    def __init__(self, pieces: Sequence[VideoWindow], classes: Sequence[str], data: Data) -> None:
        self.pieces = list(pieces)
        self.classes = list(classes)
        self.labels: NDArray[np.int64] = np.zeros(len(self.pieces), np.int64)
        # A run on folders of frames names what decodes images; its videos are then read by what reads all of them.
        self._backend = data.decoding_backend if data.decoding_backend in VIDEO_BACKENDS else "auto"
        self._strict = data.strict

    def __len__(self) -> int:
        return len(self.pieces)

    def name(self, index: int) -> str:
        return str(self.pieces[index])

    def open(self, index: int) -> AbstractContextManager[Reader]:
        """The piece as if it were a whole video."""
        piece = self.pieces[index]
        opened = open_video(piece.path, self._backend, strict=self._strict)
        return segment_of(str(piece.path), cast("AbstractContextManager[Reader]", opened), piece.window)


def split_into_windows(path: Path, name: str, *, window: float, stride: float) -> list[VideoWindow]:
    """The windows of a video; ``window`` and ``stride`` in seconds.

    Raises:
        UserError: it cannot be read, or says nothing about time.
    """
    with open_video(path) as reader:
        fps, times = reader.fps, reader.times
        if times is None and not fps:
            raise UserError(f"{path}: does not say its frame rate, so window={window:g} seconds cannot be cut from it")
        duration = reader.num_frames / fps if times is None and fps else _end(times, fps)
    return [VideoWindow(path, name, found) for found in windows(duration, window, stride)]


def _end(times: NDArray[np.float64] | None, fps: float | None) -> float:
    """When the last frame has been shown; a lone one for a moment."""
    assert times is not None
    return float(times[-1]) + (1 / fps if fps else _ROUNDING * 2)
