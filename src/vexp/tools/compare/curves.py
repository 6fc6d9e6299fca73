"""Curves of many runs: thinned for the page, and plotted together as an image."""

from __future__ import annotations

import math
import textwrap
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vexp.core.log import escape_controls, plural
from vexp.tools.compare.comparison import Comparison
from vexp.tools.compare.metrics_file import Series

#: Colors of Okabe and Ito, which color-blind people can distinguish, without yellow, which is too pale on white.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6BB1")
COLORS_ON_DARK = ("#4C9BE8", "#EC7D45", "#2FB98F", "#E094C0", "#EBB04A", "#8FD3F7", "#AD9AE0")
OTHERS: dict[str, Any] = {"color": "0.7", "lw": 0.6, "alpha": 0.5, "zorder": 1}


def thin(series: Series, limit: int) -> Series:
    """Reduce to at most ``limit`` points: both ends, and minimum and maximum of each interval, to keep spikes."""
    n = len(series.steps)
    if n <= limit:
        return series
    intervals = (limit - 2) // 2
    width = -(-(n - 2) // intervals)
    padded = np.full(intervals * width, np.nan)
    padded[: n - 2] = series.values[1:-1]
    inner = padded.reshape(intervals, width)
    lowest = np.where(np.isfinite(inner), inner, np.inf).argmin(axis=1)
    highest = np.where(np.isfinite(inner), inner, -np.inf).argmax(axis=1)
    first = np.arange(intervals) * width + 1
    chosen = np.unique(np.concatenate([[0], first + lowest, first + highest, [n - 1]]).clip(max=n - 1))
    epochs = None if series.epochs is None else series.epochs[chosen]
    return Series(series.steps[chosen], series.values[chosen], epochs)


@dataclass(frozen=True, slots=True)
class Band:
    """Statistics of a metric over the runs of a setting after ``steps``, int64 (n,); the others float64 (n,).

    ``count`` is the number of runs with a finite value; where it is 0 the others are NaN, and ``std`` (of the sample,
    n - 1) where it is 1.
    """

    steps: NDArray[np.int64]
    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    std: NDArray[np.float64]
    count: NDArray[np.int64]


def band(runs: Sequence[Series], limit: int) -> Band:
    """Return the statistics over ``runs``, at least one, at the steps at which any of them has a value.

    A run without a value at such a step counts with the one interpolated between its steps before and after; before its
    first and after its last step it does not count. Of more than ``limit`` steps, evenly spaced ones are kept.
    """
    steps = np.unique(np.concatenate([run.steps for run in runs]))
    values = np.stack([_at(run, steps) for run in runs])
    if len(steps) > limit:
        kept = np.unique(np.linspace(0, len(steps) - 1, limit).round().astype(np.int64))
        steps, values = steps[kept], values[:, kept]
    count = np.isfinite(values).sum(axis=0)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of steps without a finite value
        low, high, mean = np.nanmin(values, axis=0), np.nanmax(values, axis=0), np.nanmean(values, axis=0)
        std = np.where(count > 1, np.nanstd(values, axis=0, ddof=1), np.nan)
    return Band(steps, mean, low, high, std, count)


def _at(run: Series, steps: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the values of a run at ``steps``; NaN where there is none, and instead of infinite ones."""
    values = np.where(np.isfinite(run.values), run.values, np.nan)
    if np.array_equal(run.steps, steps):
        return values
    order = np.argsort(run.steps, kind="stable")
    at: NDArray[np.float64] = np.interp(steps, run.steps[order], values[order], left=np.nan, right=np.nan)
    return at


def curve_names(comparison: Comparison) -> list[str]:
    """Return the names of the curves: the metric, the losses, the learning rate, then the others; never empty."""
    names = list(dict.fromkeys(name for run in comparison.runs for name in run.series))
    first = [comparison.metric, "val/loss", "train/loss", "train/lr"]
    shown = [name for name in dict.fromkeys(first) if name in names] + [name for name in names if name not in first]
    return shown or [comparison.metric]


def plot_curves(path: Path, comparison: Comparison) -> None:
    """Write curves.png: a line per run, the best settings in color and the others in grey."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure  # not pyplot: no global state, no display

    names = curve_names(comparison)[:4]
    figure = Figure(figsize=(4 * len(names), 3.8), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(names), squeeze=False)[0]
    legend: dict[int, Any] = {}  # a line of each setting by its rank, in whichever panel it has one
    for panel, name in zip(panels, names, strict=True):
        others = []  # in one collection, because a line of its own for each of thousands takes seconds
        for rank, setting in reversed(list(enumerate(comparison.settings))):
            for i in setting.runs:
                if (series := comparison.runs[i].series.get(name)) is None:
                    continue
                points = thin(series, 400)
                if rank >= len(COLORS) and len(points.steps) > 1:
                    others.append(np.column_stack([points.steps, points.values]))
                    continue
                style = {"color": COLORS[rank], "lw": 1.3, "alpha": 0.85, "zorder": 3} if rank < len(COLORS) else OTHERS
                marker = "o" if len(points.steps) == 1 else None
                (line,) = panel.plot(points.steps, points.values, marker=marker, ms=3, **style)
                legend.setdefault(min(rank, len(COLORS)), line)
        lines = panel.add_collection(LineCollection(others, **OTHERS))
        if others:
            legend.setdefault(len(COLORS), lines)
        panel.autoscale_view()
        panel.set(xlabel="optimizer step")
        panel.set_title(escape_controls(name), fontsize=10, parse_math=False)
        panel.grid(alpha=0.3)
    if legend:
        _add_legend(figure, comparison, legend, 48 * len(panels))
    figure.savefig(path, format="png")  # the name of the temporary file has no suffix


def _add_legend(figure: Any, comparison: Comparison, handles: dict[int, Any], width: int) -> None:
    """Name the settings by their ranks below the panels, in lines of ``width`` characters at most."""
    names = [comparison.name_of(setting) for setting in comparison.settings[: len(COLORS)]]
    names.append(plural(len(comparison.settings) - len(COLORS), "other setting"))
    ranks = sorted(handles)
    texts = [textwrap.wrap(escape_controls(names[rank]), width) for rank in ranks]
    columns = max(
        1, width // (max((len(line) for lines in texts for line in lines), default=0) + 8)
    )  # 8: the line in color
    figure.set_figheight(figure.get_figheight() + 0.16 * math.ceil(sum(map(len, texts)) / columns))
    legend = figure.legend(
        [handles[rank] for rank in ranks], ["\n".join(lines) for lines in texts],
        loc="outside lower left", ncols=columns, fontsize=8, frameon=False,
    )  # fmt: skip
    for text in legend.get_texts():
        text.set_parse_math(False)
