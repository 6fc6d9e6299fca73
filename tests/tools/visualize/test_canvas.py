"""Laying out: words that have room, pictures of whole pixels, and the check that all the sheets rely on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vexp.tools.visualize.canvas import Canvas, fitted


@pytest.mark.parametrize(
    ("size", "room", "result"),
    [
        ((256, 340), (100, 100), (75, 100)),  # height x width, as wide as there is room
        ((340, 256), (100, 100), (100, 75)),
        ((10, 10), (64, 64), (60, 60)),  # six times: every pixel is a square
        ((60, 60), (100, 100), (100, 100)),
    ],
)
def test_fitted(size: tuple[int, int], room: tuple[int, int], result: tuple[int, int]) -> None:
    assert fitted(np.zeros((*size, 3), np.uint8), *room).shape == (*result, 3)


def test_what_is_longer_than_its_room_is_cut() -> None:
    sheet = Canvas(400)
    assert sheet.text(0, 0, "word " * 50, width=100) <= 100
    assert sheet.text(0, 20, "/a/b/c/name.mp4", width=90, keep_end=True) <= 90
    first, second = (words for words, _ in sheet._placed())
    assert first.endswith("…")
    assert second.startswith("…")
    assert second.endswith("name.mp4")
    assert sheet.paragraph(0, 40, "word " * 50, width=100) > 10 * sheet.line(9)
    assert sheet.overlaps() == []


def test_the_check_finds_what_lies_on_each_other_or_outside() -> None:
    sheet = Canvas(200)
    sheet.text(10, 10, "one", width=100)
    sheet.text(20, 14, "two", width=100)
    sheet.text(190, 40, "outside", width=100)
    assert sheet.overlaps() == [("one", "two"), ("outside", "the edge")]


def test_pixels_arrive_as_they_were_pasted(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    sheet = Canvas(120)
    sheet.picture(40, 10, pixels)
    sheet.save(tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as file:
        picture = np.asarray(file.convert("RGB"))
    assert picture.shape == (20 + 10 + 16, 120, 3)
    assert np.array_equal(picture[10:30, 40:70], pixels)
