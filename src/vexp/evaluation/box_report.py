"""The files of an evaluation of detections: boxes.csv, per_class.csv, boxes.png, report.json."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vexp.core.files import atomic_write, write_text
from vexp.core.log import escape_controls
from vexp.evaluation.box_predictions import BoxPredictions, Image
from vexp.evaluation.detections import RankedHits

_COLUMNS = 4  # of the sheet
_MAX_LABELS = 3  # classes beside a box


def write_box_report(
    folder: Path,
    predictions: BoxPredictions,
    matched: RankedHits,
    results: dict[str, float],
    *,
    classes: Sequence[str],
    numbers: Sequence[int],
    measured: Sequence[bool],
    name: Callable[[int], str],
    protocol: dict[str, Any],
    threshold: float,
    plots: bool,
) -> None:
    """Write the files into ``folder``.

    Args:
        folder: Is created if it does not exist.
        predictions: The detections.
        matched: The detections of the measured classes.
        results: The metrics.
        classes: Names of the classes.
        numbers: Their numbers in the files of AVA.
        measured: Whether each class is measured.
        name: Function of the id of a key frame to ``video,second``.
        protocol: How the metrics were computed.
        threshold: Score up to which a class of a box is no detection.
        plots: Whether boxes.png is drawn.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if predictions.unscored:
        unscored = [{"id": i, "path": name(i), "error": error} for i, error in predictions.unscored.items()]
        protocol = protocol | {"key_frames_of_split": len(predictions.ids) + len(unscored), "unscored": unscored}
    write_text(folder / "boxes.csv", boxes_csv(predictions, numbers, name, threshold))
    num_truth = np.bincount(matched.truth.label, minlength=len(classes))
    precision = matched.average_precision()[0]
    rows = [
        (number, label, count, "" if np.isnan(value) else f"{value:.6g}")
        for number, label, count, value, is_measured in zip(
            numbers, classes, num_truth, precision, measured, strict=True
        )
        if is_measured
    ]
    write_text(folder / "per_class.csv", _csv([("number", "class", "ground_truth", "ap@0.5"), *rows]))
    report = {
        "metrics": results,
        "key_frames": len(predictions.ids),
        "boxes": len(predictions.boxes),
        "labeled_boxes": len(predictions.truth),
        "boxes_outside_of_the_clip": predictions.dropped,
        **protocol,
    }
    write_text(folder / "report.json", json.dumps(report, indent=2) + "\n")
    if plots and predictions.images:
        first, value = next(iter(results.items()))
        draw_boxes(folder / "boxes.png", sheet_of(predictions, classes, name), title=f"{first} {value:.4f}")


def boxes_csv(predictions: BoxPredictions, numbers: Sequence[int], name: Callable[[int], str], threshold: float) -> str:
    """Return the detections in the format of AVA's results, which ``vexp score`` measures.

    A key frame without a detection has a line of its own without a box.
    """
    found = predictions.rows(threshold)
    names = [name(int(i)).rpartition(",")[::2] for i in predictions.ids]
    first = np.searchsorted(found.group, np.arange(len(names) + 1))
    rows: list[Sequence[Any]] = []
    for frame, (video, second) in enumerate(names):
        part = range(first[frame], first[frame + 1])
        if not part:
            rows.append((video, second, "", "", "", "", "", ""))
        for row in part:
            box = (repr(float(value)) for value in found.extent[row])
            rows.append((video, second, *box, numbers[found.label[row]], f"{found.score[row]:.9g}"))
    return _csv(rows)


def _csv(rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


@dataclass(frozen=True, slots=True)
class BoxImage:
    """An image with boxes, in its pixels: those of persons with texts, and labeled ones with texts."""

    title: str
    image: Image
    boxes: NDArray[np.floating[Any]]  # (M, 4)
    texts: Sequence[str]
    truth: NDArray[np.floating[Any]]  # (G, 4)
    truth_texts: Sequence[str] = ()


def sheet_of(predictions: BoxPredictions, classes: Sequence[str], name: Callable[[int], str]) -> list[BoxImage]:
    """Return the images that the predictions keep, with the classes of the boxes."""
    ends = np.cumsum(predictions.counts)
    position = {int(i): place for place, i in enumerate(predictions.ids)}
    images = []
    for i, (image, boxes) in sorted(predictions.images.items()):
        place = position[i]
        scores = predictions.scores[ends[place] - predictions.counts[place] : ends[place]]
        images.append(BoxImage(name(i), image, boxes, [top_text(row, classes) for row in scores], boxes[:0]))
    return images


def top_text(scores: NDArray[np.floating[Any]], classes: Sequence[str], *, least: float = 0.3) -> str:
    """Return the names of the classes with the highest scores, the best one and others from ``least`` on."""
    best = np.argsort(-scores, kind="stable")[:_MAX_LABELS]
    shown = [c for rank, c in enumerate(best) if rank == 0 or scores[c] >= least]
    return "\n".join(f"{escape_controls(classes[c])} {scores[c]:.2f}" for c in shown)


def draw_boxes(path: Path, images: Sequence[BoxImage], *, title: str) -> None:
    """Draw the images, at least one, with their boxes, and write the .png file."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure  # not pyplot: no global state, no display
    from matplotlib.patches import Rectangle

    columns = min(_COLUMNS, len(images))
    lines = -(-len(images) // columns)
    height = max(image.image.shape[0] / image.image.shape[1] for image in images)
    figure = Figure(figsize=(3.6 * columns, 0.4 + lines * (3.6 * height + 0.3)), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(escape_controls(title), fontsize=10, parse_math=False)
    places = list(figure.subplots(lines, columns, squeeze=False).flat)
    for axes in places:
        axes.set_axis_off()
    for axes, image in zip(places, images, strict=False):
        axes.imshow(image.image)
        axes.set_title(escape_controls(image.title), fontsize=8, loc="left", parse_math=False)
        for boxes, texts, color, style in (
            (image.truth, image.truth_texts, "#37d67a", "--"), (image.boxes, image.texts, "#ffd54a", "-"),
        ):  # fmt: skip
            for box, text in zip(boxes, texts or [""] * len(boxes), strict=True):
                x1, y1, x2, y2 = (float(value) for value in box)
                axes.add_patch(
                    Rectangle((x1 - 0.5, y1 - 0.5), x2 - x1, y2 - y1, fill=False, ec=color, ls=style, lw=1.2)
                )
                axes.text(
                    x1, y1, text, fontsize=6, va="top", color="black", clip_on=True,
                    parse_math=False, bbox={"facecolor": color, "alpha": 0.75, "pad": 0.6, "lw": 0},
                )  # fmt: skip
    _move_texts_inside(figure)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png")


def _move_texts_inside(figure: Any) -> None:
    """Move the texts that run beyond the right or the lower edge of their image to the left and up."""
    figure.draw_without_rendering()
    for axes in figure.axes:
        frame = axes.get_window_extent()
        for text in axes.texts:
            extent = text.get_window_extent()
            right = max(min(0.0, frame.x1 - extent.x1), frame.x0 - extent.x0)
            up = min(max(0.0, frame.y0 - extent.y0), frame.y1 - extent.y1)
            x, y = axes.transData.transform(text.get_position())
            text.set_position(axes.transData.inverted().transform((x + right, y + up)))
