"""Still images from their bytes: the backends of raw frames.

All of them give the same pixels for a JPEG, because all of them are libjpeg-turbo inside (the versions tested are in
constraints.txt). A grey picture of a coloured JPEG is its luma; the orientation in its EXIF data is not applied. A file
that is cut off is an error in each.
"""

from __future__ import annotations

import functools
import io
import warnings
from collections.abc import Callable
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from vexp.core.errors import UserError
from vexp.data.decoding import check_installed

Decode = Callable[[bytes, bool], NDArray[np.uint8]]
"""(content of a file, grey) -> uint8 (H, W, 3) RGB, or (H, W) if grey. Raises an exception with the reason."""

JPEG_START, JPEG_SCAN, JPEG_END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"


@functools.cache
def image_decoder(backend: str) -> Decode:
    """The decoder of this name, made once in a process. "auto" is the fastest there is for JPEG, OpenCV for the rest.

    Raises:
        UserError: it is not installed, or its library is not there.
    """
    check_installed(backend)
    makers = {"auto": _auto, "simplejpeg": _simplejpeg, "turbojpeg": _turbojpeg, "opencv": _opencv, "pillow": _pillow}
    return makers[backend]()


def _auto() -> Decode:
    other = _opencv()
    jpeg = _simplejpeg() if find_spec("simplejpeg") is not None else other

    def decode(content: bytes, grey: bool) -> NDArray[np.uint8]:
        return (jpeg if content.startswith(JPEG_START) else other)(content, grey)

    return decode


def _simplejpeg() -> Decode:
    import simplejpeg

    def decode(content: bytes, grey: bool) -> NDArray[np.uint8]:
        _check_is_jpeg(content)
        picture: NDArray[np.uint8] = simplejpeg.decode_jpeg(content, "GRAY" if grey else "RGB")
        return picture[..., 0] if grey else picture

    return decode


def _turbojpeg() -> Decode:
    try:
        import turbojpeg

        decoder = turbojpeg.TurboJPEG()
    except (RuntimeError, OSError) as error:
        if "3.0" in str(error):  # PyTurboJPEG 2 with the library of Debian 12 or Ubuntu 22.04
            cure = "this PyTurboJPEG needs libjpeg-turbo 3, the library here is older: pip install 'PyTurboJPEG<2'"
        else:
            cure = "PyTurboJPEG finds no libturbojpeg: apt-get install libturbojpeg0 (macOS: brew install jpeg-turbo)"
        raise UserError(f"data.decoding_backend=turbojpeg: {cure}; or set it to simplejpeg") from error
    colour, luma = turbojpeg.TJPF_RGB, turbojpeg.TJPF_GRAY

    def decode(content: bytes, grey: bool) -> NDArray[np.uint8]:
        _check_is_jpeg(content)
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # of a file that is cut off it only warns
            picture: NDArray[np.uint8] = decoder.decode(content, pixel_format=luma if grey else colour)
        return picture[..., 0] if grey else picture

    return decode


def _opencv() -> Decode:
    import cv2

    colour = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    luma = cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION

    def decode(content: bytes, grey: bool) -> NDArray[np.uint8]:
        if content.startswith(JPEG_START) and content.rfind(JPEG_END) < content.rfind(JPEG_SCAN):
            raise ValueError("it is cut off")  # OpenCV 4 would paint the missing part grey
        picture = cv2.imdecode(np.frombuffer(content, np.uint8), luma if grey else colour) if content else None
        if picture is None:
            raise ValueError("it is no image, or a damaged one")
        return np.asarray(picture if grey else cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)

    return decode


def _pillow() -> Decode:
    from PIL import Image

    def decode(content: bytes, grey: bool) -> NDArray[np.uint8]:
        mode = "L" if grey else "RGB"
        with Image.open(io.BytesIO(content)) as image:
            image.draft(mode, image.size)  # a JPEG's luma as it is stored, instead of computed from its colours
            return np.asarray(image.convert(mode))

    return decode


def _check_is_jpeg(content: bytes) -> None:
    if not content.startswith(JPEG_START):
        raise ValueError("it is no JPEG; set data.decoding_backend=opencv or pillow for other images")
