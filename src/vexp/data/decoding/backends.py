"""Decoding backends for video files and folders of frames.

A video backend is a module with one subclass of ``third_party.ThirdPartyReader``, which ``open_video`` selects and
imports when the first file is opened. Decoders of single images are in ``vexp.data.decoding.images``.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from vexp.core.errors import ConfigError
from vexp.data.storage import StoredFile, is_stored, open_file

if TYPE_CHECKING:
    from vexp.data.decoding.pyav import VideoReader
    from vexp.data.decoding.third_party import ThirdPartyReader

VIDEO_BACKENDS = ("auto", "av", "decord", "torchcodec", "torchcodec_cuda", "opencv")
FRAME_BACKENDS = ("auto", "simplejpeg", "turbojpeg", "opencv", "pillow")

OWN_COLOR = ("auto", "av")
"""Video backends with vexp's own conversion to RGB, which also support strict error detection."""

PACKAGES = {  # backend -> (module, how to install it)
    "av": ("av", "pip install av"),
    "decord": ("decord", "pip install decord  (x86 only)"),
    "torchcodec": ("torchcodec", "pip install torchcodec  (and FFmpeg's libraries: apt-get install ffmpeg)"),
    "torchcodec_cuda": ("torchcodec", "pip install torchcodec  (a build with CUDA, and FFmpeg's libraries with NVDEC)"),
    "opencv": ("cv2", "pip install opencv-python-headless"),
    "simplejpeg": ("simplejpeg", "pip install simplejpeg"),
    "turbojpeg": ("turbojpeg", "pip install 'PyTurboJPEG<2'  (and its library: apt-get install libturbojpeg0)"),
    "pillow": ("PIL", "pip install pillow"),
}


def check_installed(backend: str) -> None:
    """Check that the package of a backend is installed, without importing it.

    Raises:
        ConfigError: If it is not installed.
    """
    if backend == "auto":
        return
    module, command = PACKAGES[backend]
    if find_spec(module) is None:
        raise ConfigError(f"{module} is not installed: {command}", key="data.decoding_backend", value=backend)


def open_video(
    path: str | Path | StoredFile, backend: str = "auto", *, strict: bool = False
) -> VideoReader | ThirdPartyReader:
    """Open a video file; use the reader as a context manager or close it.

    Args:
        path: Path of the file, which may be in an archive or on a server (``vexp.data.storage``).
        backend: One of ``VIDEO_BACKENDS``; "auto" is PyAV. All backends return the same frames or raise an error.
        strict: Whether to enable the codec's error detection (backends "auto" and "av").

    Raises:
        UserError: If the file is not a complete, readable video, or the backend does not support it.
        ConfigError: If the backend is unknown or not installed, or does not support ``strict``.
    """
    if backend not in VIDEO_BACKENDS:
        raise ConfigError(f"must be one of {', '.join(VIDEO_BACKENDS)}", key="data.decoding_backend", value=backend)
    check_installed(backend)
    path = _local(path)
    if backend in OWN_COLOR:
        from vexp.data.decoding.pyav import VideoReader

        return VideoReader(path, strict=strict)
    if strict:
        raise ConfigError(f"is not supported by {backend}; use decoding_backend=av", key="strict", value=True)
    name = f"{backend.title().replace('_', '')}Reader"
    reader: type[ThirdPartyReader] = getattr(import_module(f"vexp.data.decoding.{backend}"), name)
    return reader(path)


def _local(path: str | Path | StoredFile) -> str | Path | StoredFile:
    """Return a path whose bytes are on this machine."""
    if isinstance(path, StoredFile) or not is_stored(path):
        return path
    try:
        return open_file(str(path))
    except OSError as error:
        from vexp.data.decoding.container import unreadable

        raise unreadable(path, error) from None
