"""Small videos, image folders and annotation files for the golden runs, with the same bytes on every call.

Only NumPy, PyAV and simplejpeg are used, nothing of vexp: the media must not change when vexp does.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import simplejpeg

CLASSES = ("falls", "rises", "turns")
#: The direction in which the texture of a class moves: (rows, columns) a frame.
_VELOCITY = {"falls": (2, 0), "rises": (-2, 1), "turns": (1, 3)}
_FPS = 25

#: Without these options libx264 does not write the same bytes on every call: its look-ahead is not deterministic.
_REPEATABLE = "mbtree=0:b-adapt=0:scenecut=0"

# Presentation times of a variable frame rate, in 1/25 s.
_IRREGULAR = [0, 1, 2, 5, 6, 9, 10, 11, 15, 16, 17, 18, 22, 23, 24, 30, 31, 33, 34, 35, 40, 41, 42, 47, 48, 49]

#: file below videos/SPLIT/CLASS -> its frames and how they are encoded
_VIDEOS: dict[str, dict[str, Any]] = {
    "train/falls/long.mp4": {"frames": 60, "size": (80, 48)},
    "train/falls/odd.mkv": {"frames": 25, "size": (81, 49), "pix_fmt": "yuv444p"},
    "train/falls/wide.mp4": {"frames": 34, "size": (112, 64), "gop": 34, "b_frames": 3},
    "train/rises/short.mp4": {"frames": 5, "size": (64, 64)},
    "train/rises/variable.mp4": {"frames": len(_IRREGULAR), "size": (96, 72), "times": _IRREGULAR},
    "train/rises/tall.mp4": {"frames": 40, "size": (56, 96), "x264_params": "open-gop=1:keyint=12"},
    "train/rises/one.mp4": {"frames": 1, "size": (72, 56)},
    "train/turns/mpeg4.avi": {"frames": 33, "size": (88, 56), "codec": "mpeg4"},
    "train/turns/motion_jpeg.mov": {
        "frames": 20,
        "size": (66, 50),
        "codec": "mjpeg",
        "pix_fmt": "yuvj420p",
        "b_frames": 0,
    },
    "train/turns/key_frames.mp4": {"frames": 28, "size": (64, 80), "gop": 1, "b_frames": 0},
    "val/falls/first.mp4": {"frames": 45, "size": (80, 48)},
    "val/rises/second.mkv": {"frames": 17, "size": (75, 91), "pix_fmt": "yuv444p"},
    "val/turns/third.mp4": {"frames": 52, "size": (96, 64), "b_frames": 3},
    "val/turns/fourth.mp4": {"frames": 7, "size": (64, 48)},
}

#: A file that cannot be decoded, for ``data.on_error=skip``.
DAMAGED = "train/falls/damaged.mp4"

#: folder below frames/ and flow/ -> (class number, frames, width, height)
_FOLDERS = {
    "a": (0, 30, 72, 56), "b": (1, 12, 64, 64), "c": (0, 21, 81, 61), "d": (1, 40, 64, 90), "e": (0, 3, 70, 60),
    "f": (1, 16, 100, 64),
}  # fmt: skip


def make_media(folder: Path) -> Path:
    """Write all media below ``folder``.

    ``videos/`` holds a folder per split and class, ``train.txt`` and ``val.txt`` (``path label`` a line),
    ``train.json`` and ``val.json`` (several labels a video; the training file also lists ``DAMAGED``). ``frames/`` and
    ``flow/`` hold a folder of JPEG images per video, ``train.txt`` and ``val.txt``.
    """
    for path, video in _VIDEOS.items():
        _write_video(folder / "videos" / path, label=CLASSES.index(path.split("/")[1]), **video)
    (folder / "videos" / DAMAGED).write_bytes(b"\0\0\0\x18ftypmp42" + bytes(range(200)))
    _list_videos(folder / "videos")
    for name, (label, frames, width, height) in _FOLDERS.items():
        _write_frames(folder / "frames" / name, label, frames, (width, height))
        _write_flow(folder / "flow" / name, label, frames, (width, height))
    _list_folders(folder)
    return folder


def digest(folder: Path) -> str:
    """Return SHA-256 over the names and bytes of all files below ``folder``."""
    total = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        total.update(
            f"{path.relative_to(folder).as_posix()} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode()
        )
    return total.hexdigest()


def _texture(label: int, frames: int, size: tuple[int, int]) -> np.ndarray:
    """Draw colored blocks that move as their class does: uint8 (frames, height, width, 3) RGB."""
    width, height = size
    rng = np.random.default_rng([label, frames, width, height])
    blocks = rng.integers(0, 256, (-(-height // 8), -(-width // 8), 3), dtype=np.uint8)
    still = blocks.repeat(8, axis=0).repeat(8, axis=1)[:height, :width]
    down, right = _VELOCITY[CLASSES[label]]
    return np.stack([np.roll(still, (down * t, right * t), axis=(0, 1)) for t in range(frames)])


def _write_video(
    path: Path,
    *,
    label: int,
    frames: int,
    size: tuple[int, int],
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    gop: int = 12,
    b_frames: int = 2,
    times: Sequence[int] | None = None,
    x264_params: str = "",
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as output:  # Matroska: no random segment number
        stream = output.add_stream(codec, rate=_FPS)
        stream.width, stream.height, stream.pix_fmt = *size, pix_fmt
        stream.codec_context.gop_size, stream.codec_context.max_b_frames = gop, b_frames
        stream.codec_context.thread_count = 1
        stream.codec_context.time_base = Fraction(1, _FPS)
        if codec == "libx264":
            stream.options = {"x264-params": ":".join(filter(None, (_REPEATABLE, x264_params)))}
        for number, image in enumerate(_texture(label, frames, size)):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=pix_fmt)
            frame.pts, frame.time_base = number if times is None else times[number], Fraction(1, _FPS)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))


def _write_frames(folder: Path, label: int, frames: int, size: tuple[int, int]) -> None:
    folder.mkdir(parents=True)
    for number, image in enumerate(_texture(label, frames, size), start=1):
        data = simplejpeg.encode_jpeg(image, quality=90, colorspace="RGB", colorsubsampling="420")
        (folder / f"img_{number:05}.jpg").write_bytes(data)


def _write_flow(folder: Path, label: int, frames: int, size: tuple[int, int]) -> None:
    """Write a pair of gray images a frame: the velocity of the class along x and y, and some noise, around 128."""
    folder.mkdir(parents=True)
    blocks = _texture(label, frames, size)[..., :2].astype(np.int16)
    velocity = np.array(_VELOCITY[CLASSES[label]][::-1])
    fields = np.clip(128 + velocity * 12 + (blocks - 128) // 8, 0, 255).astype(np.uint8)
    for number, field in enumerate(fields, start=1):
        for axis, name in enumerate("xy"):
            plane = np.ascontiguousarray(field[..., axis : axis + 1])
            data = simplejpeg.encode_jpeg(plane, quality=95, colorspace="GRAY")
            (folder / f"flow_{name}_{number:05d}.jpg").write_bytes(data)


def _list_videos(folder: Path) -> None:
    for split in ("train", "val"):
        paths = [path for path in _VIDEOS if path.startswith(split)]
        lines = [f"{path} {CLASSES.index(path.split('/')[1])}\n" for path in paths]
        (folder / f"{split}.txt").write_text("".join(lines), encoding="utf-8")
        if split == "train":
            paths.insert(3, DAMAGED)
        records = []
        for number, path in enumerate(paths):
            own = path.split("/")[1]
            other = CLASSES[number % len(CLASSES)]
            records.append({"path": path, "label": sorted({own, other})})
        (folder / f"{split}.json").write_text(json.dumps(records), encoding="utf-8")


def _list_folders(folder: Path) -> None:
    """Write the lists: ``folder offset total_frames label`` for frames, ``folder total_frames label`` for flow."""
    names = list(_FOLDERS)
    for split, chosen in (("train", names[:4]), ("val", names[4:])):
        parts, whole = [], []
        for name in chosen:
            label, frames, _, _ = _FOLDERS[name]
            parts.append(f"{name} 1 {frames - 1} {label}\n")
            whole.append(f"{name} {frames} {label}\n")
        (folder / "frames" / f"{split}.txt").write_text("".join(parts), encoding="utf-8")
        (folder / "flow" / f"{split}.txt").write_text("".join(whole), encoding="utf-8")
