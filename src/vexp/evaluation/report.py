"""The files of an evaluation: predictions.csv, per_class.csv, confusion.png, report.json, view_logits.npz."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vexp.core.files import atomic_write, write_text
from vexp.core.log import escape_controls
from vexp.evaluation.config import Eval
from vexp.evaluation.metrics import average_precision, class_accuracy, confusion_matrix, count_unlabeled
from vexp.evaluation.predictions import Predictions
from vexp.evaluation.view_logits import FILE_NAME, save_view_logits

_TOP = 5  # classes listed for each video
_MAX_TICK_LABELS = 40  # more class names are unreadable along the axes


def write_report(
    folder: Path,
    predictions: Predictions,
    results: dict[str, float],
    classes: Sequence[str],
    name: Callable[[int], str],
    *,
    protocol: dict[str, Any],
    options: Eval,
    plots: bool = True,
) -> None:
    """Write the files of the predictions for a whole split into ``folder``.

    Among them are confusion.png for single labels only, and view_logits.npz only if the logits are kept. ``results``
    are the metrics, ``name`` maps the id of a sample to its path, and ``protocol`` is how the metrics were computed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if predictions.unscored:
        rows = [{"id": i, "path": name(i), "error": error} for i, error in predictions.unscored.items()]
        protocol = protocol | {"videos_of_split": len(predictions.labels) + len(rows), "unscored": rows}
    _write_predictions(folder / "predictions.csv", predictions, classes, name)
    report = {"metrics": results, "videos": len(predictions.labels), **protocol}
    if predictions.multi_label:
        report["videos_without_label"] = count_unlabeled(predictions.labels)
        precision = average_precision(predictions.scores, predictions.labels)
        per_class = zip(classes, predictions.labels.sum(axis=0).astype(int), map(_share, precision), strict=True)
        _write_csv(folder / "per_class.csv", ["class", "videos", "average_precision"], per_class)
    else:
        matrix = confusion_matrix(predictions.scores, predictions.labels)
        _write_classes(folder / "per_class.csv", matrix, classes)
        if plots:
            first, value = next(iter(results.items()))
            title = f"{first} {value:.4f}, {protocol['split']}, {protocol['views']}"
            draw_confusion(folder / "confusion.png", matrix, classes, title=title)
    write_text(folder / "report.json", json.dumps(report, indent=2) + "\n")
    (folder / FILE_NAME).unlink(missing_ok=True)  # a file of an earlier evaluation does not belong to this report
    if predictions.view_logits is not None:
        names = [name(int(i)) for i in predictions.ids]
        save_view_logits(folder / FILE_NAME, predictions, classes, names, protocol=protocol, options=options)


def _write_predictions(
    path: Path, predictions: Predictions, classes: Sequence[str], name: Callable[[int], str]
) -> None:
    """Write one row per video; ``correct`` is 1 if the class with the highest score is a label of the video.

    Unreadable videos come last, with empty cells.
    """
    top = np.argsort(-predictions.scores, axis=1, kind="stable")[:, :_TOP]
    ranks = [f"{what}_{rank}" for rank in range(1, top.shape[1] + 1) for what in ("class", "score")]
    rows = []
    for i, label, scores, ranked in zip(predictions.ids, predictions.labels, predictions.scores, top, strict=True):
        label_ids = np.flatnonzero(label).tolist() if predictions.multi_label else [int(label)]
        cells = [cell for c in ranked for cell in (classes[c], f"{scores[c]:.6g}")]
        truth = ";".join(classes[c] for c in label_ids)
        rows.append([i, name(int(i)), truth, classes[ranked[0]], int(ranked[0] in label_ids), *cells])
    rows += [[i, name(i), "", "unscored", *[""] * (1 + len(ranks))] for i in predictions.unscored]
    label_column = "labels" if predictions.multi_label else "label"
    _write_csv(path, ["id", "path", label_column, "predicted", "correct", *ranks], rows)


def _write_classes(path: Path, matrix: NDArray[np.int64], classes: Sequence[str]) -> None:
    accuracy, wrong, rows = class_accuracy(matrix), matrix - np.diag(matrix.diagonal()), []
    for i, name in enumerate(classes):
        worst = int(wrong[i].argmax())
        taken_for = (classes[worst], wrong[i, worst]) if wrong[i, worst] else ("", 0)
        rows.append([name, matrix[i].sum(), matrix[i, i], _share(accuracy[i]), *taken_for])
    _write_csv(path, ["class", "videos", "correct", "accuracy", "most_often_taken_for", "times"], rows)


def _share(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.6g}"


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Iterable[Any]]) -> None:
    """Write a table atomically; file names that are not UTF-8 are written as their bytes."""
    with (
        atomic_write(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        csv.writer(file).writerows([header, *rows])


def draw_confusion(path: Path, matrix: NDArray[np.int64], classes: Sequence[str], *, title: str) -> None:
    """Plot the confusion matrix: rows are labels, columns are predictions, the shade is the share of the row."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure  # not pyplot: no global state, no display

    classes, title = [escape_controls(name) for name in classes], escape_controls(title)  # which no font has
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    side = min(4.0 + 0.45 * len(classes), 16.0)
    figure = Figure(figsize=(side + 1.0, side), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    image = axes.imshow(share, vmin=0, vmax=1, cmap="Blues")
    axes.set(xlabel="predicted", ylabel="label")
    axes.set_title(title, parse_math=False)  # a $ is not math
    if len(classes) <= _MAX_TICK_LABELS:
        axes.set_xticks(range(len(classes)), classes, rotation=45, ha="right", parse_math=False)
        axes.set_yticks(range(len(classes)), classes, parse_math=False)
        for row, column in zip(*np.nonzero(matrix), strict=True):
            shade = "white" if share[row, column] > 0.5 else "black"
            axes.text(column, row, str(matrix[row, column]), ha="center", va="center", color=shade, fontsize=8)
    figure.colorbar(image, ax=axes, label="share of the label's videos", shrink=0.8)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png")
