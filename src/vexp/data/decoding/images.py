"""Image decoders: the backends for raw frames.

All of them return the same pixels for a JPEG, since all use libjpeg-turbo (constraints.txt has the tested versions). The
grayscale image of a color JPEG is its luma. EXIF orientation is not applied. A truncated file is an error in all backends.
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
from vexp.data.decoding.backends import check_installed

Decode = Callable[[bytes, bool], NDArray[np.uint8]]
"""(content of a file, grayscale) -> uint8 (H, W, 3) RGB, or (H, W) for grayscale. Raises any exception on failure."""

JPEG_START, JPEG_SCAN, JPEG_END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"


@functools.cache
def image_decoder(backend: str) -> Decode:
    """Return the decoder of a backend, cached per process. "auto" is the fastest one for JPEG and OpenCV otherwise.

    Raises:
        UserError: If the package or its library is not installed.
    """
    check_installed(backend)
    makers = {"auto": _auto, "simplejpeg": _simplejpeg, "turbojpeg": _turbojpeg, "opencv": _opencv, "pillow": _pillow}
    return makers[backend]()


def _auto() -> Decode:
    other = _opencv()
    jpeg = _simplejpeg() if find_spec("simplejpeg") is not None else other

    def decode(content: bytes, grayscale: bool) -> NDArray[np.uint8]:
        return (jpeg if content.startswith(JPEG_START) else other)(content, grayscale)

    return decode


def _simplejpeg() -> Decode:
    import simplejpeg

    def decode(content: bytes, grayscale: bool) -> NDArray[np.uint8]:
        _check_is_jpeg(content)
        image: NDArray[np.uint8] = simplejpeg.decode_jpeg(content, "GRAY" if grayscale else "RGB")
        return image[..., 0] if grayscale else image

    return decode


def _turbojpeg() -> Decode:
    try:
        import turbojpeg

        decoder = turbojpeg.TurboJPEG()
    except (RuntimeError, OSError) as error:
        if "3.0" in str(error):  # PyTurboJPEG 2 with the library of Debian 12 or Ubuntu 22.04
            fix = "this version of PyTurboJPEG needs libjpeg-turbo 3, an older one is installed: pip install 'PyTurboJPEG<2'"
        else:
            fix = "libturbojpeg is not installed: apt-get install libturbojpeg0 (macOS: brew install jpeg-turbo)"
        raise UserError(f"data.decoding_backend=turbojpeg: {fix}; or set it to simplejpeg") from error
    color, luma = turbojpeg.TJPF_RGB, turbojpeg.TJPF_GRAY

    def decode(content: bytes, grayscale: bool) -> NDArray[np.uint8]:
        _check_is_jpeg(content)
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # it only warns about truncated files
            image: NDArray[np.uint8] = decoder.decode(content, pixel_format=luma if grayscale else color)
        return image[..., 0] if grayscale else image

    return decode


def _opencv() -> Decode:
    import cv2

    color = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    luma = cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION

    def decode(content: bytes, grayscale: bool) -> NDArray[np.uint8]:
        if content.startswith(JPEG_START) and content.rfind(JPEG_END) < content.rfind(JPEG_SCAN):
            raise ValueError("the file is truncated")  # OpenCV 4 fills the missing part with gray
        image = cv2.imdecode(np.frombuffer(content, np.uint8), luma if grayscale else color) if content else None
        if image is None:
            raise ValueError("it is not an image, or it is damaged")
        return np.asarray(image if grayscale else cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)

    return decode


def _pillow() -> Decode:
    from PIL import Image

    def decode(content: bytes, grayscale: bool) -> NDArray[np.uint8]:
        mode = "L" if grayscale else "RGB"
        with Image.open(io.BytesIO(content)) as image:
            image.draft(mode, image.size)  # decode the stored luma instead of computing it from RGB
            return np.asarray(image.convert(mode))

    return decode


def _check_is_jpeg(content: bytes) -> None:
    if not content.startswith(JPEG_START):
        raise ValueError("it is not a JPEG file; set data.decoding_backend=opencv or pillow for other images")
