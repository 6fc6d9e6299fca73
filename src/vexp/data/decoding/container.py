"""Opening a video file with PyAV: one container, its video stream, a decoder on one thread; and the wording of failure.

Importing this module imports PyAV, that is FFmpeg's libraries.
"""

from __future__ import annotations

import os
import stat
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
from av.stream import Disposition

from vexp.core.errors import UserError
from vexp.data.decoding.packet_index import demuxer_of, scan_packets
from vexp.data.decoding.video_info import VideoInfo

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

HINT_REENCODE = "Fetch or encode the file again, or take it out of the annotation."
HINT_MISSING = "Fetch it, say where the list's paths begin (data_prefix), or take it out of the annotation."

STRICT = {"err_detect": "crccheck+bitstream+buffer+careful+explode"}
"""FFmpeg's option of every decoder: look for what the standard does not allow, and give up the frame that has it."""

READ_ERRORS = (av.FFmpegError, OSError, ValueError)


def file_status(path: Path) -> os.stat_result:
    """Raises `UserError` for what is no file that could hold a video."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a named pipe would wait for ever
            raise ValueError("not a file" if not stat.S_ISDIR(status.st_mode) else "a folder, not a video file")
        if not status.st_size:
            raise ValueError("the file is empty")
    except READ_ERRORS as error:
        raise unreadable(path, error) from error
    return status


def open_stream(path: Path, strict: bool) -> tuple[InputContainer, VideoStream]:
    """The file and its video stream, ready for single-threaded decoding. Raises `UserError`."""
    try:
        container = _container(path)
    except READ_ERRORS as error:
        raise unreadable(path, error) from error
    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    # `tty` draws a text file as pictures; a stream that no decoder knows has no codec context.
    if not streams or streams[0].codec_context is None or container.format.name == "tty":
        container.close()
        raise unreadable(path, ValueError("it holds no video stream that PyAV can decode"))
    streams[0].thread_type = "NONE"
    streams[0].thread_count = 1
    if strict:
        streams[0].codec_context.options = STRICT
    return container, streams[0]


def describe(container: InputContainer, stream: VideoStream) -> VideoInfo:
    """Reads the packets of the whole file. Raises one of `READ_ERRORS`."""
    rate = stream.average_rate or stream.guessed_rate
    return VideoInfo(
        demuxer=demuxer_of(container),
        stream=stream.index,
        video_streams=[other.index for other in container.streams.video],
        time_base=stream.time_base or Fraction(0),
        start=stream.start_time or 0,
        fps=float(rate) if rate else None,
        index=scan_packets(container, stream),
    )


def _container(path: Path) -> InputContainer:
    name = f"file:{path}"  # without it a colon in the name would be read as a protocol
    try:
        return av.open(name)
    except UnicodeDecodeError:  # a title in another encoding than UTF-8
        return av.open(name, metadata_errors="replace")


def unreadable(path: Path, error: Exception) -> UserError:
    mending = HINT_MISSING if isinstance(error, FileNotFoundError) else HINT_REENCODE
    return UserError(f"{path}: cannot be read as a video: {reason_of(error)}. {mending}")


def reason_of(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
