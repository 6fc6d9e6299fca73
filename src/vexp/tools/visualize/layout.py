"""Elements that several sheets share: the header, and crops drawn on the frame that they were cut from."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from vexp.data.transforms.view import View
from vexp.tools.visualize import styles
from vexp.tools.visualize.canvas import Canvas, RGBImage, fit_image
from vexp.tools.visualize.rgb_images import flow_wheel

MARGIN = 24  # pixels, left and right
_WHEEL = 50  # pixels, the legend of flow colors


def draw_header(canvas: Canvas, title: str, subtitle: str, warnings: Sequence[str], *, is_flow: bool = False) -> float:
    """Draw title, subtitle, warnings and the legend of flow colors; return the y position below them."""
    width = canvas.width - 2 * MARGIN - _WHEEL - 20
    canvas.text(MARGIN, MARGIN - 8, title, width, styles.TITLE)
    canvas.text(MARGIN, MARGIN + 20, subtitle, width, styles.NOTE)
    if is_flow:
        canvas.image(canvas.width - MARGIN - _WHEEL, 12, flow_wheel(_WHEEL))
    y = MARGIN + 44.0
    for warning in warnings:
        y += canvas.paragraph(MARGIN, y, f"warning: {warning}", width, styles.WARNING)
    return y + 10


def draw_ruler(canvas: Canvas, x: float, y: float, width: float, length: float, unit: str) -> None:
    """Draw an axis from 0 to ``length`` over ``width`` pixels; ``unit`` follows its numbers."""
    power = 10.0 ** math.floor(math.log10(length / 8)) if length > 0 else 1.0
    # The smallest 1, 2 or 5 times a power of ten that is not below an eighth of the length.
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= length / 8 * (1 - 1e-9))
    for index in range(int(length / step + 1e-9) + 1):
        tick = x + width * index * step / length
        canvas.line((tick, y + 11), (tick, y + 16), color=styles.FAINT)
        canvas.text(tick - 25, y - 4, f"{index * step:g}{unit}", 50, styles.CAPTION, align="center")


def draw_crops(
    canvas: Canvas, x: float, y: float, frame: RGBImage, crops: Sequence[View], size: tuple[int, int]
) -> float:
    """Draw a frame, within ``size`` (width, height), and the boxes of its crops; mirrored crops are dashed.

    Returns:
        The lower edge of the frame.
    """
    tile = fit_image(frame, *size)
    canvas.image(x, y, (tile * 0.72 + 255 * 0.28).astype(np.uint8))
    scale_y, scale_x = tile.shape[0] / frame.shape[0], tile.shape[1] / frame.shape[1]
    for index, crop in enumerate(crops):
        color, dashed = styles.indexed_color(index), crop.is_mirror_image
        if crop.warp is not None:
            corners = [(x + px * scale_x, y + py * scale_y) for px, py in crop.outline().tolist()]
            within = (x, y, tile.shape[1], tile.shape[0])
            canvas.polygon(corners, within, color=color, line=2, dashed=dashed)
            continue
        left, top, width, height = crop.box
        box = (x + left * scale_x + 1, y + top * scale_y + 1, width * scale_x - 2, height * scale_y - 2)
        canvas.box(*box, color=color, line=2, dashed=dashed)
    return y + int(tile.shape[0])
