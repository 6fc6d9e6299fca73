"""Curves of many runs: thinned for the page, and drawn over each other as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vexp.tools.compare.comparison import Comparison
from vexp.tools.compare.runs import Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Okabe and Ito's colours, told apart with any kind of colour vision; without their yellow, too pale on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6BB1")
COLOURS_ON_DARK = ("#4C9BE8", "#EC7D45", "#2FB98F", "#E094C0", "#EBB04A", "#8FD3F7", "#AD9AE0")


def thin(series: Series, most: int) -> Series:
    """At most ``most`` points: of each stretch the lowest and the highest, so that no spike is lost, and both ends."""
    n = len(series.steps)
    if n <= most:
        return series
    stretches = (most - 2) // 2
    width = -(-(n - 2) // stretches)
    padded = np.full(stretches * width, np.nan)
    padded[: n - 2] = series.values[1:-1]
    inner = padded.reshape(stretches, width)
    lowest = np.where(np.isfinite(inner), inner, np.inf).argmin(axis=1)
    highest = np.where(np.isfinite(inner), inner, -np.inf).argmax(axis=1)
    first = np.arange(stretches) * width + 1
    chosen = np.unique(np.concatenate([[0], first + lowest, first + highest, [n - 1]]).clip(max=n - 1))
    return Series(series.steps[chosen], series.values[chosen])


def names_of_curves(made: Comparison) -> list[str]:
    """The metric first, then the losses and the learning rate, then the rest."""
    there = list(dict.fromkeys(name for run in made.runs for name in run.series))
    first = [made.metric, "val/loss", "train/loss", "train/lr"]
    return [*(name for name in dict.fromkeys(first) if name in there), *(name for name in there if name not in first)]


def draw(path: Path, made: Comparison) -> None:
    """curves.png: the settings that lead in colour, a line a run, the others in grey behind them."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure  # not pyplot: no global state, no display

    names = names_of_curves(made)[:4]
    figure = Figure(figsize=(3 + 4 * len(names), 3.8), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    panels: list[Axes] = list(np.atleast_1d(figure.subplots(1, len(names))))
    for panel, name in zip(panels, names, strict=True):
        for place, setting in reversed(list(enumerate(made.settings))):
            coloured = place < len(COLOURS)
            for number, i in enumerate(setting.runs):
                series = made.runs[i].series.get(name)
                if series is None:
                    continue
                points = thin(series, 400)
                panel.plot(
                    points.steps, points.values, color=COLOURS[place] if coloured else "0.7",
                    lw=1.3 if coloured else 0.6, alpha=0.85 if coloured else 0.5,
                    zorder=3 if coloured else 1, marker="o" if len(points.steps) == 1 else None, ms=3,
                    label=made.name_of(setting) if coloured and number == 0 else "_",
                )  # fmt: skip
        panel.set(xlabel="optimizer step")
        panel.set_title(name, fontsize=10, parse_math=False)
        panel.grid(alpha=0.3)
    handles, labels = panels[0].get_legend_handles_labels()
    if labels:
        legend = figure.legend(handles[::-1], labels[::-1], loc="outside right upper", fontsize=8, frameon=False)
        for text in legend.get_texts():
            text.set_parse_math(False)
    figure.savefig(path, format="png")  # a temporary file's name does not tell
