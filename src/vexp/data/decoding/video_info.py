"""What is known of a video file without its pixels, kept by each process for files that it opens again."""

from __future__ import annotations

import os
from collections import OrderedDict
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vexp.data.decoding.packet_index import PacketIndex

MEMORY = 8 << 20
"""Bytes of it that a process keeps: some 2,500 videos of ten seconds. The ones used least recently are let go."""

UNCHANGING_RATE = ("avi",)
"""Containers that store no time with a frame: its number and the frame rate say when it is shown."""

Identity = tuple[str, int, int, bool]
"""Path, time of the last change in ns, size in bytes: another file in the same place is another one. And whether it
is decoded strictly: in a damaged file that has to be counted, fewer frames may then be delivered."""


@dataclass(slots=True, kw_only=True, eq=False)
class VideoInfo:
    """Facts of one file. The fields that default to None are filled in when a reader has had to find them out."""

    demuxer: str  # first name of FFmpeg's container format: "mov", "matroska", "avi", "mpegts" ...
    stream: int  # which of the file's streams is read
    video_streams: list[int]  # all that hold pictures, cover art too
    time_base: Fraction  # seconds
    start: int  # the stream's first time, in units of the time base
    fps: float | None  # average
    index: PacketIndex | None  # None: frames can only be had by counting
    counted: NDArray[np.float64] | None = None  # seconds of each frame as a count found it, NaN where it has no time
    size: tuple[int, int] | None = None  # height, width as delivered
    display_matrix: tuple[int, int, int, int] | None = None  # (a, b, c, d) of `vexp.data.decoding.color.upright`

    @property
    def num_frames(self) -> int | None:
        """None where they have not been counted yet."""
        if self.index is not None:
            return len(self.index.pts)
        return len(self.counted) if self.counted is not None else None

    @property
    def times(self) -> NDArray[np.float64] | None:
        """Seconds at which each frame is shown, from the first: float64 (num_frames,), ascending; None: nobody knows.

        As stored with the frames; by number and frame rate where none are stored, or they do not ascend.
        """
        if self.index is not None:
            return np.asarray((self.index.pts - self.index.pts[0]) * float(self.time_base))
        if self.counted is None:
            return None
        if self.demuxer not in UNCHANGING_RATE and (np.diff(self.counted, prepend=-np.inf) > 0).all():
            return np.asarray(self.counted - self.counted[0])
        return np.arange(len(self.counted)) / self.fps if self.fps else None

    @property
    def nbytes(self) -> int:
        """Memory that it takes, roughly."""
        arrays = (self.counted,) if self.index is None else (self.index.pts, self.index.keys)
        return 700 + sum(array.nbytes for array in arrays if array is not None)


class VideoInfoCache:
    """The files used last, within ``MEMORY``."""

    def __init__(self) -> None:
        self._files: OrderedDict[Identity, tuple[VideoInfo, int]] = OrderedDict()
        self._memory = 0

    def __len__(self) -> int:
        return len(self._files)

    def get(self, identity: Identity) -> VideoInfo | None:
        """What an earlier reader of this process found out."""
        if identity not in self._files:
            return None
        self._files.move_to_end(identity)
        return self._files[identity][0]

    def put(self, identity: Identity, file: VideoInfo) -> None:
        """Anew or, because more was found out, again."""
        self._memory += file.nbytes - self._files.pop(identity, (None, 0))[1]
        self._files[identity] = file, file.nbytes
        while self._memory > MEMORY:
            self._memory -= self._files.popitem(last=False)[1][1]


VIDEO_INFO_CACHE = VideoInfoCache()


def identify(path: Path, status: os.stat_result, *, strict: bool) -> Identity:
    return str(path.absolute()), status.st_mtime_ns, status.st_size, strict
