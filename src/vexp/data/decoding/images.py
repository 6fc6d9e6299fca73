"""Image decoders: the backends for raw frames.

All of them return the same pixels for a JPEG, since all use libjpeg-turbo (constraints.txt has the tested versions).
The grayscale image of a color JPEG is its luma. EXIF orientation is not applied. A truncated file is an error in all
backends.
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
    if backend == "auto":
        jpeg, other = image_decoder("simplejpeg" if find_spec("simplejpeg") else "opencv"), image_decoder("opencv")
        return lambda content, grayscale: (jpeg if content.startswith(JPEG_START) else other)(content, grayscale)
    decoders = {"simplejpeg": _simplejpeg, "turbojpeg": _turbojpeg, "opencv": _opencv, "pillow": _pillow}
    return decoders[backend]()


def _simplejpeg() -> Decode:
    import simplejpeg

    return _jpeg_only(lambda content, grayscale: simplejpeg.decode_jpeg(content, "GRAY" if grayscale else "RGB"))


def _turbojpeg() -> Decode:
    try:
        import turbojpeg

        decoder = turbojpeg.TurboJPEG()
    except (RuntimeError, OSError) as error:
        if "3.0" in str(error):  # PyTurboJPEG 2 with the library of Debian 12 or Ubuntu 22.04
            fix = "this PyTurboJPEG needs libjpeg-turbo 3, an older one is installed: pip install 'PyTurboJPEG<2'"
        else:
            fix = "libturbojpeg is not installed: apt-get install libturbojpeg0 (macOS: brew install jpeg-turbo)"
        raise UserError(f"data.decoding_backend=turbojpeg: {fix}; or set it to simplejpeg") from error

    def decode(content: bytes, grayscale: bool) -> NDArray[np.uint8]:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # it only warns about truncated files
            pixels = turbojpeg.TJPF_GRAY if grayscale else turbojpeg.TJPF_RGB
            return np.asarray(decoder.decode(content, pixel_format=pixels), np.uint8)

    return _jpeg_only(decode)


def _jpeg_only(decode: Decode) -> Decode:
    """Check the start of the content; drop the channel axis that the decoder returns for grayscale."""

    def checked(content: bytes, grayscale: bool) -> NDArray[np.uint8]:
        if not content.startswith(JPEG_START):
            raise ValueError("it is not a JPEG file; set data.decoding_backend=opencv or pillow for other images")
        image = decode(content, grayscale)
        return image[..., 0] if grayscale else image

    return checked


def _opencv() -> Decode:
    import cv2

    def decode(content: bytes, grayscale: bool) -> NDArray[np.uint8]:
        if content.startswith(JPEG_START) and content.rfind(JPEG_END) < content.rfind(JPEG_SCAN):
            raise ValueError("the file is truncated")  # OpenCV 4 fills the missing part with gray
        mode = (cv2.IMREAD_GRAYSCALE if grayscale else cv2.IMREAD_COLOR) | cv2.IMREAD_IGNORE_ORIENTATION
        image = cv2.imdecode(np.frombuffer(content, np.uint8), mode) if content else None
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
