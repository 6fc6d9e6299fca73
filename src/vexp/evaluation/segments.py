"""Predicted segments of a split, the metrics computed from them, and the files of an evaluation."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vexp.core.files import atomic_write, write_text
from vexp.evaluation.config import RECALL_NUMBERS
from vexp.evaluation.detections import Detections, Floats, mean_over_classes
from vexp.evaluation.predictions import SplitPredictions
from vexp.evaluation.temporal import RecallCurve

RESULTS_FILE = "proposals.json"
_VERSION = "VERSION 1.3"  # of ActivityNet's format of results


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentPredictions(SplitPredictions):
    """Predicted segments of n videos; ``group`` of their rows is the position of a video in ``ids``."""

    truth: Detections
    found: Detections


def recall_results(curve: RecallCurve) -> dict[str, float]:
    """Return AR@1, AR@5, AR@10, AR@100 and auc."""
    return {f"AR@{number}": curve.at(number) for number in RECALL_NUMBERS} | {"auc": curve.auc}


def precision_results(values: Floats, thresholds: Sequence[float]) -> dict[str, float]:
    """Return mAP at each threshold, and their mean as mAP, of average precision (thresholds, classes)."""
    means = mean_over_classes(values)
    names = [f"mAP@{threshold:g}" for threshold in thresholds]
    return dict(zip(names, means.tolist(), strict=True)) | {"mAP": float(means.mean())}


def write_results(
    path: Path, found: Detections, names: Sequence[str], classes: Sequence[str] | None, about: dict[str, Any]
) -> None:
    """Write segments in ActivityNet's format of results, which ``vexp score`` reads.

    Args:
        path: The file.
        found: Segments; their group is an index into ``names``.
        names: Names of the videos; one without segments gets an empty list.
        classes: Names of the classes; None for proposals, which have no label.
        about: Content of ``external_data``.
    """
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for group, extent, label, score in zip(found.group, found.extent, found.label, found.score, strict=True):
        entry: dict[str, Any] = {} if classes is None else {"label": classes[label]}
        entry |= {"segment": [float(second) for second in extent], "score": float(score)}
        results[names[group]].append(entry)
    content = {"version": _VERSION, "results": results, "external_data": about}
    with atomic_write(path) as temporary:
        text = json.dumps(content, ensure_ascii=False) + "\n"
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape")


def write_classes(
    path: Path, classes: Sequence[str], counts: Sequence[int], thresholds: Sequence[float], values: Floats
) -> None:
    """Write per_class.csv: number of annotations and average precision at each threshold, (thresholds, classes)."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["class", "ground_truth", *(f"ap@{value:g}" for value in thresholds)])
    for name, count, row in zip(classes, counts, values.T, strict=True):
        writer.writerow([name, count, *("" if np.isnan(value) else f"{value:.6g}" for value in row)])
    write_text(path, text.getvalue())


def write_report(
    folder: Path, predictions: SegmentPredictions, results: dict[str, float], name: Callable[[int], str], *,
    classes: Sequence[str] | None, protocol: dict[str, Any], curve: RecallCurve | None,
    precision: tuple[Sequence[float], Floats] | None,
) -> None:  # fmt: skip
    """Write report.json, proposals.json, per_class.csv and ar_an.png.

    Args:
        folder: Folder of the files.
        predictions: Predictions for a split.
        results: The metrics.
        name: Function of the id of a video.
        classes: Names of the classes; None for proposals.
        protocol: How the metrics were computed.
        curve: Recall, to be plotted; None: not measured, or no plots are wanted.
        precision: Thresholds, and average precision (thresholds, classes); None: not measured.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = [name(int(index)) for index in predictions.ids]
    report: dict[str, Any] = {"metrics": results, "videos": len(names), **protocol}
    if predictions.unscored:
        report["unscored"] = [{"id": i, "path": name(i), "error": error} for i, error in predictions.unscored.items()]
    about = {"split": protocol.get("split"), "checkpoint": protocol.get("checkpoint")}
    write_results(folder / RESULTS_FILE, predictions.found, names, classes, about)
    if precision is not None and classes is not None:
        counts = np.bincount(predictions.truth.label, minlength=len(classes)).tolist()
        write_classes(folder / "per_class.csv", classes, counts, *precision)
    if curve is not None:
        with atomic_write(folder / "ar_an.png") as temporary:
            draw_recall(temporary, curve)
    write_text(folder / "report.json", json.dumps(report, indent=2) + "\n")


def draw_recall(path: Path, curve: RecallCurve) -> None:
    """Plot recall over the average number of proposals, at each threshold and averaged over them."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure  # not pyplot: no global state, no display

    figure = Figure(figsize=(7, 4.5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for threshold, recall in zip(curve.thresholds, curve.recall, strict=True):
        axes.plot(curve.numbers, recall, lw=1, alpha=0.6, label=f"tIoU {threshold:g}")
    axes.plot(curve.numbers, curve.average_recall, color="black", lw=2, label="average")
    axes.set(xlabel="average number of proposals per video", ylabel="recall", ylim=(0, 1), xlim=(0, curve.numbers[-1]))
    axes.set_title(f"AUC {curve.auc:.2f}")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, ncols=2)
    figure.savefig(path, format="png")
