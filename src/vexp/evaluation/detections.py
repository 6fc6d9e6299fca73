"""Rows of ground truth and of predictions, their matching within a video or frame, and average precision. NumPy only.

Segments of time (``vexp.evaluation.temporal``) and boxes of a frame (``vexp.evaluation.boxes``) are measured alike:
predictions are ranked by score, those that overlap ground truth enough are true positives, and average precision is
the area under the interpolated curve of precision over recall.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Overlap = Callable[[Floats, Floats], Floats]


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """N segments or boxes; of ground truth, the scores have no meaning.

    Attributes:
        group: Index of the video (segments) or of the frame (boxes) of each row, int64 (N,).
        extent: Start and end in seconds, float64 (N, 2), or x1, y1, x2, y2, float64 (N, 4).
        label: Class index of each row, int64 (N,).
        score: Confidence of each row, float64 (N,); any range.
    """

    group: Ints
    extent: Floats
    label: Ints
    score: Floats

    def __post_init__(self) -> None:
        lengths = {field.name: len(getattr(self, field.name)) for field in fields(self)}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"the columns must have one length, got {lengths}")
        for name, values in (("coordinates", self.extent), ("scores", self.score)):
            if not np.isfinite(values).all():
                row = int(np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(axis=1))[0])
                raise ValueError(f"row {row}: {name} must be finite, got {values[row]}")

    def __len__(self) -> int:
        return len(self.group)

    def __getitem__(self, rows: Ints | NDArray[np.bool_]) -> Detections:
        """Return the given rows, in that order."""
        return Detections(self.group[rows], self.extent[rows], self.label[rows], self.score[rows])

    def ranked(self) -> Detections:
        """Return the rows by descending score; of equal scores the earlier row comes first."""
        return self[np.argsort(-self.score, kind="stable")]


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Pairs of a prediction and a ground-truth row of the same group: their row numbers and overlap, each (P,)."""

    predicted: Ints
    truth: Ints
    overlap: Floats

    def __getitem__(self, rows: Ints | NDArray[np.bool_]) -> Pairs:
        """Return the given pairs, in that order."""
        return Pairs(self.predicted[rows], self.truth[rows], self.overlap[rows])


_CHUNK = 1 << 22  # pairs whose overlap is computed at once: 32 MiB for each of their columns


def overlapping_pairs(
    truth: Detections, predictions: Detections, overlap: Overlap, *, above: float, same_label: bool = True
) -> Pairs:
    """Return the pairs of the same group (and label) that overlap by at least ``above``, by prediction, then truth.

    Args:
        truth: The ground truth.
        predictions: The predictions.
        overlap: Function of two equally long arrays of extents, (P, 2) or (P, 4), to their overlaps, (P,).
        above: Smallest overlap of the pairs. Only pairs that overlap are returned if it is 0.
        same_label: Whether only pairs of one class are returned.
    """
    true_keys, predicted_keys = _keys(truth, predictions, same_label)
    order = np.argsort(true_keys, kind="stable")
    ordered = true_keys[order]
    first = np.searchsorted(ordered, predicted_keys, "left")
    count = np.searchsorted(ordered, predicted_keys, "right") - first
    parts: list[Pairs] = []
    ends = np.searchsorted(np.cumsum(count), np.arange(_CHUNK, count.sum(), _CHUNK)).tolist()
    for start, stop in zip([0, *ends], [*ends, len(count)], strict=True):
        rows, number = np.arange(start, stop), count[start:stop]
        predicted = np.repeat(rows, number)
        within = np.arange(number.sum()) - np.repeat(np.cumsum(number) - number, number)
        matched = order[np.repeat(first[start:stop], number) + within]
        values = overlap(truth.extent[matched], predictions.extent[predicted])
        kept = (values >= above) & (values > 0)
        parts.append(Pairs(predicted[kept], matched[kept], values[kept]))
    columns = zip(*((part.predicted, part.truth, part.overlap) for part in parts), strict=True)
    return Pairs(*(np.concatenate(column) for column in columns))


def checked_thresholds(thresholds: Sequence[float] | Floats) -> tuple[float, ...]:
    """Return thresholds of overlap; raise ValueError if there are none or one is not in (0, 1]."""
    values = tuple(float(value) for value in thresholds)
    if not values or not all(0 < value <= 1 for value in values):
        raise ValueError(f"thresholds of overlap must lie in (0, 1], got {list(values)}")
    return values


def mean_over_classes(values: Floats) -> Floats:
    """Return the mean of average precision (thresholds, classes) over the classes that have ground truth."""
    defined = ~np.isnan(values)
    mean: Floats = np.where(defined, values, 0).sum(axis=1) / np.maximum(defined.sum(axis=1), 1)
    return mean


def _keys(truth: Detections, predictions: Detections, same_label: bool) -> tuple[Ints, Ints]:
    """Return one integer for each row, equal for rows that may be matched."""
    if not same_label:
        return truth.group, predictions.group
    classes = 1 + max((int(rows.label.max()) for rows in (truth, predictions) if len(rows)), default=0)
    return truth.group * classes + truth.label, predictions.group * classes + predictions.label


@dataclass(frozen=True, slots=True, eq=False)
class RankedHits:
    """Ranked predictions, and which of them are true positives.

    A prediction is matched within its video only, so matching does not depend on which videos are counted.

    Attributes:
        truth: The ground truth.
        predictions: The N predictions in descending order of score.
        is_hit: Whether each prediction is a true positive at each threshold of overlap, bool (thresholds, N).
        num_classes: Number of classes; rows with another label are not counted.
    """

    truth: Detections
    predictions: Detections
    is_hit: NDArray[np.bool_]
    num_classes: int

    def average_precision(self, weights: Ints | None = None) -> Floats:
        """Return the average precision of each class, float64 (thresholds, num_classes); NaN without ground truth.

        It is the area under the interpolated precision: at a recall, the highest precision at that recall or a higher
        one (PASCAL VOC since 2010, Everingham et al. 2010).

        Args:
            weights: How often each group is counted, int64 (groups,); None for once.
        """
        order = np.argsort(self.predictions.label, kind="stable")
        rows = order[self.predictions.label[order] < self.num_classes]
        label = self.predictions.label[rows]
        weight = _weights(self.predictions.group[rows], weights)
        known = self.truth.label < self.num_classes
        num_truth: Floats = np.bincount(
            self.truth.label[known], _weights(self.truth.group[known], weights), minlength=self.num_classes
        ).astype(np.float64)
        counted = np.cumsum(weight)
        before = np.concatenate(([0.0], counted))[np.searchsorted(label, np.arange(self.num_classes))]
        ranks = counted - before[label]  # weighted rank of each prediction in its class
        values = [self._one_threshold(hits[rows], label, weight, ranks, num_truth) for hits in self.is_hit]
        return np.stack(values)

    def _one_threshold(
        self, is_hit: NDArray[np.bool_], label: Ints, weight: Floats, ranks: Floats, num_truth: Floats
    ) -> Floats:
        hits = np.flatnonzero(is_hit & (weight > 0))
        hit_label, hit_weight = label[hits], weight[hits]
        found = np.cumsum(hit_weight)
        before = np.concatenate(([0.0], found))[np.searchsorted(hit_label, np.arange(self.num_classes))]
        precision = (found - before[hit_label]) / ranks[hits]
        # The offset makes the maximum over the later hits of all classes that over the later hits of the same class.
        offset = 2.0 * (self.num_classes - hit_label)
        best = np.maximum.accumulate((precision + offset)[::-1])[::-1] - offset
        areas = np.bincount(hit_label, best * hit_weight, minlength=self.num_classes)
        result = np.full(self.num_classes, np.nan)
        np.divide(areas, num_truth, out=result, where=num_truth > 0)
        return result


def _weights(group: Ints, weights: Ints | None) -> Floats:
    return np.ones(len(group)) if weights is None else weights[group].astype(np.float64)
