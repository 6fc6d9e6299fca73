"""What several sheets have: their head, and crops drawn on the frame that they were cut from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vexp.data.transforms.view import View
from vexp.tools.visualize.canvas import GREY, WARNING, Canvas, Picture, colour_of, fitted
from vexp.tools.visualize.colors import flow_wheel

MARGIN = 24  # pixels, left and right
_WHEEL = 50  # pixels, the legend of flow


def header(sheet: Canvas, title: str, under: str, warnings: Sequence[str], *, is_flow: bool = False) -> float:
    """Title, a line under it, warnings, the legend of flow; where to go on."""
    width = sheet.width - 2 * MARGIN - _WHEEL - 20
    sheet.text(MARGIN, MARGIN - 8, title, width=width, size=15, bold=True)
    sheet.text(MARGIN, MARGIN + 20, under, width=width, size=10, colour=GREY)
    if is_flow:
        sheet.picture(sheet.width - MARGIN - _WHEEL, 12, flow_wheel(_WHEEL))
    y = MARGIN + 44.0
    for warning in warnings:
        y += sheet.paragraph(MARGIN, y, f"warning: {warning}", width=width, size=10, colour=WARNING, bold=True)
    return y + 10


def on_frame(
    sheet: Canvas, x: float, y: float, frame: Picture, crops: Sequence[View], width: int, height: int
) -> float:
    """A frame of the video with the boxes of crops on it; mirrored ones are dashed. The lower edge."""
    tile = fitted(frame, width, height)
    sheet.picture(x, y, (tile * 0.72 + 255 * 0.28).astype(np.uint8))
    factor_y, factor_x = tile.shape[0] / frame.shape[0], tile.shape[1] / frame.shape[1]
    for number, crop in enumerate(crops):
        left, top, wide, high = crop.box
        sheet.box(
            x + left * factor_x + 1, y + top * factor_y + 1, wide * factor_x - 2, high * factor_y - 2,
            colour=colour_of(number), line=2.5, dashed=crop.mirrored,
        )  # fmt: skip
    return y + int(tile.shape[0])
