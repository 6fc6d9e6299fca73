"""curves.png: loss, metrics and learning rate over the steps of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vexp.core.files import atomic_write
from vexp.core.log import escape_controls
from vexp.tracking.backends import INDEX_FIELDS, Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_NAMED = 6  # learning rates named in the legend


def draw_curves(path: Path, records: Sequence[Record], *, title: str) -> None:
    """Plot the records of a metrics.jsonl: one panel each for the loss, the metrics and the learning rates."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure  # not pyplot: no global state, no display

    figure = Figure(figsize=(12, 3.6), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    loss, accuracy, rates = figure.subplots(1, 3)
    train, val = ([record for record in records if record["mode"] == mode] for mode in ("train", "val"))
    _curve(loss, train, "loss", "train", "C0")
    _curve(loss, val, "loss", "val", "C1")
    metrics = [name for name in (val[-1] if val else {}) if name not in (*INDEX_FIELDS, "loss") and "/" not in name]
    for number, name in enumerate(metrics[:4]):
        _curve(accuracy, train, name, f"train {name}", f"C{number}", faint=True)
        _curve(accuracy, val, name, f"val {name}", f"C{number}")
    _draw_rates(rates, train)
    for panel, label in ((loss, "loss"), (accuracy, "accuracy"), (rates, "learning rate")):
        panel.set(xlabel="optimizer step", ylabel=label)
        panel.grid(alpha=0.3)
        if panel.lines:
            panel.legend(fontsize=8, loc="lower right" if panel is accuracy else "best")
    accuracy.set_ylim(0, 1.02)
    figure.suptitle(escape_controls(title), parse_math=False)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png")


def _draw_rates(panel: Axes, train: Sequence[Record]) -> None:
    """Plot the base rate and the distinct rates of parameter groups, each with its name if there are few."""
    curves: dict[tuple[float | None, ...], str] = {}
    for name in dict.fromkeys(key for record in train for key in record if key == "lr" or key.startswith("lr/")):
        curves.setdefault(tuple(record.get(name) for record in train), name)
    _curve(panel, train, "lr", "lr", "C0")
    others = [name for name in curves.values() if name != "lr"]
    many = len(others) > _MOST_NAMED
    for number, name in enumerate(others, 1):
        label = name if not many else f"{len(others)} more" if number == 1 else "_"  # "_": no legend entry
        _curve(panel, train, name, label, "0.3" if many else f"C{number}", faint=many)


def _curve(panel: Axes, records: Sequence[Record], name: str, label: str, color: str, *, faint: bool = False) -> None:
    points = [(record["step"], record[name]) for record in records if name in record]
    if points:  # a line of one point would be invisible without a marker
        marker = "o" if records[0]["mode"] == "val" or len(points) == 1 else None
        alpha = 0.35 if faint else 1
        panel.plot(*zip(*points, strict=True), label=label, color=color, marker=marker, ms=3, lw=1.4, alpha=alpha)
