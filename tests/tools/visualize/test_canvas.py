"""Layout of text and images on a canvas."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.overlaps import overlapping_texts

from vexp.tools.visualize.canvas import Canvas, fit_image
from vexp.tools.visualize.styles import TextStyle


@pytest.mark.parametrize(
    ("size", "bounds", "result"),
    [
        ((256, 340), (100, 100), (75, 100)),  # height x width, limited by the height
        ((340, 256), (100, 100), (100, 75)),
        ((10, 10), (64, 64), (60, 60)),  # an integer factor
        ((60, 60), (100, 100), (100, 100)),
    ],
)
def test_fit_image_size(size: tuple[int, int], bounds: tuple[int, int], result: tuple[int, int]) -> None:
    assert fit_image(np.zeros((*size, 3), np.uint8), *bounds).shape == (*result, 3)


def test_text_longer_than_width_is_truncated() -> None:
    canvas = Canvas(400)
    assert canvas.text(0, 0, "word " * 50, width=100) <= 100
    assert canvas.text(0, 20, "/a/b/c/name.mp4", width=90, keep_end=True) <= 90
    first, second = (text for text, _ in canvas.texts)
    assert first.endswith("…")
    assert second.startswith("…")
    assert second.endswith("name.mp4")
    assert canvas.paragraph(0, 40, "word " * 50, width=100) > 10 * TextStyle(12).line_height
    assert overlapping_texts(canvas) == []


def test_overlapping_texts_reports_overlap_and_edge() -> None:
    canvas = Canvas(200)
    canvas.text(10, 10, "one", width=100)
    canvas.text(20, 14, "two", width=100)
    canvas.text(190, 40, "outside", width=100)
    assert overlapping_texts(canvas) == [("one", "two"), ("outside", "the edge")]


def test_save_keeps_pixels_of_images(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    canvas = Canvas(120)
    canvas.image(40, 10, pixels)
    canvas.save(tmp_path / "canvas.png")
    with Image.open(tmp_path / "canvas.png") as file:
        image = np.asarray(file.convert("RGB"))
    assert image.shape == (20 + 10 + 16, 120, 3)
    assert np.array_equal(image[10:30, 40:70], pixels)
