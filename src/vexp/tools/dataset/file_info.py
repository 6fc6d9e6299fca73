"""Properties of a video file or a folder of raw frames: counts, sizes, checksum and faults."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vexp.core.checksum import sha256
from vexp.core.errors import UserError
from vexp.data.annotations.packed import digest
from vexp.data.storage import StoredFile, identity, open_file

if TYPE_CHECKING:
    from vexp.data.decoding.pyav import VideoReader

MISSING, UNREADABLE, DAMAGED = "missing", "unreadable", "damaged"


@dataclass(slots=True, kw_only=True)
class FileInfo:
    """Properties of one file, a row of the index; unknown properties are None."""

    path: str
    frames: int | None = None  # exact
    fps: float | None = None  # average of the container
    duration: float | None = None  # seconds, from the start of the first frame to the end of the last
    width: int | None = None  # pixels, after rotation
    height: int | None = None
    keyframes: int | None = None
    longest_gop: int | None = None  # most frames between key frames, which limits the speed of random access
    codec: str = ""
    container: str = ""
    bytes: int = 0
    modified_ns: int = 0
    sha256: str = ""
    fault: str = ""  # "", "missing", "unreadable", or, after decoding every frame, "damaged"
    error: str = ""  # message

    @property
    def identity(self) -> tuple[str, int, int]:
        """Path, size and time: a file is inspected again when they change."""
        return self.path, self.bytes, self.modified_ns


@dataclass(frozen=True, slots=True)
class FolderOfFrames:
    """File names in a folder of raw frames, as in ``data=raw_frames``."""

    filename_tmpl: str = "img_{:05}.jpg"
    start_index: int = 1
    flow: bool = False


@dataclass(frozen=True, slots=True)
class Inspect:
    """Job that inspects one file. Faults of the file are part of the result and not raised."""

    root: Path | str  # folder that names are relative to; text of an archive or a server
    decode: bool = False  # decode every frame, with the error detection of the codec
    frames: FolderOfFrames = FolderOfFrames()

    def __call__(self, name: str) -> FileInfo:
        info = FileInfo(path=name)
        try:
            info = identify(self.root, name)
            if info.fault:
                return info
            path = open_file(f"{self.root}/{name}") if isinstance(self.root, str) else self.root / name
            if isinstance(path, Path) and path.is_dir():
                _describe_folder(info, path, self.frames, self.decode)
            else:
                _describe_video(info, path, self.decode)
        except (UserError, OSError) as error:
            info.fault, info.error = info.fault or UNREADABLE, " ".join(str(error).split())
        return info


def identify(root: Path | str, name: str) -> FileInfo:
    """Return total size and latest time of a file or of the files of a folder, or the fault that it is missing.

    For a file of an archive or a server, the time is a number that changes with the content.

    Raises:
        UserError: If a server does not answer, or refuses.
    """
    if isinstance(root, str):
        found = identity(f"{root}/{name}")
        if found is None:
            return FileInfo(path=name, fault=MISSING, error=f"{root}/{name}: no such file")
        return FileInfo(path=name, bytes=found[0], modified_ns=digest(str(found[1]).encode()) >> 1)
    path = root / name
    try:
        files = [Path(entry) for entry in os.scandir(path)] if path.is_dir() else [path]
        statuses = [file.stat() for file in files]
    except OSError as error:
        return FileInfo(path=name, fault=MISSING, error=f"{path}: {error.strerror}")
    newest = max((status.st_mtime_ns for status in statuses), default=0)
    return FileInfo(path=name, bytes=sum(status.st_size for status in statuses), modified_ns=newest)


def _describe_video(info: FileInfo, path: Path | StoredFile, decode: bool) -> None:
    from vexp.data.decoding.pyav import VideoReader

    info.sha256 = hashlib.sha256(path.read()).hexdigest() if isinstance(path, StoredFile) else sha256(path)
    with VideoReader(path) as reader:
        info.frames = reader.num_frames
        info.fps = round(reader.fps, 6) if reader.fps else None
        info.width, info.height = reader.width, reader.height
        info.container, info.codec = reader.file.demuxer, reader.codec
        if (times := reader.times) is not None:
            last = float(np.median(np.diff(times))) if len(times) > 1 else 1 / reader.fps if reader.fps else 0.0
            info.duration = round(float(times[-1]) + last, 6)
        key_frames = _key_frames(reader, path)
        info.keyframes = len(key_frames)
        info.longest_gop = int(np.diff([*key_frames, info.frames]).max()) if len(key_frames) else None
    if decode:
        info.fault = DAMAGED  # until all frames have been decoded
        with VideoReader(path, strict=True) as reader:
            for _ in reader.iter_valid_frames():
                pass
            if reader.decode_error:
                raise UserError(f"{path}: a part of the stream cannot be decoded: {reader.decode_error}")
        info.fault = ""


def _key_frames(reader: VideoReader, path: Path | StoredFile) -> list[int]:
    """Return the indices of the key frames; without a packet index, those of the packets flagged as key frames."""
    from vexp.data.decoding.container import open_stream

    index = reader.file.index
    if index is not None:
        return [int(number) for number in np.searchsorted(index.pts, index.keys)]
    container, stream = open_stream(path, strict=False)
    with container:
        flags = [packet.is_keyframe for packet in container.demux(stream) if packet.size]
    return [number for number, is_key in enumerate(flags) if is_key]


def _describe_folder(info: FileInfo, path: Path, naming: FolderOfFrames, decode: bool) -> None:
    from vexp.data.decoding.frame_folder import FLOW_AXES, RawFrameReader

    reader = RawFrameReader(path, naming.filename_tmpl, first=naming.start_index, flow=naming.flow)
    info.frames = reader.num_frames
    axes = [[axis] for axis in FLOW_AXES] if naming.flow else [[]]
    numbers = range(naming.start_index, naming.start_index + reader.num_frames)
    info.sha256 = sha256(*(path / naming.filename_tmpl.format(*axis, number) for number in numbers for axis in axes))
    info.width, info.height = reader.width, reader.height
    info.container, info.codec = "folder", Path(naming.filename_tmpl).suffix.lstrip(".")
    if decode:
        info.fault = DAMAGED
        for number in range(reader.num_frames):
            height, width = reader.frames([number]).shape[1:3]
            if (height, width) != (info.height, info.width):
                raise UserError(f"{path}: frame {number} is {width}x{height}, unlike the first")
        info.fault = ""
