"""Colors and text styles of the sheets."""

from __future__ import annotations

from dataclasses import dataclass

INK, GREY, FAINT, PALE, RED = "#1b1f24", "#6a737d", "#c9ced4", "#f3f4f6", "#b3261e"
#: Colors of clips, crops and draws. Color-blind people can distinguish the first six (Okabe & Ito 2008).
_COLORS = [
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9",
    "#7a5195", "#8c564b", "#7f7f7f", "#b5bd00", "#17becf", "#f95d6a",
]  # fmt: skip


def indexed_color(index: int) -> str:
    """Return the color of the clip, crop or draw with this index."""
    return _COLORS[index % len(_COLORS)]


@dataclass(frozen=True, slots=True)
class TextStyle:
    """Font size in pixels, color and weight of a text."""

    size: float
    color: str = INK
    bold: bool = False

    @property
    def line_height(self) -> float:
        return self.size * 1.25


TITLE, HEADING, NAME = TextStyle(21, bold=True), TextStyle(18, bold=True), TextStyle(14, bold=True)
BODY, NOTE, SMALL, CAPTION = TextStyle(14), TextStyle(13, GREY), TextStyle(12, GREY), TextStyle(10.5, GREY)
ON_COLOR = TextStyle(11, "white", bold=True)
DESCRIPTION, WARNING = TextStyle(12), TextStyle(14, RED, bold=True)
