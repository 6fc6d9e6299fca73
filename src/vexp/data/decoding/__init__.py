"""The readers of samples that a data option can choose between: of video files and of folders of frames.

A video backend is a module here with one class; ``open_video`` picks it. Nothing of a backend is imported before the
worker that decodes opens its first file.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from vexp.core.errors import UserError

if TYPE_CHECKING:
    from vexp.data.decoding.pyav import VideoReader
    from vexp.data.decoding.third_party import ThirdPartyReader

VIDEO_BACKENDS = ("auto", "av", "decord", "torchcodec", "opencv")
FRAME_BACKENDS = ("auto", "simplejpeg", "turbojpeg", "opencv", "pillow")

OWN_COLOR = ("auto", "av")
"""Video backends whose frames vexp converts to RGB itself: the others hand over what their own FFmpeg made of them.
They are also the ones in which the codec's error detection can be turned on."""

PACKAGES = {  # backend: (module, how it is installed)
    "av": ("av", "pip install av"),
    "decord": ("decord", "pip install decord  (x86 only)"),
    "torchcodec": ("torchcodec", "pip install torchcodec  (and FFmpeg's libraries: apt-get install ffmpeg)"),
    "opencv": ("cv2", "pip install opencv-python-headless"),
    "simplejpeg": ("simplejpeg", "pip install simplejpeg"),
    "turbojpeg": ("turbojpeg", "pip install 'PyTurboJPEG<2'  (and its library: apt-get install libturbojpeg0)"),
    "pillow": ("PIL", "pip install pillow"),
}


def check_installed(backend: str) -> None:
    """Look whether the package of a backend is there, without importing it.

    Raises:
        UserError: it is not; names the command that installs it.
    """
    if backend == "auto":
        return
    module, command = PACKAGES[backend]
    if find_spec(module) is None:
        raise UserError(f"data.decoding_backend={backend}: {module} is not installed: {command}")


def open_video(path: str | Path, backend: str = "auto", *, strict: bool = False) -> VideoReader | ThirdPartyReader:
    """A reader of a video file; close it after the sample.

    Args:
        path: of the file.
        backend: one of ``VIDEO_BACKENDS``; "auto" is PyAV. All give the same frames, or an error.
        strict: turn the codec's own error detection on ("auto", "av").

    Raises:
        UserError: the file is no whole, readable video; the backend cannot read it right; it is not installed.
    """
    if backend not in VIDEO_BACKENDS:
        raise ValueError(f"decoding_backend={backend}: must be one of {', '.join(VIDEO_BACKENDS)}")
    check_installed(backend)
    if backend in OWN_COLOR:
        from vexp.data.decoding.pyav import VideoReader

        return VideoReader(path, strict=strict)
    if strict:
        raise ValueError(f"strict=true: {backend} cannot turn error detection on; use decoding_backend=av")
    if backend == "decord":
        from vexp.data.decoding.decord import DecordReader as Reader
    elif backend == "torchcodec":
        from vexp.data.decoding.torchcodec import TorchcodecReader as Reader  # type: ignore[assignment]
    else:
        from vexp.data.decoding.opencv import OpencvReader as Reader  # type: ignore[assignment]
    return Reader(path)
