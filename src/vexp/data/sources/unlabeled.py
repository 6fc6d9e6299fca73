"""Videos without labels: files, folders of files, and windows of long videos."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vexp.core.errors import ConfigError, UserError
from vexp.data import storage
from vexp.data.annotations.folders import VIDEO_SUFFIXES
from vexp.data.decoding import VIDEO_BACKENDS, open_video
from vexp.data.sources.base import Reader, Source, open_segment
from vexp.data.sources.config import Data

_ROUNDING = 1e-6  # seconds


@dataclass(frozen=True, slots=True)
class VideoWindow:
    """A video, or the part of it within ``window`` (start, end in seconds)."""

    path: str | Path  # as text also that of a file in an archive or on a server
    name: str
    window: tuple[float, float] | None = None

    def __str__(self) -> str:
        return self.name if self.window is None else f"{self.name} {self.window[0]:.1f}-{self.window[1]:.1f} s"


def find_videos(root: str) -> list[tuple[str, str]]:
    """Return (path, name) of a video, or of every video below a folder in alphabetical order.

    Args:
        root: A path, as a user wrote it; also that of an archive or a server (``vexp.data.storage``).

    Raises:
        ConfigError: If there is none.
        UserError: If the archive or the server cannot be read.
    """
    return find_files(root, VIDEO_SUFFIXES, f"contains no video ({', '.join(sorted(VIDEO_SUFFIXES))})")


def find_files(root: str, suffixes: Collection[str], none: str, *, subfolders: bool = True) -> list[tuple[str, str]]:
    """Return (path, name) of a file, or of those below a folder whose names end in ``suffixes``, in alphabetical order.

    ``none`` is the rule of the error if there is none.
    """
    place = storage.prefix(root)
    if problem := storage.problem(root):
        raise ConfigError(problem, key="input", value=root)
    name = os.path.basename(place)
    is_stored, has_suffix = storage.is_stored(place), _suffix(name) in suffixes
    if has_suffix and storage.exists(place) if is_stored else os.path.isfile(place):
        return [(place, name)]
    if is_stored and not has_suffix:
        names = storage.names(place)
    elif os.path.isdir(place):
        folder = Path(place)
        names = [
            str(path.relative_to(folder))
            for path in sorted(folder.glob("**/*" if subfolders else "*"))
            if path.is_file()
        ]
    else:
        raise ConfigError("no such file or folder", key="input", value=place)
    found = [
        (f"{place}/{name}", name)
        for name in names
        if _suffix(name) in suffixes and "/." not in f"/{name}" and (subfolders or "/" not in name)
    ]
    if not found:
        raise ConfigError(none, key="input", value=place)
    return found


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()


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


def split_into_windows(path: str | Path, name: str, *, window: float, stride: float) -> list[VideoWindow]:
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
