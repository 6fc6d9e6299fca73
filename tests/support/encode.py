"""Videos for tests, each of whose frames shows its own number, so that the frames of a reader can be checked."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from vexp.data.decoding.color import FULL_CHROMA

BITS = 10
"""Frame numbers are 0..1023: one block per bit, the most significant on the left, in the top half of the frame."""


def numbered_frame(number: int, width: int = 80, height: int = 48) -> np.ndarray:
    """Draw the bits of `number` as white and black blocks on a moving gradient: uint8 (height, width, 3) RGB."""
    ramp = (np.arange(width)[None, :] * 2 + np.arange(height)[:, None] * 3 + number * 7) % 200
    frame = (ramp[..., None] + np.array([40, 20, 0])).astype(np.uint8)
    block = width // BITS
    for bit in range(BITS):
        frame[: height // 2, bit * block : (bit + 1) * block] = 235 if number >> (BITS - 1 - bit) & 1 else 20
    return frame


def read_number(frame: np.ndarray) -> int:
    """Return the number in a decoded frame, uint8 (H, W, 3); lossy coding leaves the middle of a block readable."""
    height, width = frame.shape[:2]
    block = width // BITS
    number = 0
    for bit in range(BITS):
        center = frame[height // 8 : height // 3, bit * block + block // 4 : (bit + 1) * block - block // 4]
        number = number << 1 | int(center.mean() > 128)
    return number


@contextmanager
def keep_scheduling() -> Iterator[None]:
    """Undo what SVT-AV1 does as root: it gives the calling thread real-time priority, which starves all others."""
    if not hasattr(os, "sched_getscheduler"):
        yield
        return
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameters)


def write_video(
    path: Path,
    *,
    frames: int = 60,
    codec: str = "libx264",
    size: tuple[int, int] = (80, 48),
    pix_fmt: str = "yuv420p",
    gop: int = 12,
    b_frames: int = 2,
    times: Sequence[int] | None = None,
    **options: str,
) -> Path:
    """Encode numbered frames at 25 frames per second; skip the test if this PyAV build has no such encoder.

    `size` is (width, height); `times` are presentation times in 1/25 s (default 0, 1, 2 ..., a constant rate).
    `options` are those of the encoder, with an underscore for a hyphen (`x264_params="open-gop=1"`).
    """
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV build has no {codec} encoder")
    with keep_scheduling(), av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = *size, pix_fmt
        stream.codec_context.gop_size = gop
        stream.codec_context.max_b_frames = b_frames
        stream.codec_context.thread_count = 1
        stream.codec_context.time_base = Fraction(1, 25)
        stream.options = {name.replace("_", "-"): value for name, value in options.items()}
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(numbered_frame(number, *size), format="rgb24").reformat(format=pix_fmt)
            frame.pts = number if times is None else times[number]
            frame.time_base = Fraction(1, 25)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def write_color(path: Path, yuv: tuple[int, int, int], matrix: int | None, color_range: int | None) -> Path:
    """Write three lossless frames of one (Y, Cb, Cr) color, with or without FFmpeg's numbers of matrix and range."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.options = {"qp": "0"}
        if matrix is not None and color_range is not None:
            stream.codec_context.colorspace, stream.codec_context.color_range = matrix, color_range
        for number in range(3):
            frame = av.VideoFrame(64, 48, "yuv420p")
            for plane, value in zip(frame.planes, yuv, strict=True):
                plane.update(bytes([value]) * plane.buffer_size)
            frame.pts = number
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def remux(
    source: Path, target: Path, *, first_packet: int = 0, shift: int = 0, title: str = "", **options: str
) -> Path:
    """Copy the packets from number `first_packet` on, `shift` frames later, without encoding again.

    A negative shift gives an MP4 an edit list that hides the frames before time 0, as cutting without encoding does.
    `options` are those of the container (`movflags`).
    """
    with av.open(str(source)) as reader, av.open(str(target), "w", options=options) as writer:
        if title:
            writer.metadata["title"] = title
        stream = reader.streams.video[0]
        copy = writer.add_stream_from_template(stream)
        ticks = round(shift / (25 * stream.time_base))
        for number, packet in enumerate(reader.demux(stream)):
            if packet.pts is None or number < first_packet:
                continue
            packet.pts += ticks
            if packet.dts is not None:
                packet.dts += ticks
            packet.stream = copy
            writer.mux(packet)
    return target


def pack_b_frames(path: Path, frames: int = 60) -> Path:
    """Write MPEG-4 in AVI with packed B-frames, as DivX and Xvid do.

    A packet holds a P-frame and the B-frame shown before it, and the next packet a "not coded" P-frame in its place
    (ISO/IEC 14496-2, 6.2.5), so that there are as many packets as frames.
    """
    unpacked = write_video(
        path.with_name("unpacked.avi"), codec="mpeg4", frames=frames, b_frames=1, gop=12, b_strategy="0"
    )
    with av.open(str(unpacked)) as reader, av.open(str(path), "w") as writer:
        stream = reader.streams.video[0]
        copy = writer.add_stream_from_template(stream)
        coded = [bytes(packet) for packet in reader.demux(stream) if packet.size]
        kinds = [data[data.index(b"\0\0\1\xb6") + 4] >> 6 for data in coded]  # vop_coding_type: 0 I, 1 P, 2 B
        packets: list[bytes] = []
        for data, kind in zip(coded, kinds, strict=True):
            if kind == 2:
                packets[-1] += data
            packets.append(data if kind != 2 else b"\0\0\1\xb6" + bytes([0b01010000, 0b01001111]))
        marker = b"\0\0\1\xb2DivX503b1393p\0"  # the "p" stands for packed
        packets[0] = packets[0].replace(b"\0\0\1\xb6", marker + b"\0\0\1\xb6", 1)
        for number, data in enumerate(packets):
            packet = av.Packet(data)
            packet.pts = packet.dts = number
            packet.time_base, packet.stream = Fraction(1, 25), copy
            packet.is_keyframe = kinds[number] == 0
            writer.mux(packet)
    unpacked.unlink()
    return path


def patch_box(path: Path, box: bytes, offset: int, content: bytes) -> Path:
    """Overwrite bytes of an MP4 at `offset` from the four letters of the box's type (ISO/IEC 14496-12)."""
    data = bytearray(path.read_bytes())
    start = data.index(box) + offset
    data[start : start + len(content)] = content
    path.write_bytes(data)
    return path


def set_display_matrix(path: Path, a: int, b: int, c: int, d: int) -> Path:
    """Write the matrix ((a, b), (c, d)) into the MP4's track header: column p, row q is shown at ap + cq, bp + dq."""
    values = [a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30]
    return patch_box(path, b"tkhd", 44, b"".join(value.to_bytes(4, "big", signed=True) for value in values))


def plain_decode(path: Path) -> np.ndarray:
    """Return every frame that PyAV decodes, ignoring errors: uint8 (frames, H, W, 3) RGB."""
    frames = []
    with av.open(str(path)) as container:
        for packet in container.demux(container.streams.video[0]):
            try:
                frames += [
                    frame.to_ndarray(format="rgb24", threads=1, interpolation=FULL_CHROMA) for frame in packet.decode()
                ]
            except av.FFmpegError:
                continue
    return np.stack(frames)
