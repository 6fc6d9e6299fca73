"""The frames of a video file, determined from its packets without decoding.

For containers with reliable timestamps this is a ``PacketIndex``: frame n has the n-th presentation time, and decoding
may start at key frames. Other files have to be decoded from the first packet on to count their frames.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

INDEXED_FORMATS = ("mov", "matroska")
"""First names of FFmpeg's demuxers for MP4, MOV, 3GP and for Matroska, WebM: a presentation time is stored with each
frame. AVI stores none (FFmpeg's guess is wrong for packed B-frames), those of a transport stream may jump and wrap."""

INDEXED_CODECS = ("h264", "hevc", "vp9", "av1", "mjpeg")
"""Codecs in which one packet is one delivered frame. Not so in VP8 (invisible reference frames) and MPEG-4 (packed
B-frames and their placeholders); others have not been tested here, and are counted."""

SIZED_FORMATS = (*INDEXED_FORMATS, "avi")
"""Containers that say how long they are; a transport stream may be cut anywhere."""

IDR_SLICE = 5
"""NAL unit type of an IDR picture in H.264, after which no frame is predicted from earlier ones."""

SEEK_FRAMES = 1
"""Cost of a seek in decoded frames."""

SEEK_PACKETS = 100
"""Cost of a seek in packets that are read and not decoded: in H.264 a seek takes about 0.3 ms at 340x256 and 0.9 ms at
720p, since the decoder allocates its tables again, and a packet 5 and 7.5 us."""

SHORTFALL_S = 0.5
"""A stream that ends more than this many seconds before the time in its header is truncated."""


@dataclass(frozen=True, slots=True, eq=False)
class PacketIndex:
    """Presentation times in units of the stream's time base: int64, ascending."""

    pts: NDArray[np.int64]  # of every frame that the decoder delivers
    keys: NDArray[np.int64]  # of every key frame, also of those hidden by an edit list
    hides_frames: bool = False  # an edit list: some packets are decoded for the sake of others and never shown
    has_leading: bool = False  # open GOPs: frames stored after a key frame, shown before it
    keys_restart: bool = True  # prediction starts afresh at every key frame (in H.264: it is an IDR picture)

    def key_number(self, frame: int) -> int:
        """Return the number of the last key frame displayed at or before ``frame``.

        Leading frames of an open GOP (stored after a key frame, displayed before it) thus belong to the previous key
        frame, from which they can be decoded.
        """
        return int(self.key_numbers([frame])[0])

    def key_numbers(self, frames: Sequence[int]) -> NDArray[np.int64]:
        """Return ``key_number`` of each frame."""
        return np.asarray(np.searchsorted(self.keys, self.pts[np.asarray(frames)], side="right") - 1)

    def wanted_in_gops(self, frames: Sequence[int]) -> dict[int, int]:
        """Return how many of ``frames`` each GOP has that has some, by the time of its key frame, ascending."""
        keys, counts = np.unique(self.keys[self.key_numbers(frames)], return_counts=True)
        return dict(zip(keys.tolist(), counts.tolist(), strict=True))

    @property
    def can_skip(self) -> bool:
        """Whether the packets between the last wanted frame of a GOP and the next key frame need not be decoded."""
        return self.keys_restart and not self.has_leading and not self.hides_frames

    def run_ends(self, frames: Sequence[int]) -> list[int]:
        """Return where in ``frames`` (ascending) to stop reading sequentially, since seeking is cheaper.

        Up to the key frame of the next wanted frame, packets are skipped (``can_skip``), or else decoded without being
        used. Seeking is cheaper if these are more than ``SEEK_PACKETS``, or ``SEEK_FRAMES``.
        """
        numbers = np.asarray(frames)
        keys = self.key_numbers(frames)
        in_vain = np.searchsorted(self.pts, self.keys[keys[1:]]) - numbers[:-1] - 1
        breaks = (keys[1:] != keys[:-1]) & (in_vain > (SEEK_PACKETS if self.can_skip else SEEK_FRAMES))
        return [*(np.flatnonzero(breaks) + 1).tolist(), len(frames)]


def scan_packets(container: InputContainer, stream: VideoStream, demuxer: str) -> PacketIndex | None:
    """Read every packet of ``stream`` (about 4 us each); None if its frames have to be counted by decoding.

    The file is read through a small buffer, and 9 bytes are kept of each packet, so memory hardly grows with its size.

    Raises:
        ValueError: If the file is truncated.
        av.FFmpegError: If it cannot be read.
    """
    pts, is_key, is_hidden = array("q"), bytearray(), bytearray()
    count, end, is_cut, is_complete, keys_restart, restarts = 0, 0, False, True, True, _restart_test(stream)
    for packet in container.demux(stream):
        if packet.pts is None and packet.dts is None:
            continue  # PyAV's last one, for which a decoder delivers what it holds
        count += 1
        is_cut |= packet.is_corrupt  # the file ends within it: the demuxers of these containers flag it
        if packet.pts is None or not packet.size:
            is_complete = False
            continue
        pts.append(packet.pts)
        is_key.append(packet.is_keyframe)
        is_hidden.append(packet.is_discard)  # before the start of an edit list: decoded for others, never delivered
        end = max(end, packet.pts + (packet.duration or 0))
        keys_restart = keys_restart and (not packet.is_keyframe or restarts(packet))
    if demuxer in SIZED_FORMATS:
        if is_cut or (demuxer == "mov" and count < len(stream.index_entries)):
            raise ValueError("the file is truncated: it ends in the middle of a frame")
        promised, seconds = _promised_end(stream, demuxer), float(end * (stream.time_base or 0))
        if promised is not None and pts and stream.time_base and seconds < promised - SHORTFALL_S:
            ends = f"its header states {promised:.2f} s, its frames end at {seconds:.2f} s"
            raise ValueError(f"the file is truncated: {ends}")
    is_indexed = demuxer in INDEXED_FORMATS and stream.codec_context.codec.canonical_name in INDEXED_CODECS
    if not is_indexed or not is_complete or not pts:
        return None
    key_flags, hidden_flags = np.frombuffer(is_key, np.bool_), np.frombuffer(is_hidden, np.bool_)
    return _index(np.frombuffer(pts, np.int64), key_flags, hidden_flags, keys_restart)


def _index(
    pts: NDArray[np.int64], is_key: NDArray[np.bool_], is_hidden: NDArray[np.bool_], keys_restart: bool
) -> PacketIndex | None:
    """Build the index; None if a sequential decode may not return all frames in the order of their times."""
    order = np.argsort(pts, kind="stable")
    ascending = pts[order]
    if (ascending[1:] == ascending[:-1]).any():
        return None  # also an edit list that repeats or reorders parts
    keys, shown = np.sort(pts[is_key]), ascending[~is_hidden[order]]
    if not len(keys) or not len(shown) or pts[0] != keys[0] or shown[0] < keys[0]:
        return None  # the decoder drops what it cannot predict: only decoding tells which frame it delivers first
    if (np.maximum.accumulate(pts)[:-1] > pts[1:])[is_key[1:]].any():
        return None  # times of joined files that overlap: a frame stored before a key frame is displayed after it
    newest_key = np.maximum.accumulate(np.where(is_key, pts, pts[0]))
    has_leading = bool((pts < newest_key).any())
    return PacketIndex(shown, keys, bool(is_hidden.any()), has_leading, keys_restart)


def _restart_test(stream: VideoStream) -> Callable[[Packet[VideoStream]], bool]:
    """Return a test whether decoding may start at a key packet, which not all marked key packets satisfy.

    In H.264 it must be an IDR picture; a recovery point is not sufficient.
    """
    header = stream.codec_context.extradata or b""
    if stream.codec_context.codec.canonical_name != "h264" or header[:1] != b"\x01":  # ISO/IEC 14496-15, 5.3.3.1
        return lambda packet: True
    length_size = (header[4] & 3) + 1

    def has_idr_slice(packet: Packet[VideoStream]) -> bool:
        """Test the first NAL unit with a slice; each unit follows its length (ISO/IEC 14496-10, 7.4)."""
        data, place = memoryview(packet), 0
        while place + length_size < len(data):
            kind = data[place + length_size] & 31
            if 1 <= kind <= IDR_SLICE:
                return kind == IDR_SLICE
            place += length_size + int.from_bytes(data[place : place + length_size], "big")
        return False

    return has_idr_slice


def _promised_end(stream: VideoStream, demuxer: str) -> float | None:
    """Return the end of the stream in seconds according to the header; None if unknown."""
    if demuxer == "mov" and stream.duration and stream.time_base:
        return float((stream.duration + (stream.start_time or 0)) * stream.time_base)
    tag = re.fullmatch(r"(\d+):(\d+):(\d+\.?\d*)", stream.metadata.get("DURATION", ""))  # Matroska: 00:00:10.333
    return int(tag[1]) * 3600 + int(tag[2]) * 60 + float(tag[3]) if tag else None
