"""Metrics: pure functions of scores (n, classes) and labels (n,).

Ties: of equal scores the lower class number ranks first, in every metric. A NaN score is refused.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray


def top_k_accuracy(scores: ArrayLike, labels: ArrayLike, topk: Sequence[int] = (1, 5)) -> list[float]:
    """Share of samples whose label is among the k highest scores, for each k of ``topk``.

    Args:
        scores: float (n, classes).
        labels: int (n,).
        topk: with k >= classes every sample counts.
    """
    ranks = label_ranks(scores, labels)
    return [float(np.mean(ranks < k)) for k in topk]


def label_ranks(scores: ArrayLike, labels: ArrayLike) -> NDArray[np.int64]:
    """How many classes rank before the label, int64 (n,): 0 where the prediction is right."""
    values, truth = _checked(scores, labels)
    own = values[np.arange(len(truth)), truth][:, None]
    earlier = np.arange(values.shape[1]) < truth[:, None]
    ranks: NDArray[np.int64] = np.sum((values > own) | ((values == own) & earlier), axis=1, dtype=np.int64)
    return ranks


def confusion_matrix(scores: ArrayLike, labels: ArrayLike) -> NDArray[np.int64]:
    """Counts (classes, classes): row = label, column = predicted class."""
    values, truth = _checked(scores, labels)
    matrix = np.zeros((values.shape[1],) * 2, np.int64)
    np.add.at(matrix, (truth, values.argmax(axis=1)), 1)  # argmax takes the first of equal scores
    return matrix


def class_accuracy(matrix: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of each class's samples that are predicted right, float64 (classes,); NaN for a class without samples."""
    counts = matrix.sum(axis=1)
    result = np.full(len(matrix), np.nan)
    np.divide(matrix.diagonal(), counts, out=result, where=counts > 0)
    return result


def mean_class_accuracy(scores: ArrayLike, labels: ArrayLike, *, count_predicted_only: bool = False) -> float:
    """Mean of the accuracies of the classes that occur in the labels (scikit-learn's balanced accuracy).

    Args:
        scores: float (n, classes).
        labels: int (n,).
        count_predicted_only: a class that is only predicted counts as 0, as in mmaction2.
    """
    matrix = confusion_matrix(scores, labels)
    accuracy = class_accuracy(matrix)
    if count_predicted_only:
        accuracy[np.isnan(accuracy) & (matrix.sum(axis=0) > 0)] = 0.0
    return float(np.nanmean(accuracy))


def _checked(scores: ArrayLike, labels: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    values, truth = np.asarray(scores, np.float64), np.asarray(labels, np.int64)
    if values.ndim != 2 or truth.shape != values.shape[:1] or len(truth) == 0:
        raise ValueError(f"scores {values.shape} and labels {truth.shape}: must be (n, classes) and (n,), n > 0")
    bad = np.flatnonzero(np.isnan(values).any(axis=1))
    if len(bad):
        raise ValueError(f"scores of {len(bad)} samples hold NaN, the first is sample {bad[0]}")
    if truth.min() < 0 or truth.max() >= values.shape[1]:
        raise ValueError(f"labels {truth.min()}..{truth.max()}: must be class numbers 0..{values.shape[1] - 1}")
    return values, truth
