"""An image of predictions: one row per video, with some of its frames beside the classes with the highest scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vexp.core.log import escape_controls

_MAX_CLASSES = 5  # classes in a row
_MAX_NAME_LENGTH = 34  # longer class names are truncated


@dataclass(frozen=True, slots=True)
class Row:
    """One video: the text above it, some frames, and the classes with the highest scores."""

    title: str
    frames: NDArray[np.uint8]  # (k, H, W, 3) RGB
    top: Sequence[tuple[str, float]]  # up to 5 (class, score), the highest score first


def draw_contact_sheet(path: Path, rows: Sequence[Row], *, title: str) -> None:
    """Draw the rows, at least one, below a title, and write the .png file."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure  # not pyplot: no global state, no display

    figure = Figure(figsize=(12, 0.5 + 1.55 * len(rows)), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(rows), 2, squeeze=False, width_ratios=[2.4, 1])
    figure.suptitle(escape_controls(title), fontsize=10, parse_math=False)
    for row, (left, right) in zip(rows, axes, strict=True):
        gap = ((0, 0), (0, max(1, row.frames.shape[2] // 40)), (0, 0))  # white, to the right of each frame
        left.imshow(np.concatenate([np.pad(frame, gap, constant_values=255) for frame in row.frames], axis=1))
        left.set_axis_off()
        left.set_title(escape_controls(row.title), loc="left", fontsize=9, parse_math=False)  # a $ is not math
        places = _MAX_CLASSES - 1 - np.arange(len(row.top))
        right.barh(places, [score for _, score in row.top], color=["#8ab6dc"] + ["#d6e4f0"] * (len(row.top) - 1))
        right.set_xlim(0, 1)
        right.set_ylim(-0.6, _MAX_CLASSES - 0.4)
        right.set_axis_off()
        for place, (name, score) in zip(places, row.top, strict=True):
            name = escape_controls(name)
            short = name if len(name) <= _MAX_NAME_LENGTH else name[: _MAX_NAME_LENGTH - 1] + "…"
            right.text(0.02, place, f"{score:.3f}  {short}", va="center", fontsize=9, parse_math=False)
    figure.savefig(path)
