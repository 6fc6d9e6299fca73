"""Videos without labels: files, folders of them, and windows of long ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vexp.data.folders import VIDEO_SUFFIXES
from vexp.data.source import Reader, frame_times
from vexp.errors import UserError


@dataclass(frozen=True, slots=True)
class Piece:
    """A video, or the frames ``start`` to ``stop`` (exclusive) of one; ``fps`` is known of windows."""

    path: Path
    name: str
    start: int = 0
    stop: int | None = None
    fps: float | None = None

    @property
    def seconds(self) -> tuple[float, float] | None:
        """(begin, end) of a window in the video; None for a whole video."""
        if self.stop is None or self.fps is None:
            return None
        return self.start / self.fps, self.stop / self.fps

    def __str__(self) -> str:
        return self.name if self.seconds is None else f"{self.name} {self.seconds[0]:.1f}-{self.seconds[1]:.1f} s"


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


def window_frames(num_frames: int, length: int, stride: int) -> list[tuple[int, int]]:
    """(start, stop) of windows of ``length`` frames, ``stride`` apart; the last one ends with the video.

    A video that is not longer than a window is one window.
    """
    last = max(0, num_frames - length)
    starts = [*range(0, last, stride), last]
    return [(start, min(start + length, num_frames)) for start in starts]


def windows_of(path: Path, name: str, *, window: float, stride: float) -> list[Piece]:
    """The windows of a video; ``window`` and ``stride`` in seconds.

    Raises:
        UserError: it cannot be read, or does not say how many frames make a second.
    """
    from vexp.data.decode import VideoReader

    with VideoReader(path) as reader:
        fps, num_frames = reader.fps, reader.num_frames
    if fps is None:
        raise UserError(f"{path}: gives no frame rate, so that window={window:g} seconds cannot be cut from it")
    length, step = max(1, round(window * fps)), max(1, round(stride * fps))
    return [Piece(path, name, start, stop, fps) for start, stop in window_frames(num_frames, length, step)]


class Footage:
    """Pieces of video as a source of samples. Their labels are 0 and mean nothing."""

    def __init__(self, pieces: Sequence[Piece], classes: Sequence[str]) -> None:
        self.pieces = list(pieces)
        self.classes = list(classes)
        self.labels: NDArray[np.int64] = np.zeros(len(self.pieces), np.int64)

    def __len__(self) -> int:
        return len(self.pieces)

    def name(self, index: int) -> str:
        return str(self.pieces[index])

    @contextmanager
    def open(self, index: int) -> Iterator[Reader]:
        """The piece as if it were a whole video."""
        from vexp.data.decode import VideoReader

        piece = self.pieces[index]
        with VideoReader(piece.path) as reader:
            yield reader if piece.stop is None else _Window(reader, piece.start, piece.stop)


class _Window:
    """Frames ``start`` to ``stop`` of a reader, counted from 0."""

    def __init__(self, reader: Reader, start: int, stop: int) -> None:
        self._reader, self._start = reader, start
        self.num_frames = stop - start

    @property
    def width(self) -> int:
        return self._reader.width

    @property
    def height(self) -> int:
        return self._reader.height

    @property
    def fps(self) -> float | None:
        return self._reader.fps

    @property
    def times(self) -> NDArray[np.float64]:
        times = frame_times(self._reader)
        within: NDArray[np.float64] = times[self._start : self._start + self.num_frames] - times[self._start]
        return within

    def frames(self, indices: Sequence[int] | NDArray[np.int64]) -> NDArray[np.uint8]:
        return self._reader.frames(np.asarray(indices) + self._start)
