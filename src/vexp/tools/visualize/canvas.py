"""An image that is laid out in pixels from its upper left corner: images, measured text, boxes and lines.

Every text has a maximum width. Longer text is wrapped or truncated, so that no label covers another.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from vexp.core.files import atomic_write
from vexp.tools.visualize.styles import FAINT, NOTE, TextStyle

RGBImage = NDArray[np.uint8]  # (H, W, 3)
Point = tuple[float, float]

_DASH, _DASH_GAP = 6, 4
_BOTTOM_MARGIN = 16


def fit_image(image: RGBImage, width: int, height: int) -> RGBImage:
    """Resize to the largest size within ``width`` x ``height``, keeping the aspect ratio.

    Small images are enlarged by whole factors, so that their pixels stay visible.
    """
    import cv2

    rows, columns = image.shape[:2]
    factor = min(width / columns, height / rows)
    if factor > 2:
        factor = int(factor)
    size = (max(1, round(columns * factor)), max(1, round(rows * factor)))
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_NEAREST if factor == int(factor) else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(np.ascontiguousarray(image), size, interpolation=method), np.uint8)


class Canvas:
    """An image with a fixed width in pixels and the height of its content.

    Attributes:
        bottom: Lower edge of the content.
        texts: Every text with its box (left, top, right, bottom).
    """

    def __init__(self, width: int) -> None:
        self.width = width
        self.bottom = 0.0
        self.texts: list[tuple[str, tuple[float, float, float, float]]] = []
        self._image = Image.new("RGB", (width, 1024), "white")
        self._draw = ImageDraw.Draw(self._image)

    def image(self, x: float, y: float, image: RGBImage, *, color: str | None = None) -> None:
        """Paste an image without resizing; with ``color``, draw a frame around it."""
        height, width = image.shape[:2]
        self._extend(y + height)
        self._image.paste(Image.fromarray(np.ascontiguousarray(image)), (round(x), round(y)))
        if color is not None:
            self.box(round(x) - 2, round(y) - 2, width + 4, height + 4, color=color, line=2)

    def text(
        self, x: float, y: float, text: str, width: float, style: TextStyle = NOTE, *, align: str = "left",
        keep_end: bool = False,
    ) -> float:  # fmt: skip
        """Draw one line, truncated to ``width`` (at its beginning with ``keep_end``), and return its width."""
        text = _truncate(text, width, style, keep_end=keep_end)
        length = _text_width(text, style)
        x += {"left": 0.0, "center": (width - length) / 2, "right": width - length}[align]
        self._write(x, y, text, style)
        return length

    def paragraph(self, x: float, y: float, text: str, width: float, style: TextStyle = NOTE) -> float:
        """Draw wrapped text and return its height."""
        top = y
        for line in text.split("\n"):
            words = line.split(" ")
            while words:
                count = 1
                while count < len(words) and _text_width(" ".join(words[: count + 1]), style) <= width:
                    count += 1
                self._write(x, y, _truncate(" ".join(words[:count]), width, style), style)
                words, y = words[count:], y + style.line_height
        return y - top

    def box(
        self, x: float, y: float, width: float, height: float, *, color: str, fill: bool = False, line: int = 1,
        dashed: bool = False,
    ) -> None:  # fmt: skip
        self._extend(y + height)
        right, bottom = max(x, x + width - 1), max(y, y + height - 1)
        if not dashed:
            self._draw.rectangle((x, y, right, bottom), fill=color if fill else None, outline=color, width=line)
            return
        for dash in np.arange(x, right, _DASH + _DASH_GAP).tolist():
            for edge in (y, bottom):
                self._draw.line((dash, edge, min(dash + _DASH, right), edge), color, line)
        for dash in np.arange(y, bottom, _DASH + _DASH_GAP).tolist():
            for edge in (x, right):
                self._draw.line((edge, dash, edge, min(dash + _DASH, bottom)), color, line)

    def polygon(
        self, corners: Sequence[Point], within: tuple[float, float, float, float], *, color: str, line: int = 1,
        dashed: bool = False,
    ) -> None:  # fmt: skip
        """Draw the part of a closed outline that lies within a box (x, y, width, height)."""
        import cv2

        left, top, width, height = (round(edge) for edge in within)
        self._extend(top + height)
        for start, end in zip(corners, [*corners[1:], corners[0]], strict=True):
            length = math.dist(start, end)
            dash, step = (_DASH, _DASH + _DASH_GAP) if dashed else (length, length + 1)
            for done in np.arange(0, length, step).tolist():
                shares = (done / length, min(done + dash, length) / length)
                points = [
                    tuple(round(a + (b - a) * share) for a, b in zip(start, end, strict=True)) for share in shares
                ]
                is_inside, first, last = cv2.clipLine((left, top, width, height), *points)
                if is_inside:
                    self._draw.line((*first, *last), color, line)

    def line(self, start: Point, end: Point, *, color: str = FAINT) -> None:
        self._extend(max(start[1], end[1]))
        self._draw.line((*start, *end), color)

    def ticks(self, xs: Sequence[float], y: float, height: float, *, color: str) -> None:
        """Draw vertical marks of equal height."""
        self._extend(y + height)
        for x in xs:
            self._draw.line((x, y, x, y + height), color, 2)

    def save(self, path: Path) -> None:
        """Write the image as PNG."""
        with atomic_write(path) as temporary:
            size = (0, 0, self.width, round(self.bottom) + _BOTTOM_MARGIN)
            self._image.crop(size).save(temporary, format="PNG", optimize=True)

    def _write(self, x: float, y: float, text: str, style: TextStyle) -> None:
        if not text:
            return
        self._extend(y + style.line_height)
        self._draw.text((x, y + style.size), text, fill=style.color, font=_font(style), anchor="ls")
        self.texts.append((text, (x, y, x + _text_width(text, style), y + style.size)))

    def _extend(self, y: float) -> None:
        """Enlarge the image so that it reaches at least to ``y``."""
        self.bottom = max(self.bottom, y)
        if y + _BOTTOM_MARGIN > self._image.height:
            image = Image.new("RGB", (self.width, 2 * math.ceil(y)), "white")
            image.paste(self._image)
            self._image, self._draw = image, ImageDraw.Draw(image)


@functools.cache
def _font(style: TextStyle) -> ImageFont.FreeTypeFont:
    import matplotlib  # for its font

    name = "DejaVuSans-Bold.ttf" if style.bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", name)), style.size)


def _text_width(text: str, style: TextStyle) -> float:
    return _font(style).getlength(text)


def _truncate(text: str, width: float, style: TextStyle, *, keep_end: bool = False) -> str:
    if _text_width(text, style) <= width:
        return text
    while text and _text_width(text + "…", style) > width:
        text = text[1:] if keep_end else text[:-1]
    return f"…{text.lstrip()}" if keep_end else f"{text.rstrip()}…"
