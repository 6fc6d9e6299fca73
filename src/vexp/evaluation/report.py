"""The files of one evaluation: predictions.csv, per_class.csv, confusion.png, report.json, view_logits.npz."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from vexp.core.files import write_text
from vexp.evaluation.config import Eval
from vexp.evaluation.metrics import average_precision, class_accuracy, confusion_matrix, count_unlabeled
from vexp.evaluation.predictions import Predictions
from vexp.evaluation.view_logits import FILE_NAME, save_view_logits

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
    options: Eval,
) -> None:
    """Write the files into ``folder``: no confusion.png where videos have several labels, view_logits.npz where the
    logits of the views were kept.

    Args:
        folder: made where it is missing.
        predictions: of a whole split.
        results: its metrics.
        classes: names of the classes.
        name: the path of a sample by its id.
        protocol: how the number came about: split, checkpoint, views, pipeline.
        options: of the evaluation; they go with the logits.
    """
    folder.mkdir(parents=True, exist_ok=True)
    protocol = protocol | _unscored(predictions, name)
    _write_predictions(folder / "predictions.csv", predictions, classes, name)
    report = {"metrics": results, "videos": len(predictions.labels), **protocol}
    if predictions.multi_label:
        report["videos_without_label"] = count_unlabeled(predictions.labels)
        _write_multi_label_classes(folder / "per_class.csv", predictions, classes)
    else:
        matrix = confusion_matrix(predictions.scores, predictions.labels)
        _write_classes(folder / "per_class.csv", matrix, classes)
        draw_confusion(folder / "confusion.png", matrix, classes, title=_title(results, protocol))
    write_text(folder / "report.json", json.dumps(report, indent=2) + "\n")
    (folder / FILE_NAME).unlink(missing_ok=True)  # that of an earlier evaluation would not belong to this report
    if predictions.view_logits is not None:
        save_view_logits(
            folder / FILE_NAME, predictions, classes=classes, name=name, protocol=protocol, options=options
        )


def _unscored(predictions: Predictions, name: Callable[[int], str]) -> dict[str, Any]:
    """The videos that no result speaks of, and how many there are in all; nothing where all are scored."""
    if not predictions.unscored:
        return {}
    rows = [{"id": i, "path": name(i), "error": error} for i, error in predictions.unscored.items()]
    return {"videos_of_split": len(predictions.labels) + len(rows), "unscored": rows}


def _title(results: dict[str, float], protocol: dict[str, Any]) -> str:
    first, value = next(iter(results.items()))
    return f"{first} {value:.4f}, {protocol['split']}, {protocol['views']}"


def _write_predictions(
    path: Path, predictions: Predictions, classes: Sequence[str], name: Callable[[int], str]
) -> None:
    """``correct`` says whether the class with the highest score is the label, or one of them. Last come the videos that
    are not scored, with empty cells."""
    top = np.argsort(-predictions.scores, axis=1, kind="stable")[:, :_TOP]
    with _open(path) as file:
        writer = csv.writer(file)
        ranks = [f"{what}_{rank}" for rank in range(1, top.shape[1] + 1) for what in ("class", "score")]
        labelled = "labels" if predictions.multi_label else "label"
        writer.writerow(["id", "path", labelled, "predicted", "correct", *ranks])
        for i, label, scores, ranked in zip(predictions.ids, predictions.labels, predictions.scores, top, strict=True):
            own = np.flatnonzero(label).tolist() if predictions.multi_label else [int(label)]
            named = [cell for c in ranked for cell in (classes[c], f"{scores[c]:.6g}")]
            truth = ";".join(classes[c] for c in own)
            writer.writerow([i, name(int(i)), truth, classes[ranked[0]], int(ranked[0] in own), *named])
        writer.writerows([i, name(i), "", "unscored", *[""] * (1 + len(ranks))] for i in predictions.unscored)


def _write_classes(path: Path, matrix: NDArray[np.int64], classes: Sequence[str]) -> None:
    accuracy = class_accuracy(matrix)
    wrong = matrix - np.diag(matrix.diagonal())
    with _open(path) as file:
        writer = csv.writer(file)
        writer.writerow(["class", "videos", "correct", "accuracy", "most_often_taken_for", "times"])
        for i, name in enumerate(classes):
            worst = int(wrong[i].argmax())
            taken_for = (classes[worst], wrong[i, worst]) if wrong[i, worst] else ("", 0)
            writer.writerow([name, matrix[i].sum(), matrix[i, i], _share(accuracy[i]), *taken_for])


def _write_multi_label_classes(path: Path, predictions: Predictions, classes: Sequence[str]) -> None:
    precision = average_precision(predictions.scores, predictions.labels)
    with _open(path) as file:
        writer = csv.writer(file)
        writer.writerow(["class", "videos", "average_precision"])
        for name, count, value in zip(classes, predictions.labels.sum(axis=0), precision, strict=True):
            writer.writerow([name, int(count), _share(value)])


def _share(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.6g}"


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
