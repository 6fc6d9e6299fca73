"""Tables and files of ``vexp score``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from rich.table import Table

from vexp.core.files import atomic_write, write_text
from vexp.evaluation.detections import Floats
from vexp.evaluation.segments import draw_recall, write_classes
from vexp.tools.score.intervals import interval
from vexp.tools.score.scored import ClassTable, Scored

_MAX_CLASSES = 30  # rows of the table of classes on the terminal; per_class.csv has all


def metric_table(
    results: Mapping[str, float],
    samples: Mapping[str, Floats],
    other: Mapping[str, float] | None,
    other_samples: Mapping[str, Floats] | None,
) -> Table:
    """Return the metrics with 95 % intervals, and the paired differences to other results."""
    table = Table("metric", "value", "95 % interval", box=None, padding=(0, 2, 0, 0))
    if other is not None:
        for column in ("compared", "difference", "95 % interval"):
            table.add_column(column)
    for name, value in results.items():
        cells = [name, f"{value:.4f}", _interval(samples.get(name))]
        if other is not None:
            both = None if other_samples is None else samples[name] - other_samples[name]
            cells += [f"{other[name]:.4f}", f"{value - other[name]:+.4f}", _interval(both, "+")]
        table.add_row(*cells)
    return table


def _interval(values: Floats | None, sign: str = "") -> str:
    if values is None or not len(values):
        return ""
    low, high = interval(values)
    return f"{low:{sign}.4f} .. {high:{sign}.4f}"


def class_table(by_class: ClassTable) -> Table:
    """Return the average precision of the classes with the lowest mean; all of them if they are few."""
    table = Table("class", "ground truth", *(f"AP@{value:g}" for value in by_class.thresholds), box=None)
    rows = np.flatnonzero(by_class.num_truth)
    if len(rows) > _MAX_CLASSES:
        rows = rows[np.argsort(by_class.values[:, rows].mean(axis=0), kind="stable")[:_MAX_CLASSES]]
        table.title = f"the {_MAX_CLASSES} classes with the lowest average precision"
    for row in rows.tolist():
        cells = (f"{value:.4f}" for value in by_class.values[:, row])
        table.add_row(by_class.classes[row], str(by_class.num_truth[row]), *cells)
    return table


def write_files(
    folder: Path, scored: Scored, results: Mapping[str, float], samples: Mapping[str, Floats], protocol: Sequence[str]
) -> list[str]:
    """Write score.json, and per_class.csv or ar_an.png; return their names."""
    intervals = {name: interval(values) for name, values in samples.items() if len(values)}
    content = {"metrics": dict(results), "intervals": intervals, "videos": scored.videos, "protocol": list(protocol)}
    write_text(folder / "score.json", json.dumps(content, indent=2) + "\n")
    names = ["score.json"]
    if scored.by_class is not None:
        table = scored.by_class
        write_classes(folder / "per_class.csv", table.classes, table.num_truth.tolist(), table.thresholds, table.values)
        names.append("per_class.csv")
    if scored.curve is not None:
        with atomic_write(folder / "ar_an.png") as temporary:
            draw_recall(temporary, scored.curve)
        names.append("ar_an.png")
    return names
