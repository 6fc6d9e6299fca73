"""Which frames a video file holds, read from its packets without decoding one.

A container whose timestamps can be trusted gives a `PacketIndex`: frame n is the n-th presentation time, and the key
frames say where decoding may start. Every other file has to be decoded from its first packet on and counted.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

INDEXED_FORMATS = ("mov", "matroska")
"""First names of FFmpeg's demuxers for MP4, MOV, 3GP and for Matroska, WebM: a presentation time is stored with each
frame. AVI stores none (FFmpeg's guess is wrong for packed B-frames), those of a transport stream may jump and wrap."""

INDEXED_CODECS = ("h264", "hevc", "vp9", "av1", "mjpeg")
"""Codecs in which one packet is one delivered frame. Not so in VP8 (invisible reference frames) and MPEG-4 (packed
B-frames and their placeholders); others have not been tested here, and are counted."""

SIZED_FORMATS = (*INDEXED_FORMATS, "avi")
"""Containers that say how long they are; a transport stream may be cut anywhere."""

SHORTFALL_S = 0.5
"""A stream that ends more than these seconds before the time in its header has lost its tail."""


@dataclass(frozen=True, slots=True)
class PacketIndex:
    """Presentation times in units of the stream's time base, ascending."""

    pts: list[int]  # of every frame that the decoder delivers
    keys: list[int]  # of every key frame, also of those hidden by an edit list
    reorder_depth: int  # frames that the decoder holds back to show them later than they are stored

    def key_number(self, frame: int) -> int:
        """Number of the last key frame shown at or before `frame`.

        Leading pictures (open GOP: stored after a key frame, shown before it, predicted from the GOP before) so belong
        to the earlier key frame, the one that they can be decoded from.
        """
        return bisect.bisect_right(self.keys, self.pts[frame]) - 1

    def run_length(self, frames: Sequence[int]) -> int:
        """How many of `frames` (ascending) to decode in one go, until a seek to the next one's key frame is cheaper.

        A seek throws away the frames that the decoder holds back: it pays if more would be decoded in vain.
        (H.264, 8 frames spread over 10 s: GOP 250 45 ms, without seeking 58 ms; GOP 12 27 ms, without 76 ms.)
        """
        for length, (here, there) in enumerate(pairwise(frames), start=1):
            key = self.key_number(there)
            in_vain = bisect.bisect_left(self.pts, self.keys[key]) - here - 1
            if key != self.key_number(here) and in_vain > self.reorder_depth:
                return length
        return len(frames)


class _Packet(NamedTuple):
    """What is kept of a packet, its data being let go."""

    pts: int | None
    duration: int
    has_data: bool
    is_key: bool
    is_hidden: bool  # decoded for the sake of others, never delivered: it lies before the start of an edit list
    is_cut: bool


def scan_packets(container: InputContainer, stream: VideoStream) -> PacketIndex | None:
    """Read every packet of `stream`, about 4 us each; None where its frames can only be had by counting.

    Raises ValueError with the reason where the file ends before its header says, av.FFmpegError where it is unreadable.
    """
    packets = [
        _Packet(p.pts, p.duration or 0, p.size > 0, p.is_keyframe, p.is_discard, p.is_corrupt)
        for p in container.demux(stream)
        if p.pts is not None or p.dts is not None  # not PyAV's last, which tells a decoder to deliver what it holds
    ]
    demuxer = container.format.name.split(",")[0]
    if demuxer in SIZED_FORMATS:
        _check_length(stream, demuxer, packets)
    if demuxer in INDEXED_FORMATS and stream.codec_context.codec.canonical_name in INDEXED_CODECS:
        return _index(packets)
    return None


def _index(packets: Sequence[_Packet]) -> PacketIndex | None:
    """None where it is not sure that a plain decode delivers all these packets' frames, in the order of their times."""
    pts = [packet.pts for packet in packets if packet.pts is not None and packet.has_data]
    if not pts or len(set(pts)) < len(packets):
        return None  # times missing, or given twice: also an edit list that repeats or reorders parts
    keys = sorted(time for time, packet in zip(pts, packets, strict=True) if packet.is_key)
    shown = sorted(time for time, packet in zip(pts, packets, strict=True) if not packet.is_hidden)
    if not keys or not shown or packets[0].pts != keys[0] or shown[0] < keys[0]:
        return None  # the decoder drops what it cannot predict: only decoding tells which frame it delivers first
    rank = {time: place for place, time in enumerate(sorted(pts))}
    return PacketIndex(shown, keys, max(place - rank[time] for place, time in enumerate(pts)))


def _check_length(stream: VideoStream, demuxer: str, packets: Sequence[_Packet]) -> None:
    if any(packet.is_cut for packet in packets):  # these demuxers flag the packet in which the file ends
        raise ValueError("the file is truncated: it ends in the middle of a frame")
    promised = _promised_end(stream, demuxer)
    ends = [packet.pts + packet.duration for packet in packets if packet.pts is not None]
    if promised is None or not ends or not stream.time_base:
        return
    end = float(max(ends) * stream.time_base)
    if end < promised - SHORTFALL_S:
        raise ValueError(f"the file is truncated: its header promises {promised:.2f} s, its frames end at {end:.2f} s")


def _promised_end(stream: VideoStream, demuxer: str) -> float | None:
    """Seconds at which the header says that the stream ends; None where it does not say."""
    if demuxer == "mov" and stream.duration and stream.time_base:
        return float((stream.duration + (stream.start_time or 0)) * stream.time_base)
    tag = re.fullmatch(r"(\d+):(\d+):(\d+\.?\d*)", stream.metadata.get("DURATION", ""))  # Matroska: 00:00:10.333
    return int(tag[1]) * 3600 + int(tag[2]) * 60 + float(tag[3]) if tag else None
