"""The frames of a video file, determined from its packets without decoding.

For containers with reliable timestamps this is a ``PacketIndex``: frame n has the n-th presentation time, and decoding may
start at key frames. Other files have to be decoded from the first packet on to count their frames.
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
        return int(np.searchsorted(self.keys, self.pts[frame], side="right")) - 1

    def run_ends(self, frames: Sequence[int]) -> list[int]:
        """Return where in ``frames`` (ascending) to stop decoding sequentially, since seeking is cheaper.

        Seeking is cheaper if more than ``SEEK_FRAMES`` frames would be decoded without being used.
        """
        numbers = np.asarray(frames)
        keys = np.searchsorted(self.keys, self.pts[numbers], side="right") - 1
        in_vain = np.searchsorted(self.pts, self.keys[keys[1:]]) - numbers[:-1] - 1
        breaks = (keys[1:] != keys[:-1]) & (in_vain > SEEK_FRAMES)
        return [*(np.flatnonzero(breaks) + 1).tolist(), len(frames)]


class _Packets:
    """Metadata of the packets of a stream, without their data: 9 bytes each."""

    def __init__(self) -> None:
        self.count = 0
        self.pts = array("q")
        self.is_key, self.is_hidden = bytearray(), bytearray()
        self.end = 0  # of the last frame, in units of the time base
        self.cut = False  # the file ends within a packet: the demuxers of these containers flag it
        self.complete = True  # each has a presentation time and data
        self.keys_restart = True

    def add(self, packet: Packet[VideoStream], restarts: Callable[[Packet[VideoStream]], bool]) -> None:
        self.count += 1
        self.cut |= packet.is_corrupt
        if packet.pts is None or not packet.size:
            self.complete = False
            return
        self.pts.append(packet.pts)
        self.is_key.append(packet.is_keyframe)
        # Decoded for the sake of others, never delivered: it lies before the start of an edit list.
        self.is_hidden.append(packet.is_discard)
        self.end = max(self.end, packet.pts + (packet.duration or 0))
        if packet.is_keyframe and self.keys_restart:
            self.keys_restart = restarts(packet)


def scan_packets(container: InputContainer, stream: VideoStream) -> PacketIndex | None:
    """Read every packet of ``stream`` (about 4 us each); None if its frames have to be counted by decoding.

    The file is read through a small buffer, so memory does not grow with its size.

    Raises:
        ValueError: If the file is truncated.
        av.FFmpegError: If it cannot be read.
    """
    packets, restarts = _Packets(), _restart_test(stream)
    for packet in container.demux(stream):
        if packet.pts is not None or packet.dts is not None:  # not PyAV's last: a decoder then delivers what it holds
            packets.add(packet, restarts)
    demuxer = demuxer_of(container)
    if demuxer in SIZED_FORMATS:
        packets.cut |= demuxer == "mov" and packets.count < len(stream.index_entries)
        _check_length(stream, demuxer, packets)
    if demuxer in INDEXED_FORMATS and stream.codec_context.codec.canonical_name in INDEXED_CODECS:
        return _index(packets)
    return None


def demuxer_of(container: InputContainer) -> str:
    """Return the first name of the container format: "mov", "matroska", "avi", "mpegts", ..."""
    return container.format.name.split(",")[0]


def _index(packets: _Packets) -> PacketIndex | None:
    """Build the index; None if a sequential decode may not return the frames of all packets in the order of their times."""
    if not packets.complete or not packets.pts:
        return None
    pts = np.frombuffer(packets.pts, np.int64)
    order = np.argsort(pts, kind="stable")
    ascending = pts[order]
    if (ascending[1:] == ascending[:-1]).any():
        return None  # also an edit list that repeats or reorders parts
    is_key, is_hidden = np.frombuffer(packets.is_key, np.bool_), np.frombuffer(packets.is_hidden, np.bool_)
    keys, shown = np.sort(pts[is_key]), ascending[~is_hidden[order]]
    if not len(keys) or not len(shown) or pts[0] != keys[0] or shown[0] < keys[0]:
        return None  # the decoder drops what it cannot predict: only decoding tells which frame it delivers first
    if (np.maximum.accumulate(pts)[:-1] > pts[1:])[is_key[1:]].any():
        return None  # times of joined files that overlap: a frame stored before a key frame is displayed before it
    newest_key = np.maximum.accumulate(np.where(is_key, pts, pts[0]))
    return PacketIndex(
        pts=shown,
        keys=keys,
        hides_frames=bool(is_hidden.any()),
        has_leading=bool((pts < newest_key).any()),
        keys_restart=packets.keys_restart,
    )


def _restart_test(stream: VideoStream) -> Callable[[Packet[VideoStream]], bool]:
    """Return a test whether decoding may start at a key packet, which not all marked key packets satisfy.

    In H.264 it must be an IDR picture; a recovery point is not sufficient.
    """
    header = stream.codec_context.extradata or b""
    if stream.codec_context.codec.canonical_name != "h264" or header[:1] != b"\x01":  # ISO/IEC 14496-15, 5.3.3.1
        return lambda packet: True
    length_size = (header[4] & 3) + 1
    return lambda packet: _first_slice(memoryview(packet), length_size) == IDR_SLICE


def _first_slice(packet: memoryview, length_size: int) -> int | None:
    """Return the type of the first NAL unit with a slice; each unit follows its length (ISO/IEC 14496-10, 7.4)."""
    place = 0
    while place + length_size < len(packet):
        kind = packet[place + length_size] & 31
        if 1 <= kind <= IDR_SLICE:
            return kind
        place += length_size + int.from_bytes(packet[place : place + length_size], "big")
    return None


def _check_length(stream: VideoStream, demuxer: str, packets: _Packets) -> None:
    if packets.cut:
        raise ValueError("the file is truncated: it ends in the middle of a frame")
    promised = _promised_end(stream, demuxer)
    if promised is None or not packets.pts or not stream.time_base:
        return
    end = float(packets.end * stream.time_base)
    if end < promised - SHORTFALL_S:
        raise ValueError(f"the file is truncated: its header states {promised:.2f} s, its frames end at {end:.2f} s")


def _promised_end(stream: VideoStream, demuxer: str) -> float | None:
    """Return the end of the stream in seconds according to the header; None if unknown."""
    if demuxer == "mov" and stream.duration and stream.time_base:
        return float((stream.duration + (stream.start_time or 0)) * stream.time_base)
    tag = re.fullmatch(r"(\d+):(\d+):(\d+\.?\d*)", stream.metadata.get("DURATION", ""))  # Matroska: 00:00:10.333
    return int(tag[1]) * 3600 + int(tag[2]) * 60 + float(tag[3]) if tag else None
