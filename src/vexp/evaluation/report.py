"""The files of one evaluation: predictions.csv, per_class.csv, confusion.png, report.json."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from vexp.evaluation.evaluate import Predictions
from vexp.evaluation.metrics import class_accuracy, confusion_matrix

_TOP = 5  # classes named for each video
_NAMED_CLASSES = 40  # more class names than these cannot be read along the picture's edge


def write_report(
    folder: Path,
    predictions: Predictions,
    results: dict[str, float],
    *,
    classes: Sequence[str],
    name: Callable[[int], str],
    protocol: dict[str, Any],
) -> None:
    """Write the four files into ``folder``.

    Args:
        folder: made where it is missing.
        predictions: of a whole split.
        results: its metrics.
        classes: names of the classes.
        name: the path of a sample by its id.
        protocol: how the number came about: split, checkpoint, views, pipeline.
    """
    folder.mkdir(parents=True, exist_ok=True)
    matrix = confusion_matrix(predictions.scores, predictions.labels)
    _write_predictions(folder / "predictions.csv", predictions, classes, name)
    _write_classes(folder / "per_class.csv", matrix, classes)
    draw_confusion(folder / "confusion.png", matrix, classes, title=_title(results, protocol))
    report = {"metrics": results, "videos": len(predictions.labels), **protocol}
    (folder / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def _title(results: dict[str, float], protocol: dict[str, Any]) -> str:
    first, value = next(iter(results.items()))
    return f"{first} {value:.4f}, {protocol['split']}, {protocol['views']}"


def _write_predictions(
    path: Path, predictions: Predictions, classes: Sequence[str], name: Callable[[int], str]
) -> None:
    top = np.argsort(-predictions.scores, axis=1, kind="stable")[:, :_TOP]
    with _open(path) as file:
        writer = csv.writer(file)
        ranks = [f"{what}_{rank}" for rank in range(1, top.shape[1] + 1) for what in ("class", "score")]
        writer.writerow(["id", "path", "label", "predicted", "correct", *ranks])
        for i, label, scores, ranked in zip(predictions.ids, predictions.labels, predictions.scores, top, strict=True):
            named = [cell for c in ranked for cell in (classes[c], f"{scores[c]:.6g}")]
            writer.writerow([i, name(int(i)), classes[label], classes[ranked[0]], int(ranked[0] == label), *named])


def _write_classes(path: Path, matrix: NDArray[np.int64], classes: Sequence[str]) -> None:
    accuracy = class_accuracy(matrix)
    wrong = matrix - np.diag(matrix.diagonal())
    with _open(path) as file:
        writer = csv.writer(file)
        writer.writerow(["class", "videos", "correct", "accuracy", "most_often_taken_for", "times"])
        for i, name in enumerate(classes):
            worst = int(wrong[i].argmax())
            taken_for = (classes[worst], wrong[i, worst]) if wrong[i, worst] else ("", 0)
            share = "" if np.isnan(accuracy[i]) else f"{accuracy[i]:.6g}"
            writer.writerow([name, matrix[i].sum(), matrix[i, i], share, *taken_for])


def _open(path: Path) -> TextIO:
    """For the csv module; a file name that is not UTF-8 is written as the bytes that it is."""
    return path.open("w", newline="", encoding="utf-8", errors="surrogateescape")


def draw_confusion(path: Path, matrix: NDArray[np.int64], classes: Sequence[str], *, title: str) -> None:
    """The confusion matrix as a picture: rows are labels, columns predictions, shade is the share of the row."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure  # not pyplot: no global state, no display

    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    side = min(4.0 + 0.45 * len(classes), 16.0)
    figure = Figure(figsize=(side + 1.0, side), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    image = axes.imshow(share, vmin=0, vmax=1, cmap="Blues")
    axes.set(xlabel="predicted", ylabel="label")
    axes.set_title(title, parse_math=False)  # a $ is a dollar
    if len(classes) <= _NAMED_CLASSES:
        axes.set_xticks(range(len(classes)), classes, rotation=45, ha="right", parse_math=False)
        axes.set_yticks(range(len(classes)), classes, parse_math=False)
        for row, column in zip(*np.nonzero(matrix), strict=True):
            shade = "white" if share[row, column] > 0.5 else "black"
            axes.text(column, row, str(matrix[row, column]), ha="center", va="center", color=shade, fontsize=8)
    figure.colorbar(image, ax=axes, label="share of the label's videos", shrink=0.8)
    figure.savefig(path)
