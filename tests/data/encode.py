"""Videos for tests: every frame carries its own number in its pixels, so a reader's answer can be checked by eye or code."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

BITS = 10
"""Frame numbers 0..1023: one block a bit, most significant on the left, in the top half of the picture."""


def numbered_frame(number: int, width: int = 80, height: int = 48) -> np.ndarray:
    """Frame `number`: its bits as black and white blocks over a moving gradient. uint8 (height, width, 3) RGB."""
    frame = np.empty((height, width, 3), np.uint8)
    ramp = (np.arange(width)[None, :] * 2 + np.arange(height)[:, None] * 3 + number * 7) % 200
    frame[...] = ramp[..., None] + np.array([40, 20, 0])
    block = width // BITS
    for bit in range(BITS):
        on = number >> (BITS - 1 - bit) & 1
        frame[: height // 2, bit * block : (bit + 1) * block] = 235 if on else 20
    return frame


def read_number(frame: np.ndarray) -> int:
    """The number in a decoded frame, uint8 (H, W, 3); the middle of each block decides, so lossy coding does not matter."""
    height, width = frame.shape[:2]
    block = width // BITS
    number = 0
    for bit in range(BITS):
        centre = frame[height // 8 : height // 3, bit * block + block // 4 : (bit + 1) * block - block // 4]
        number = number << 1 | int(centre.mean() > 128)
    return number


def write_video(
    path: Path,
    *,
    frames: int = 60,
    codec: str = "libx264",
    size: tuple[int, int] = (80, 48),
    pix_fmt: str = "yuv420p",
    rate: int = 25,
    gop: int = 12,
    b_frames: int = 2,
    times: Sequence[int] | None = None,
    colour: tuple[int, int] | None = None,
    container: str | None = None,
    **options: str,
) -> Path:
    """Encode frames 0..frames-1 at (width, height) `size`; skips the test where this PyAV has no such encoder.

    `times`: presentation times in units of 1/rate (default 0, 1, 2 ...: constant rate). `colour`: (matrix, range) tags in
    FFmpeg's numbers. `options` go to the encoder (`preset`, `x264-params` with an underscore for the hyphen).
    """
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV build has no {codec} encoder")
    with av.open(str(path), "w", format=container) as output:
        stream = output.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = *size, pix_fmt
        stream.codec_context.gop_size = gop
        stream.codec_context.max_b_frames = b_frames
        stream.codec_context.thread_count = 1
        stream.codec_context.time_base = Fraction(1, rate)
        if colour is not None:
            stream.codec_context.colorspace, stream.codec_context.color_range = colour
        stream.options = {name.replace("_", "-"): value for name, value in options.items()}
        for number in range(frames):
            picture = av.VideoFrame.from_ndarray(numbered_frame(number, *size), format="rgb24")
            frame = picture.reformat(format=pix_fmt, dst_colorspace=colour[0] if colour else None)
            frame.pts = number if times is None else times[number]
            frame.time_base = Fraction(1, rate)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def remux(source: Path, target: Path, *, first_packet: int = 0, shift: int = 0, **options: str) -> Path:
    """Copy the packets from number `first_packet` on, their times moved by `shift` frames, without encoding again."""
    with av.open(str(source)) as reader, av.open(str(target), "w", options=options) as writer:
        stream = reader.streams.video[0]
        copy = writer.add_stream_from_template(stream)
        assert stream.average_rate is not None and stream.time_base is not None
        ticks = int(shift / stream.average_rate / stream.time_base)
        for number, packet in enumerate(reader.demux(stream)):
            if packet.dts is None or packet.pts is None or number < first_packet:
                continue
            packet.pts += ticks
            packet.dts += ticks
            packet.stream = copy
            writer.mux(packet)
    return target


def set_rotation(path: Path, quarter_turns: int) -> Path:
    """Write a display matrix into the MP4's track header: shown turned clockwise by `quarter_turns` * 90 degrees."""
    cosine, sine = [(1, 0), (0, 1), (-1, 0), (0, -1)][quarter_turns % 4]
    rows = [cosine, sine, 0, -sine, cosine, 0, 0, 0, 1 << 14]  # 16.16 fixed point, the last column 2.30
    matrix = b"".join(int(value << 16).to_bytes(4, "big", signed=True) for value in rows)
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 44  # version, times, track id, duration, layer, volume come before the matrix
    data[start : start + 36] = matrix
    path.write_bytes(data)
    return path
