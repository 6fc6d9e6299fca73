"""Operations on pixels against Pillow, to the bit."""

import inspect

import cv2
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from vexp.data.transforms import pixel_operations

_NOISE = np.random.RandomState(0).randint(0, 256, (2, 30, 42, 3), np.uint8)
_SMOOTH = np.stack([cv2.GaussianBlur(frame, (0, 0), 4) // 2 + 30 for frame in _NOISE])
_ONE_COLOR = np.full((1, 5, 4, 3), (9, 9, 200), np.uint8)
FACTORS = [(factor,) for factor in (0.0, 0.1, 0.37, 0.63, 1.0, 1.37, 1.63, 1.9)]


def solarize_add(image, amount):
    levels = [min(255, level + amount) if level < 128 else level for level in range(256)]
    return image.point(levels * 3)


CASES = {
    "invert": (ImageOps.invert, [()]),
    "solarize": (ImageOps.solarize, [(threshold,) for threshold in (0, 77, 178.5, 256)]),
    "solarize_add": (solarize_add, [(0,), (77,), (110,)]),
    "posterize": (ImageOps.posterize, [(bits,) for bits in range(1, 9)]),
    "auto_contrast": (ImageOps.autocontrast, [()]),
    "equalize": (ImageOps.equalize, [()]),
    "brightness": (lambda image, factor: ImageEnhance.Brightness(image).enhance(factor), FACTORS),
    "contrast": (lambda image, factor: ImageEnhance.Contrast(image).enhance(factor), FACTORS),
    "color": (lambda image, factor: ImageEnhance.Color(image).enhance(factor), FACTORS),
    "sharpness": (lambda image, factor: ImageEnhance.Sharpness(image).enhance(factor), FACTORS),
}


@pytest.mark.parametrize("name", CASES)
def test_pixel_operation_equals_pillow_to_the_bit(name):
    of_pillow, arguments = CASES[name]
    for frames in (_NOISE, _SMOOTH, _ONE_COLOR):
        before = frames.copy()
        for values in arguments:
            ours = getattr(pixel_operations, name)(frames, *values)
            theirs = np.stack([np.asarray(of_pillow(Image.fromarray(frame), *values)) for frame in frames])
            np.testing.assert_array_equal(ours, theirs, err_msg=f"{name}{values}")
            assert ours.dtype == np.uint8
        np.testing.assert_array_equal(frames, before)


def test_pixel_operations_have_a_pillow_test_each():
    functions = [value for value in vars(pixel_operations).values() if inspect.isfunction(value)]
    assert set(CASES) == {function.__name__ for function in functions if not function.__name__.startswith("_")}


def test_posterize_to_no_bits_is_black():
    assert not pixel_operations.posterize(_NOISE, 0).any()  # Pillow < 13; later ones raise an error
