"""Metrics: pure functions of scores (n, classes) and labels, in NumPy.

Ties: of equal scores the lower class number ranks first, in every metric; for average precision, which ranks samples
and not classes, equal scores are one threshold. A NaN score is refused.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def top_k_accuracy(scores: ArrayLike, labels: ArrayLike, topk: Sequence[int] = (1, 5)) -> list[float]:
    """Share of samples whose label is among the k highest scores, for each k of ``topk``.

    Args:
        scores: float (n, classes).
        labels: int (n,).
        topk: with k >= classes every sample counts.
    """
    ranks = label_ranks(scores, labels)
    return [float(np.mean(ranks < k)) for k in topk]


def label_ranks(scores: ArrayLike, labels: ArrayLike) -> Ints:
    """How many classes rank before the label, int64 (n,): 0 where the prediction is right."""
    values, truth = _single_label(scores, labels)
    own = values[np.arange(len(truth)), truth][:, None]
    earlier = np.arange(values.shape[1]) < truth[:, None]
    ranks: Ints = np.sum((values > own) | ((values == own) & earlier), axis=1, dtype=np.int64)
    return ranks


def confusion_matrix(scores: ArrayLike, labels: ArrayLike) -> Ints:
    """Counts (classes, classes): row = label, column = predicted class."""
    values, truth = _single_label(scores, labels)
    matrix = np.zeros((values.shape[1],) * 2, np.int64)
    np.add.at(matrix, (truth, values.argmax(axis=1)), 1)  # argmax takes the first of equal scores
    return matrix


def class_accuracy(matrix: Ints) -> Floats:
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
    values, truth = _single_label(scores, labels)
    predicted = values.argmax(axis=1)
    mean = balanced_accuracy(predicted == truth, truth)
    occurring = len(np.unique(truth))
    return mean * occurring / len(np.union1d(truth, predicted)) if count_predicted_only else mean


def balanced_accuracy(correct: NDArray[np.bool_], labels: Ints) -> float:
    """Mean over the classes that occur in ``labels`` (n,) of the share of their samples that are ``correct`` (n,)."""
    counts = np.bincount(labels)
    hits = np.bincount(labels, correct)
    return float(np.mean(hits[counts > 0] / counts[counts > 0]))


def expected_calibration_error(scores: ArrayLike, labels: ArrayLike, *, bins: int = 15) -> float:
    """How far confidence is from accuracy: the mean over samples of |accuracy - confidence| of their bin.

    Bins have equal width and include their upper edge (Guo et al. 2017, On Calibration of Modern Neural Networks).

    Args:
        scores: probabilities (n, classes), 0..1; the highest one of a sample is its confidence.
        labels: int (n,).
        bins: >= 1.
    """
    values, truth = _single_label(scores, labels)
    return calibration_error(values.max(axis=1), values.argmax(axis=1) == truth, bins=bins)


def calibration_error(confidence: Floats, correct: NDArray[np.bool_], *, bins: int = 15) -> float:
    """The expected calibration error of samples with this confidence (n,) of which these are ``correct`` (n,)."""
    if confidence.min() < 0 or confidence.max() > 1 + 1e-6:
        raise ValueError(
            f"scores {confidence.min():g}..{confidence.max():g}: calibration is measured on probabilities, 0..1"
        )
    number = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    gaps = np.bincount(number, correct.astype(np.float64) - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(confidence))


def average_precision(scores: ArrayLike, labels: ArrayLike) -> Floats:
    """Average precision of each class, float64 (classes,); NaN for a class without a positive sample.

    The sum over thresholds of precision x step in recall, not interpolated (scikit-learn's average_precision_score).

    Args:
        scores: float (n, classes), in any range.
        labels: multi-hot, 0 or 1, (n, classes); int (n,) is taken as one class a sample.
    """
    values, truth = _multi_label(scores, labels)
    return np.array([_average_precision(values[:, c], truth[:, c]) for c in range(values.shape[1])])


def mean_average_precision(scores: ArrayLike, labels: ArrayLike) -> float:
    """Mean of ``average_precision`` over the classes that have a positive sample (mmaction2's, and the field's, mAP).

    Raises:
        ValueError: no label is set, scores hold NaN, shapes do not fit.
    """
    return _mean_of_defined(average_precision(scores, labels))


def mmit_mean_average_precision(scores: ArrayLike, labels: ArrayLike) -> float:
    """Mean over samples of the average precision of their classes (Multi-Moments in Time; Monfort et al. 2019).

    Samples without a positive class are left out; ``without_label`` says how many.

    Raises:
        ValueError: no label is set, scores hold NaN, shapes do not fit.
    """
    values, truth = _multi_label(scores, labels)
    return _mean_of_defined(np.array([_average_precision(*row) for row in zip(values, truth, strict=True)]))


def count_unlabeled(labels: ArrayLike) -> int:
    """How many samples of multi-hot labels (n, classes) have no class; 0 for labels (n,)."""
    truth = np.asarray(labels)
    return int((truth.sum(axis=1) == 0).sum()) if truth.ndim == 2 else 0


def _average_precision(scores: Floats, positive: NDArray[np.bool_]) -> float:
    """Of one ranking: scores (n,) and which of them are positive (n,). NaN where none is."""
    order = np.argsort(-scores, kind="stable")
    last_of_equal = np.append(np.diff(scores[order]) != 0, True)  # equal scores are one threshold
    found = np.cumsum(positive[order])[last_of_equal]
    if found[-1] == 0:
        return np.nan
    taken = np.flatnonzero(last_of_equal) + 1
    return float(np.sum(found / taken * np.diff(found, prepend=0)) / found[-1])


def _mean_of_defined(values: Floats) -> float:
    if np.isnan(values).all():
        raise ValueError("labels: none is set in any sample, average precision has no value")
    return float(np.nanmean(values))


def _single_label(scores: ArrayLike, labels: ArrayLike) -> tuple[Floats, Ints]:
    values, truth = np.asarray(scores, np.float64), np.asarray(labels)
    if values.ndim != 2 or truth.shape != values.shape[:1] or len(truth) == 0:
        raise ValueError(f"scores {values.shape} and labels {truth.shape}: must be (n, classes) and (n,), n > 0")
    _refuse_nan(values)
    numbers = truth.astype(np.int64)
    if numbers.min() < 0 or numbers.max() >= values.shape[1]:
        raise ValueError(f"labels {numbers.min()}..{numbers.max()}: must be class numbers 0..{values.shape[1] - 1}")
    return values, numbers


def _multi_label(scores: ArrayLike, labels: ArrayLike) -> tuple[Floats, NDArray[np.bool_]]:
    values, truth = np.asarray(scores, np.float64), np.asarray(labels)
    if truth.ndim == 1:
        values, numbers = _single_label(scores, labels)
        return values, np.arange(values.shape[1]) == numbers[:, None]
    if values.ndim != 2 or truth.shape != values.shape or len(truth) == 0:
        raise ValueError(f"scores {values.shape} and labels {truth.shape}: must both be (n, classes), n > 0")
    _refuse_nan(values)
    if not np.isin(truth, (0, 1)).all():
        raise ValueError("labels: multi-hot labels must be 0 or 1")
    return values, truth == 1


def _refuse_nan(values: Floats) -> None:
    bad = np.flatnonzero(np.isnan(values).any(axis=1))
    if len(bad):
        raise ValueError(f"scores of {len(bad)} samples hold NaN, the first is sample {bad[0]}")
