"""Opening a video file with PyAV: its container, the video stream and a single-threaded decoder.

Importing this module imports PyAV with the FFmpeg libraries.
"""

from __future__ import annotations

import os
import stat
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
from av.stream import Disposition

from vexp.core.errors import UserError
from vexp.data.decoding.packet_index import scan_packets
from vexp.data.decoding.video_info import VideoInfo
from vexp.data.storage import StoredFile

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

HINT_REENCODE = "Download or encode the file again, or remove it from the annotation."
HINT_MATRIX = "Convert the file: ffmpeg -i INPUT -vf zscale=matrix=709,format=yuv420p -crf 18 OUTPUT.mp4"
HINT_MISSING = "Download the file, set data_prefix, or remove it from the annotation."

HINT_WEBP = """FFmpeg does not decode animated WebP; convert it without loss to an animated PNG: \
python -c "from PIL import Image; Image.open('INPUT.webp').save('OUTPUT.png', save_all=True)\""""

STRICT = {"err_detect": "crccheck+bitstream+buffer+careful+explode"}
"""Decoder options of FFmpeg that detect violations of the standard and discard the affected frames."""

_NO_PROBE = {"probesize": "32", "skip_frame": "all"}
"""Options of the container, and of the decoders while FFmpeg completes the metadata of a file."""

READ_ERRORS = (av.FFmpegError, OSError, ValueError)


def file_status(path: Path | StoredFile) -> os.stat_result:
    """Return the status of a file.

    Raises:
        UserError: If it is missing, empty or not a regular file.
    """
    try:
        status = path.stat() if isinstance(path, Path) else path.path.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a named pipe would block
            raise ValueError("not a file" if not stat.S_ISDIR(status.st_mode) else "a folder, not a video file")
        if not (status.st_size if isinstance(path, Path) else path.size):
            raise ValueError("the file is empty")
    except READ_ERRORS as error:
        raise unreadable(path, error) from error
    return status


def ffmpeg_url(path: Path | StoredFile) -> str:
    """Return the address of a file for FFmpeg, which would interpret a colon in its name as a protocol."""
    return path.ffmpeg_url if isinstance(path, StoredFile) else f"file:{path}"


def open_stream(path: Path | StoredFile, strict: bool, *, probe: bool = True) -> tuple[InputContainer, VideoStream]:
    """Open a file and its video stream for single-threaded decoding.

    Without ``probe``, no frame is decoded to complete the metadata.

    Raises:
        UserError: If it cannot be read as a video.
    """
    name = ffmpeg_url(path)
    options: dict[str, Any] = {} if probe else {"options": _NO_PROBE}
    try:
        try:
            container = av.open(name, **options)
        except UnicodeDecodeError:  # metadata that is not UTF-8; PyAV 19 replaces it without being asked
            container = av.open(name, metadata_errors="replace", **options)
    except READ_ERRORS as error:
        raise unreadable(path, error) from error
    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    # The demuxer tty renders text files; a stream without a decoder has no codec context.
    if not streams or streams[0].codec_context is None or container.format.name == "tty":
        container.close()
        raise unreadable(path, ValueError("no video stream that PyAV can decode"))
    streams[0].thread_type = "NONE"
    streams[0].thread_count = 1
    if strict:
        streams[0].codec_context.options = STRICT
    return container, streams[0]


def open_without_probe(path: Path | StoredFile) -> tuple[InputContainer, VideoStream] | None:
    """Open a file as ``open_stream`` does, without decoding a frame; None if its metadata may need one.

    FFmpeg decodes the first frames of H.264 to complete the metadata, which takes 2 ms at 340x256 and 10 ms at 720p, as
    much as four frames of a sample. In MP4 and MOV, what is used here is complete without it: the header has the times
    and how many frames the decoder delays.
    """
    try:
        container, stream = open_stream(path, strict=False, probe=False)
    except UserError:
        return None  # opening it again finds the reason; PyAV does not do this with MPEG program streams
    is_h264 = stream.codec_context.codec.canonical_name == "h264"
    if _demuxer(container) == "mov" and is_h264 and stream.average_rate:
        return container, stream
    container.close()
    return None


def describe(container: InputContainer, stream: VideoStream) -> VideoInfo:
    """Read all packets of a file and return its metadata.

    Raises:
        READ_ERRORS: If the file is damaged.
    """
    rate, demuxer = stream.average_rate or stream.guessed_rate, _demuxer(container)
    base = stream.time_base or Fraction(0)  # PyAV 19: an av.AVRational, which cannot be saved in an index
    return VideoInfo(
        demuxer=demuxer, stream=stream.index, video_streams=[other.index for other in container.streams.video],
        time_base=Fraction(base.numerator, base.denominator), start=stream.start_time or 0,
        fps=float(rate) if rate else None, index=scan_packets(container, stream, demuxer),
    )  # fmt: skip


def _demuxer(container: InputContainer) -> str:
    return container.format.name.split(",")[0]


def unreadable(path: object, error: Exception, hint: str = HINT_REENCODE) -> UserError:
    """Return the error for a file that cannot be read as a video."""
    hint = HINT_MISSING if isinstance(error, FileNotFoundError) else hint
    return UserError(f"{path}: cannot be read as a video: {reason_of(error)}. {hint}")


def reason_of(error: Exception) -> str:
    """Return the message of an error without its number and path."""
    return getattr(error, "strerror", None) or str(error)
