"""Metadata of a video file, cached in each process for files that are opened again."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from vexp.data.decoding.color import IDENTITY, DisplayMatrix
from vexp.data.decoding.packet_index import PacketIndex

MEMORY = 8 << 20
"""Size of the cache in bytes, enough for about 2,500 videos of ten seconds."""

UNCHANGING_RATE = ("avi",)
"""Containers without frame times, whose times follow from the frame index and the frame rate."""

Identity = tuple[str, int, int, bool]
"""Path, modification time in ns, size in bytes, and whether it is decoded strictly, since a damaged file may then have
fewer frames."""


@dataclass(slots=True, kw_only=True, eq=False)
class VideoInfo:
    """Metadata of one file. Fields that default to None are set when a reader needs them."""

    demuxer: str  # first name of FFmpeg's container format: "mov", "matroska", "avi", "mpegts" ...
    stream: int  # index of the stream that is read
    video_streams: list[int]  # all video streams, including cover art
    time_base: Fraction  # seconds
    start: int  # start time of the stream in units of the time base
    fps: float | None  # average
    index: PacketIndex | None  # None if frames have to be counted by decoding
    is_probed: bool = True  # whether FFmpeg has to decode frames to open the file
    counted: NDArray[np.float64] | None = None  # time of each frame in seconds, found by counting; NaN if unknown
    size: tuple[int, int] | None = None  # (height, width) after rotation
    display_matrix: DisplayMatrix = IDENTITY
    coded: set[tuple[int, int, bool]] = field(default_factory=set)  # (width, height, interlaced) of decoded frames

    @property
    def num_frames(self) -> int | None:
        """Number of frames; None if they have not been counted yet."""
        if self.index is not None:
            return len(self.index.pts)
        return len(self.counted) if self.counted is not None else None

    @property
    def times(self) -> NDArray[np.float64] | None:
        """Time of each frame in seconds from the first, float64 (num_frames,), ascending; None if unknown.

        If the file stores no times, or they do not ascend, they follow from the frame index and the frame rate.
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
        """Approximate memory in bytes."""
        arrays = [self.counted] if self.index is None else [self.index.pts, self.index.keys]
        return 700 + sum(array.nbytes for array in arrays if array is not None)


class VideoInfoCache:
    """A least-recently-used cache of ``VideoInfo``, limited to ``MEMORY`` bytes."""

    def __init__(self) -> None:
        self._files: OrderedDict[Identity, tuple[VideoInfo, int]] = OrderedDict()
        self._memory = 0

    def __len__(self) -> int:
        return len(self._files)

    def get(self, identity: Identity) -> VideoInfo | None:
        """Return the entry of a file, or None."""
        if identity not in self._files:
            return None
        self._files.move_to_end(identity)
        return self._files[identity][0]

    def put(self, identity: Identity, info: VideoInfo) -> None:
        """Insert or replace an entry, and evict the least recently used ones beyond ``MEMORY``."""
        self._memory += info.nbytes - self._files.pop(identity, (None, 0))[1]
        self._files[identity] = info, info.nbytes
        while self._memory > MEMORY:
            self._memory -= self._files.popitem(last=False)[1][1]


VIDEO_INFO_CACHE = VideoInfoCache()
