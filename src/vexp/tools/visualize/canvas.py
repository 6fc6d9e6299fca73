"""A picture laid out in pixels, from its upper left corner: frames are pasted, words are measured before they are set.

Every text is given the width that it has; what is longer is wrapped or cut, so that no label runs into another.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Point = tuple[float, float]

INK, GREY, FAINT, PALE = "#1b1f24", "#6a737d", "#c9ced4", "#f3f4f6"
WARNING = "#b3261e"
#: Of clips, crops and draws: first those that the colour-blind tell apart too (Okabe & Ito 2008).
COLOURS = (
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9",
    "#7a5195", "#8c564b", "#7f7f7f", "#b5bd00", "#17becf", "#f95d6a",
)  # fmt: skip
_DPI = 100


def colour_of(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


def fitted(pixels: Picture, width: int, height: int) -> Picture:
    """uint8 (H, W, 3) in its own proportions at the largest size within ``width`` x ``height``.

    Small frames are enlarged by whole numbers, so that their pixels stay visible.
    """
    import cv2

    rows, columns = pixels.shape[:2]
    factor = min(width / columns, height / rows)
    if factor > 2:
        factor = int(factor)
    size = (max(1, round(columns * factor)), max(1, round(rows * factor)))
    way = cv2.INTER_AREA if factor < 1 else cv2.INTER_NEAREST if factor == int(factor) else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(np.ascontiguousarray(pixels), size, interpolation=way), np.uint8)


class Canvas:
    """``width`` pixels wide, as high as what is put on it."""

    def __init__(self, width: int) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure  # not pyplot: no global state, no display

        self.width = width
        self.bottom = 0.0  # of what is lowest so far
        self._figure = Figure(figsize=(width / _DPI, 1), dpi=_DPI)
        canvas = FigureCanvasAgg(self._figure)
        self._measure: Any = canvas.get_renderer()  # type: ignore[no-untyped-call]
        self._axes: Any = self._figure.add_axes((0, 0, 1, 1))
        self._axes.set_axis_off()
        self._pasted: list[tuple[int, int, Picture]] = []
        self._words: list[tuple[Point, tuple[float, float]]] = []

    def picture(self, x: float, y: float, pixels: Picture, *, colour: str | None = None) -> None:
        """Paste uint8 (H, W, 3) RGB as it is; ``colour``: with a frame around it."""
        height, width = pixels.shape[:2]
        self._pasted.append((round(x), round(y), pixels))
        self._reach(y + height)
        if colour is not None:
            self.box(round(x) - 1.5, round(y) - 1.5, width + 3, height + 3, colour=colour, line=2.5)

    def text(
        self, x: float, y: float, words: str, *, width: float, size: float = 9, colour: str = INK, bold: bool = False,
        align: str = "left", keep_end: bool = False,
    ) -> float:  # fmt: skip
        """One line whose top is at ``y``, cut with "…" where it is longer than ``width``; how wide it came out.

        ``keep_end``: what is cut is the beginning, as of a path.
        """
        words = self._cut(words[::-1], width, size, bold)[::-1] if keep_end else self._cut(words, width, size, bold)
        length = self._length(words, size, bold)
        x += {"left": 0.0, "center": (width - length) / 2, "right": width - length}[align]
        self._set(x, y, words, size, colour, bold)
        return length

    def paragraph(
        self, x: float, y: float, words: str, *, width: float, size: float = 9, colour: str = INK, bold: bool = False
    ) -> float:
        """Lines of words; the height that they took."""
        top = y
        for line in words.split("\n"):
            rest = line.split(" ")
            while rest:
                count = 1
                while count < len(rest) and self._length(" ".join(rest[: count + 1]), size, bold) <= width:
                    count += 1
                self._set(x, y, self._cut(" ".join(rest[:count]), width, size, bold), size, colour, bold)
                rest, y = rest[count:], y + self.line(size)
        return y - top

    @staticmethod
    def line(size: float) -> float:
        """Height of a line of text in pixels."""
        return size * _DPI / 72 * 1.25

    def box(
        self, x: float, y: float, width: float, height: float, *, colour: str, fill: bool = False, line: float = 1,
        dashed: bool = False,
    ) -> None:  # fmt: skip
        from matplotlib.patches import Rectangle

        style = {"facecolor": colour, "edgecolor": "none"} if fill else {"fill": False, "edgecolor": colour}
        patch = Rectangle(
            (x, y), width, height, linewidth=line * 72 / _DPI, linestyle="--" if dashed else "-", **style
        )  # fmt: skip
        self._axes.add_patch(patch)
        self._reach(y + height)

    def rule(self, start: Point, end: Point, *, colour: str = FAINT, line: float = 1) -> None:
        """A straight line."""
        self._axes.plot(*zip(start, end, strict=True), color=colour, linewidth=line * 72 / _DPI, solid_capstyle="butt")
        self._reach(max(start[1], end[1]))

    def ticks(self, xs: Sequence[float], y: float, height: float, *, colour: str) -> None:
        """Upright marks, all of one height."""
        self._axes.vlines(xs, y, y + height, color=colour, linewidth=1.6 * 72 / _DPI)
        self._reach(y + height)

    def save(self, path: Path) -> None:
        """Write the picture (.png)."""
        height = round(self.bottom) + 16
        canvas = np.full((height, self.width, 3), 255, np.uint8)
        for x, y, pixels in self._pasted:
            part = canvas[y : y + pixels.shape[0], x : x + pixels.shape[1]]
            part[...] = pixels[: part.shape[0], : part.shape[1]]
        self._figure.set_size_inches(self.width / _DPI, height / _DPI)
        self._axes.set(xlim=(0, self.width), ylim=(height, 0))
        self._axes.imshow(canvas, extent=(0, self.width, height, 0), interpolation="nearest", aspect="auto", zorder=-1)
        self._figure.savefig(path, dpi=_DPI, pil_kwargs={"optimize": True})

    def overlaps(self) -> list[tuple[str, str]]:
        """Texts that lie on each other or leave the sheet: what a drawing must never have."""
        found = []
        boxes = [(words, *place) for words, place in self._placed()]
        for number, (words, left, top, right, bottom) in enumerate(boxes):
            if left < -1 or right > self.width + 1:
                found.append((words, "the edge"))
            for other, left2, top2, right2, bottom2 in boxes[:number]:
                if min(right, right2) - max(left, left2) > 1 and min(bottom, bottom2) - max(top, top2) > 1:
                    found.append((other, words))
        return found

    def _placed(self) -> list[tuple[str, tuple[float, float, float, float]]]:
        return [
            (artist.get_text(), (x, y, x + width, y + height))
            for artist, ((x, y), (width, height)) in zip(self._axes.texts, self._words, strict=True)
        ]

    def _set(self, x: float, y: float, words: str, size: float, colour: str, bold: bool) -> None:
        if not words:
            return
        ascent = size * _DPI / 72
        self._axes.text(
            x, y + ascent, words, fontsize=size, color=colour, weight="bold" if bold else "normal", va="baseline",
            parse_math=False,
        )  # fmt: skip
        self._words.append(((x, y), (self._length(words, size, bold), ascent)))
        self._reach(y + self.line(size))

    def _length(self, words: str, size: float, bold: bool) -> float:
        from matplotlib.font_manager import FontProperties

        font = FontProperties(size=size, weight="bold" if bold else "normal")
        width: float = self._measure.get_text_width_height_descent(words, font, False)[0]
        return width

    def _cut(self, words: str, width: float, size: float, bold: bool) -> str:
        if self._length(words, size, bold) <= width:
            return words
        low, high = 0, len(words)
        while low < high:  # the longest beginning that fits
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self._length(words[:middle] + "…", size, bold) <= width else (low, middle - 1)
        return words[:low].rstrip() + "…"

    def _reach(self, y: float) -> None:
        self.bottom = max(self.bottom, y)
