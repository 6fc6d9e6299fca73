"""Files of ten encoders: frames after seeks are those of a sequential decode, and their colors those of the formulas.

The slow tests cover every combination of encoder, bit depth, chroma subsampling and field order, and compare the
decoded frames with those of the ffmpeg program where it is installed; only it encodes with libaom.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from support.encode import numbered_frame, read_number, write_video
from support.exact_color import exact_rgb, planes
from support.tables import default_lane_has

from vexp.data.decoding.pyav import VideoReader

FRAMES = 26
INTERLACED: dict[str, Any] = {"flags": "+ildct+ilme"}
HEVC = "log-level=none:keyint=12:min-keyint=12:scenecut=0"

# encoder: (file name, options, (pixel formats))
ENCODERS: dict[str, tuple[str, dict[str, Any], str]] = {
    "libx264": ("v.mp4", {}, "yuv420p yuv422p yuv444p yuv420p10le yuv422p10le yuv444p10le"),
    "libx265": ("v.mp4", {"x265_params": HEVC}, "yuv420p yuv422p yuv444p yuv420p10le yuv422p10le yuv444p10le"),
    "libsvtav1": ("v.mp4", {"preset": "10", "b_frames": 0}, "yuv420p yuv420p10le"),
    "libaom-av1": ("v.webm", {}, "yuv420p yuv422p yuv444p yuv420p10le yuv422p10le yuv444p10le"),
    "libvpx": ("v.webm", {"b_frames": 0, "deadline": "realtime"}, "yuv420p"),
    "libvpx-vp9": (
        "v.webm", {"b_frames": 0, "deadline": "realtime", "cpu_used": "8"},
        "yuv420p yuv422p yuv444p yuv420p10le yuv422p10le yuv444p10le",
    ),
    "mpeg2video": ("v.ts", {}, "yuv420p yuv422p"),
    "mpeg4": ("v.avi", {}, "yuv420p"),
    "prores_ks": ("v.mov", {"b_frames": 0}, "yuv422p10le yuv444p10le"),
    "ffv1": ("v.mkv", {"b_frames": 0}, "yuv420p yuv422p yuv444p yuv420p10le yuv422p10le yuv444p10le"),
}  # fmt: skip

COSITED = {"libx264": ("yuv420p10le", "yuv422p10le"), "libx265": ("yuv420p10le",)}
"""Formats that the decoder tags as co-sited if the stream has no tag; untagged chroma is taken as centered."""


BT2020 = HEVC + ":colorprim=bt2020:colormatrix=bt2020nc:transfer="

OTHERS: list[tuple[str, str, str, dict[str, Any]]] = [
    *(("libsvtav1", "yuv420p", f"v.{suffix}", {"preset": preset}) for suffix in ("mp4", "webm") for preset in "68"),
    ("libx264", "yuv420p", "v.mp4", INTERLACED), ("libx264", "yuv420p10le", "v.mp4", INTERLACED),
    ("libx264", "yuv422p10le", "v.mp4", INTERLACED), ("libx264", "yuv420p", "v.m2ts", INTERLACED),
    ("libx265", "yuv420p", "v.mp4", {"x265_params": HEVC + ":interlace=tff"}),
    ("libx265", "yuv420p10le", "v.mp4", {"x265_params": BT2020 + "smpte2084"}),  # HDR10 (PQ)
    ("libx265", "yuv420p10le", "v.mp4", {"x265_params": BT2020 + "arib-std-b67"}),  # HLG
    ("mpeg2video", "yuv420p", "v.ts", INTERLACED), ("mpeg2video", "yuv422p", "v.mpg", INTERLACED),
    ("mpeg2video", "yuv420p", "v.ts", {"size": (161, 97)}), ("mpeg2video", "yuv422p", "v.ts", {"size": (160, 97)}),
    ("mpeg4", "yuv420p", "v.avi", INTERLACED), ("prores_ks", "yuv422p10le", "v.mov", INTERLACED),
    ("libvpx-vp9", "yuv420p", "v.webm", {"size": (161, 97)}),
    ("libvpx-vp9", "yuv420p10le", "v.webm", {"size": (161, 97)}),
    ("ffv1", "yuv420p10le", "v.mkv", {"size": (161, 97)}), ("ffv1", "yuv444p10le", "v.mkv", {"size": (161, 97)}),
]  # fmt: skip

AV1: list[tuple[str, str, str, dict[str, Any]]] = [
    *(
        ("libaom-av1", pix_fmt, "v.webm", {"cpu_used": preset, "lag_in_frames": lag, "size": (80, 64)})
        for preset in range(9) for lag in (0, 25) for pix_fmt in ("yuv420p", "yuv420p10le")
    ),
    *(
        ("libsvtav1", pix_fmt, "v.webm", {"preset": str(preset), "size": (80, 64)})
        for preset in range(-1, 14) for pix_fmt in ("yuv420p", "yuv420p10le")
    ),
]  # fmt: skip
"""Every preset of both encoders, without and with hidden frames; each file is also copied to MP4.

They are small, because the slowest presets need a second a frame.
"""

CASES = [
    *((encoder, pix_fmt, name, {}) for encoder, (name, _, formats) in ENCODERS.items() for pix_fmt in formats.split()),
    *OTHERS,
]
QUICK = [
    ("libsvtav1", "yuv420p", "v.webm", {"preset": "12"}), ("libsvtav1", "yuv420p10le", "v.mp4", {}),
    ("libx264", "yuv422p10le", "v.mp4", {}), ("libx264", "yuv420p10le", "v.mp4", INTERLACED),
    ("libx265", "yuv420p10le", "v.mp4", {"x265_params": BT2020 + "smpte2084"}),
    ("mpeg2video", "yuv420p", "v.ts", INTERLACED), ("mpeg2video", "yuv420p", "v.ts", {"size": (161, 97)}),
    ("ffv1", "yuv420p10le", "v.mkv", {"size": (161, 97)}), ("prores_ks", "yuv444p10le", "v.mov", {}),
]  # fmt: skip


def _id(case: Any) -> str:
    encoder, pix_fmt, name, options = case
    return "-".join([encoder, pix_fmt, name, *(str(value) for value in options.values())])


def _colored_frame(number: int, width: int, height: int) -> np.ndarray:
    """``numbered_frame`` with blocks of random colors, of odd size and other ones in each row of pixels, below."""
    frame, rng = numbered_frame(number, width, height), np.random.default_rng(number)
    blocks = rng.integers(0, 256, (height // 12 + 1, width // 7 + 1, 3), dtype=np.uint8)
    half = height // 2
    frame[half:] = blocks.repeat(7, axis=1)[:, :width].repeat(6, axis=0)[: height - half]
    frame[half + 1 :: 2] = np.roll(frame[half::2], 3, axis=1)[: len(frame[half + 1 :: 2])]
    return frame


def _encode(folder: Path, encoder: str, pix_fmt: str, name: str, options: dict[str, Any]) -> Path:
    settings = {"size": (160, 96), "frames": FRAMES, "pix_fmt": pix_fmt, **ENCODERS[encoder][1], **options}
    if encoder != "libaom-av1" and (encoder != "libvpx-vp9" or "10" not in pix_fmt):
        return write_video(folder / name, codec=encoder, **settings)
    kept = {option: settings[option] for option in ("size", "frames", "pix_fmt")}  # not in the wheels of PyAV
    source = write_video(folder / "source.mkv", codec="ffv1", b_frames=0, **kept)
    speed = ("-cpu-used", settings.get("cpu_used", 6), "-lag-in-frames", settings.get("lag_in_frames", 25))
    _ffmpeg("-i", source, "-c:v", encoder, *speed, "-g", 12, folder / name)
    return folder / name


def _ffmpeg(*arguments: object) -> bytes:
    if shutil.which("ffmpeg") is None:
        pytest.skip("the ffmpeg program is not installed")
    command = ["ffmpeg", "-v", "error", "-y", *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True).stdout


def _check(path: Path, *, cosited: bool, tolerance: int) -> list[av.VideoFrame]:
    """Compare frames in order, and single ones by new readers, with the conversion of a sequential decode."""
    with av.open(str(path)) as container:
        coded = list(container.decode(video=0))
    with VideoReader(path) as reader:
        frames = reader.frames(range(reader.num_frames))
    assert len(frames) == len(coded)
    for decoded, frame in zip(coded, frames, strict=True):
        difference = np.abs(frame - np.rint(exact_rgb(decoded, cosited=cosited)))
        assert difference.max() <= tolerance
    rng = np.random.default_rng(0)
    for indices in (
        [len(frames) - 1],
        *([index] for index in rng.permutation(len(frames))),
        rng.integers(0, len(frames), 6),
    ):
        with VideoReader(path) as reader:
            np.testing.assert_array_equal(reader.frames(indices), frames[indices])
    return coded


def _run(case: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, list[av.VideoFrame]]:
    encoder, pix_fmt, name, options = case
    monkeypatch.setattr("support.encode.numbered_frame", _colored_frame)
    path = _encode(folder, encoder, pix_fmt, name, options)
    size = options.get("size", (160, 96))
    is_8_bit_subsampled = pix_fmt in ("yuv420p", "yuv422p")
    coded = _check(path, cosited=pix_fmt in COSITED.get(encoder, ()), tolerance=3 if is_8_bit_subsampled else 1)
    assert (coded[0].width, coded[0].height) == size
    assert coded[0].interlaced_frame == ("flags" in options or "interlace" in str(options))
    assert int(coded[0].colorspace) == 9 or "bt2020" not in str(options)
    if size[0] % 10 == 0:
        with VideoReader(path) as reader:
            assert [read_number(frame) for frame in reader.iter_valid_rgb_frames()] == list(range(FRAMES))
    return path, coded


@pytest.mark.parametrize("case", default_lane_has(3, [pytest.param(case) for case in QUICK]), ids=_id)
def test_frames_of_an_encoder_are_exact(case: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _run(case, tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=_id)
def test_frames_of_every_encoder_are_exact(case: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, coded = _run(case, tmp_path, monkeypatch)
    if shutil.which("ffmpeg") is not None:
        _check_coded_pixels(case, path, coded)


@pytest.mark.slow
@pytest.mark.parametrize("case", AV1, ids=_id)
def test_frames_of_every_av1_preset_are_exact(case: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, coded = _run(case, tmp_path, monkeypatch)
    _check_coded_pixels(case, path, coded)
    _ffmpeg("-i", path, "-c", "copy", path.with_suffix(".mp4"))
    copied = _check(path.with_suffix(".mp4"), cosited=False, tolerance=3 if case[1] == "yuv420p" else 1)
    for frame, other in zip(coded, copied, strict=True):
        assert all(np.array_equal(*pair) for pair in zip(planes(frame), planes(other), strict=True))


def _check_coded_pixels(case: Any, path: Path, coded: list[av.VideoFrame]) -> None:
    """Compare the frames before their conversion to RGB with those that the ffmpeg program decodes."""
    is_field_mpeg4 = case[0] == "mpeg4" and "flags" in case[3]  # FFmpeg 8 mended its B-frames: nearer to the source
    if not is_field_mpeg4:
        pix_fmt = coded[0].format.name
        raw = _ffmpeg("-i", path, "-fps_mode", "passthrough", "-pix_fmt", pix_fmt, "-f", "rawvideo", "-")
        dtype = "<u2" if coded[0].format.components[0].bits > 8 else "u1"
        pixels = np.concatenate([np.concatenate([plane.ravel() for plane in planes(frame)]) for frame in coded])
        outside = np.frombuffer(raw, dtype)
        assert len(outside) == len(pixels)
        np.testing.assert_array_equal(outside, pixels)
