"""The metrics of one result file, as functions of how often each video is counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from vexp.evaluation.detections import Detections, Floats, Ints, RankedHits, mean_over_classes
from vexp.evaluation.temporal import RecallCurve
from vexp.tools.score.config import Score

MAX_NAMES = 10  # names that a message lists


@dataclass(frozen=True, slots=True, eq=False)
class ClassTable:
    """Average precision by class."""

    classes: Sequence[str]
    num_truth: Ints  # segments or boxes of each class
    thresholds: Sequence[float]
    values: Floats  # (thresholds, classes)


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """The metrics of one result file."""

    protocol: list[str]  # the rules by which they were computed
    videos: int
    #: Metrics by name; the argument is how often each video is counted, int64 (videos,), None for once.
    measure: Callable[[Ints | None], dict[str, float]]
    by_class: ClassTable | None = None
    curve: RecallCurve | None = None


def score_by_class(
    matched: RankedHits, classes: Sequence[str], thresholds: Sequence[float], videos: int, protocol: list[str],
    video_of_group: Ints,
) -> Scored:  # fmt: skip
    """Return average precision by threshold; ``video_of_group`` is the video of each video or key frame."""
    suffix = "IOU" if matched.truth.extent.shape[1] == 4 else ""

    def measure(weights: Ints | None) -> dict[str, float]:
        means = mean_over_classes(matched.average_precision(None if weights is None else weights[video_of_group]))
        names = [f"mAP@{value:g}{suffix}" for value in thresholds]
        results = dict(zip(names, means.tolist(), strict=True))
        return results if len(names) == 1 else {**results, "mAP": float(means.mean())}

    num_truth = np.bincount(matched.truth.label, minlength=len(classes))[: len(classes)]
    table = ClassTable(classes, num_truth, thresholds, matched.average_precision())
    return Scored(protocol, videos, measure, by_class=table)


def rounded(rows: Detections, decimals: int | None) -> Detections:
    """Return the rows with rounded extents and scores; the same rows if ``decimals`` is None."""
    if decimals is None:
        return rows
    return Detections(rows.group, rows.extent.round(decimals), rows.label, rows.score.round(decimals))


def common_rules(options: Score) -> list[str]:
    """Return the rules that apply to segments and boxes alike."""
    rounding = "nothing is rounded" if options.rounding is None else f"rounded to {options.rounding} decimals"
    return [f"of equal scores the earlier row ranks first; {rounding}"]


def listed(names: Sequence[str]) -> str:
    """Return the first names as text, with the number of the others."""
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(names[:MAX_NAMES]) + more
