"""Videos without labels: files, folders of files, and windows of long videos."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vexp.core.errors import ConfigError, UserError
from vexp.data.annotations.folders import VIDEO_SUFFIXES
from vexp.data.decoding import VIDEO_BACKENDS, open_video
from vexp.data.sources.base import Reader, Source, open_segment
from vexp.data.sources.config import Data

_ROUNDING = 1e-6  # seconds


@dataclass(frozen=True, slots=True)
class VideoWindow:
    """A video, or the part of it within ``window`` (start, end in seconds)."""

    path: Path
    name: str
    window: tuple[float, float] | None = None

    def __str__(self) -> str:
        return self.name if self.window is None else f"{self.name} {self.window[0]:.1f}-{self.window[1]:.1f} s"


def find_videos(root: Path) -> list[tuple[Path, str]]:
    """Return (path, name) of a file, or of every video below a folder in alphabetical order.

    Raises:
        ConfigError: If there is none.
    """
    if root.is_file():
        return [(root, root.name)]
    if not root.is_dir():
        raise ConfigError("no such file or folder", key="input", value=root)
    files = (path.relative_to(root) for path in sorted(root.rglob("*")) if path.is_file())
    videos = [
        (root / path, str(path))
        for path in files
        if path.suffix.lower() in VIDEO_SUFFIXES and not any(part.startswith(".") for part in path.parts)
    ]
    if not videos:
        raise ConfigError(f"contains no video ({', '.join(sorted(VIDEO_SUFFIXES))})", key="input", value=root)
    return videos


def windows(duration: float, length: float, stride: float) -> list[tuple[float, float]]:
    """Return (start, end) of windows of ``length`` with distance ``stride``, in seconds; the last ends with the video.

    A video that is not longer than ``length`` is one window.
    """
    last = max(0.0, duration - length)
    starts = [*np.arange(0.0, last - _ROUNDING, stride).tolist(), last]
    return [(start, min(start + length, duration)) for start in starts]


class UnlabeledVideos(Source):
    """Videos or windows of videos as a source of samples, decoded with the data options of a run.

    All labels are 0 and have no meaning.
    """

    def __init__(self, videos: Sequence[VideoWindow], classes: Sequence[str], data: Data) -> None:
        self.videos = list(videos)
        self.classes = list(classes)
        self.labels: NDArray[np.int64] = np.zeros(len(self.videos), np.int64)
        # The backend of a run on folders of frames decodes images; for videos, use the default.
        self.backend = data.decoding_backend if data.decoding_backend in VIDEO_BACKENDS else "auto"
        self._strict = data.strict

    def __len__(self) -> int:
        return len(self.videos)

    def name(self, index: int) -> str:
        return str(self.videos[index])

    def open(self, index: int) -> AbstractContextManager[Reader]:
        video = self.videos[index]
        reader = open_video(video.path, self.backend, strict=self._strict)
        return open_segment(str(video.path), reader, video.window)


def split_into_windows(path: Path, name: str, *, window: float, stride: float) -> list[VideoWindow]:
    """Split a video into windows of ``window`` seconds with distance ``stride``.

    Raises:
        UserError: If the video cannot be read or has no frame rate, or a window or a stride is shorter than a frame.
    """
    with open_video(path) as reader:
        fps, times, num_frames = reader.fps, reader.times, reader.num_frames
        if times is not None:  # without a frame rate, the last frame is shown for an instant
            duration = float(times[-1]) + (1 / fps if fps else _ROUNDING * 2)
        elif fps:
            duration = num_frames / fps
        else:
            raise UserError(f"{path}: the file has no frame rate, so it cannot be split by window={window:g} seconds")
    frame = duration / max(num_frames, 1)  # of a video without a frame rate, the mean of its frames
    for key, seconds in (("window", window), ("stride", stride)):
        if seconds < frame * (1 - _ROUNDING):
            raise UserError(f"{path}: {key}={seconds:g} is shorter than a frame, which lasts {frame:.3g} seconds")
    return [VideoWindow(path, name, part) for part in windows(duration, window, stride)]
