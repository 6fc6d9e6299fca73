"""Check the layout of a canvas."""

from __future__ import annotations

from vexp.tools.visualize.canvas import Canvas


def overlapping_texts(canvas: Canvas) -> list[tuple[str, str]]:
    """Return the pairs of texts that overlap, and each text that leaves the canvas, paired with "the edge"."""
    overlaps = []
    for index, (text, (left, top, right, bottom)) in enumerate(canvas.texts):
        if left < -1 or right > canvas.width + 1:
            overlaps.append((text, "the edge"))
        for other, (left2, top2, right2, bottom2) in canvas.texts[:index]:
            if min(right, right2) - max(left, left2) > 1 and min(bottom, bottom2) - max(top, top2) > 1:
                overlaps.append((other, text))
    return overlaps
