"""Facts of one video file, or of one folder of raw frames: counts, sizes, a checksum, and what is wrong with it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vexp.core.checksum import sha256
from vexp.core.errors import UserError

if TYPE_CHECKING:
    from vexp.data.decoding.pyav import VideoReader


MISSING, UNREADABLE, DAMAGED = "missing", "unreadable", "damaged"


@dataclass(slots=True, kw_only=True)
class FileInfo:
    """Of one file; what could not be found out is None. A row of the index, in this order.

    ``frames`` is exact. ``fps`` is the container's average. ``duration`` is from the first frame's start to the last
    one's end, in seconds. ``longest_gop``: most frames from key frame to key frame: what a random access may cost.
    """

    path: str
    frames: int | None = None
    fps: float | None = None
    duration: float | None = None  # seconds
    width: int | None = None  # pixels, as delivered, upright
    height: int | None = None
    keyframes: int | None = None
    longest_gop: int | None = None
    codec: str = ""
    container: str = ""
    bytes: int = 0
    modified_ns: int = 0
    sha256: str = ""
    fault: str = ""  # "", "missing", "unreadable", or "damaged": found by decoding every frame
    error: str = ""  # in words

    @property
    def identity(self) -> tuple[str, int, int]:
        """While it stays the same, the file is taken to be: what is known of it is not found out again."""
        return self.path, self.bytes, self.modified_ns


@dataclass(frozen=True, slots=True)
class FolderOfFrames:
    """How the files of a folder of raw frames are named; as in ``data=raw_frames``."""

    filename_tmpl: str = "img_{:05}.jpg"
    start_index: int = 1
    flow: bool = False


@dataclass(frozen=True, slots=True)
class Inspect:
    """The job of looking at one file. Bad files are facts too: only what is no fault of the file is raised.

    ``decode``: decode every frame, with the codec's own error detection on. ``frames``: how a folder of raw frames,
    where a name is that of a folder, names its files.
    """

    root: Path
    decode: bool = False
    frames: FolderOfFrames = FolderOfFrames()

    def __call__(self, name: str) -> FileInfo:
        facts = identify(self.root, name)
        if facts.fault:
            return facts
        try:
            if (self.root / name).is_dir():
                _describe_folder(facts, self.root / name, self.frames, self.decode)
            else:
                _describe_video(facts, self.root / name, self.decode)
        except (UserError, OSError) as error:
            if not facts.fault:
                facts.fault = UNREADABLE
            facts.error = " ".join(str(error).split())
        return facts


def identify(root: Path, name: str) -> FileInfo:
    """Size and time of the file, or of the files of a folder together; or that it is missing."""
    path = root / name
    try:
        files = [Path(entry) for entry in os.scandir(path)] if path.is_dir() else [path]
        found = [file.stat() for file in files]
    except OSError as error:
        return FileInfo(path=name, fault=MISSING, error=f"{path}: {error.strerror}")
    newest = max((status.st_mtime_ns for status in found), default=0)
    return FileInfo(path=name, bytes=sum(status.st_size for status in found), modified_ns=newest)


def _describe_video(facts: FileInfo, path: Path, decode: bool) -> None:
    from vexp.data.decoding.pyav import VideoReader

    facts.sha256 = sha256(path) if path.is_file() else ""
    with VideoReader(path) as reader:
        facts.frames = reader.num_frames
        facts.fps = round(reader.fps, 6) if reader.fps else None
        facts.width, facts.height = reader.width, reader.height
        facts.container, facts.codec = reader.file.demuxer, reader.codec
        facts.duration = _duration(reader.times, reader.fps)
        numbers = _key_numbers(reader, path)
        facts.keyframes = len(numbers)
        facts.longest_gop = int(np.diff([*numbers, facts.frames]).max()) if len(numbers) else None
    if decode:
        facts.fault = DAMAGED  # if it is left by an error
        with VideoReader(path, strict=True) as reader:
            for _ in reader.iter_valid_frames():
                pass
            if reader.decode_error:
                raise UserError(f"{path}: a part of the stream cannot be decoded: {reader.decode_error}")
        facts.fault = ""


def _duration(times: Any, fps: float | None) -> float | None:
    if times is None:
        return None
    last = float(np.median(np.diff(times))) if len(times) > 1 else 1 / fps if fps else 0.0
    return round(float(times[-1]) + last, 6)


def _key_numbers(reader: VideoReader, path: Path) -> list[int]:
    """Numbers of the key frames; in a file whose frames had to be counted, of the packets that claim to be."""
    from vexp.data.decoding.container import open_stream

    index = reader.file.index
    if index is not None:
        return [int(number) for number in np.searchsorted(index.pts, index.keys)]
    container, stream = open_stream(path, strict=False)
    try:
        flags = [packet.is_keyframe for packet in container.demux(stream) if packet.size]
    finally:
        container.close()
    return [number for number, is_key in enumerate(flags) if is_key]


def _describe_folder(facts: FileInfo, path: Path, named: FolderOfFrames, decode: bool) -> None:
    from vexp.data.decoding.frame_folder import FLOW_AXES, RawFrameReader

    reader = RawFrameReader(path, named.filename_tmpl, first=named.start_index, flow=named.flow)
    facts.frames = reader.num_frames
    axes = [[axis] for axis in FLOW_AXES] if named.flow else [[]]
    numbers = range(named.start_index, named.start_index + reader.num_frames)
    facts.sha256 = sha256(*(path / named.filename_tmpl.format(*axis, number) for number in numbers for axis in axes))
    facts.width, facts.height = reader.width, reader.height
    facts.container, facts.codec = "folder", Path(named.filename_tmpl).suffix.lstrip(".")
    if decode:
        facts.fault = DAMAGED
        for number in range(reader.num_frames):
            picture = reader.frames([number])
            if picture.shape[1:3] != (facts.height, facts.width):
                raise UserError(f"{path}: frame {number} is {picture.shape[2]}x{picture.shape[1]}, the first is not")
        facts.fault = ""
