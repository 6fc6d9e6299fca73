"""Elements that several sheets share: the header, and crops drawn on the frame that they were cut from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vexp.data.transforms.view import View
from vexp.tools.visualize.canvas import NOTE, RED, TITLE, Canvas, RGBImage, TextStyle, fit_image, indexed_color
from vexp.tools.visualize.colors import flow_wheel

MARGIN = 24  # pixels, left and right
_WHEEL = 50  # pixels, the legend of flow colors


def draw_header(canvas: Canvas, title: str, subtitle: str, warnings: Sequence[str], *, is_flow: bool = False) -> float:
    """Draw title, subtitle, warnings and the legend of flow colors; return the y position below them."""
    width = canvas.width - 2 * MARGIN - _WHEEL - 20
    canvas.text(MARGIN, MARGIN - 8, title, width, TITLE)
    canvas.text(MARGIN, MARGIN + 20, subtitle, width, NOTE)
    if is_flow:
        canvas.image(canvas.width - MARGIN - _WHEEL, 12, flow_wheel(_WHEEL))
    y = MARGIN + 44.0
    for warning in warnings:
        y += canvas.paragraph(MARGIN, y, f"warning: {warning}", width, TextStyle(14, RED, bold=True))
    return y + 10


def draw_crops(
    canvas: Canvas, position: tuple[float, float], frame: RGBImage, crops: Sequence[View], size: tuple[int, int]
) -> float:
    """Draw a frame, within ``size`` (width, height), and the boxes of its crops; mirrored crops are dashed.

    Returns:
        The lower edge of the frame.
    """
    x, y = position
    tile = fit_image(frame, *size)
    canvas.image(x, y, (tile * 0.72 + 255 * 0.28).astype(np.uint8))
    scale_y, scale_x = tile.shape[0] / frame.shape[0], tile.shape[1] / frame.shape[1]
    for index, crop in enumerate(crops):
        left, top, width, height = crop.box
        box = (x + left * scale_x + 1, y + top * scale_y + 1, width * scale_x - 2, height * scale_y - 2)
        canvas.box(*box, color=indexed_color(index), line=2, dashed=crop.mirrored)
    return y + int(tile.shape[0])
