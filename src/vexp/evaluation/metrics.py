"""Metrics: pure NumPy functions of scores (n, classes) and labels.

Ties: of equal scores the lower class index ranks first, in every metric; for average precision, which ranks samples and
not classes, equal scores form one threshold. NaN scores raise a ValueError.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, TypeAlias

from vexp.core.lazy import np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

Floats: TypeAlias = "NDArray[np.float64]"
Ints: TypeAlias = "NDArray[np.int64]"


def top_k_accuracy(scores: ArrayLike, labels: ArrayLike, topk: Sequence[int] = (1, 5)) -> list[float]:
    """Return the share of samples whose label is among the k highest scores, for each k of ``topk``.

    Scores are float (n, classes), labels int (n,); k >= classes gives 1.
    """
    ranks = label_ranks(scores, labels)
    return [float(np.mean(ranks < k)) for k in topk]


def label_ranks(scores: ArrayLike, labels: ArrayLike) -> Ints:
    """Return how many classes rank before the label, int64 (n,): 0 if the prediction is correct."""
    values, truth = _single_label(scores, labels)
    own = values[np.arange(len(truth)), truth][:, None]
    earlier = np.arange(values.shape[1]) < truth[:, None]
    ranks: Ints = np.sum((values > own) | ((values == own) & earlier), axis=1, dtype=np.int64)
    return ranks


def confusion_matrix(scores: ArrayLike, labels: ArrayLike) -> Ints:
    """Return counts (classes, classes): row = label, column = predicted class."""
    values, truth = _single_label(scores, labels)
    matrix = np.zeros((values.shape[1],) * 2, np.int64)
    np.add.at(matrix, (truth, values.argmax(axis=1)), 1)  # argmax returns the first of equal scores
    return matrix


def class_accuracy(matrix: Ints) -> Floats:
    """Return the accuracy of each class, float64 (classes,); NaN for a class without samples."""
    counts = matrix.sum(axis=1)
    result = np.full(len(matrix), np.nan)
    np.divide(matrix.diagonal(), counts, out=result, where=counts > 0)
    return result


def mean_class_accuracy(scores: ArrayLike, labels: ArrayLike, *, count_predicted_only: bool = False) -> float:
    """Return the mean accuracy of the classes that occur in the labels (scikit-learn's balanced accuracy).

    Scores are float (n, classes), labels int (n,). With ``count_predicted_only`` classes that are predicted but do not
    occur count as 0, as in mmaction2.
    """
    values, truth = _single_label(scores, labels)
    predicted = values.argmax(axis=1)
    mean = balanced_accuracy(predicted == truth, truth)
    occurring = len(np.unique(truth))
    return mean * occurring / len(np.union1d(truth, predicted)) if count_predicted_only else mean


def balanced_accuracy(correct: NDArray[np.bool_], labels: Ints) -> float:
    """Return the mean class accuracy from the labels (n,) and whether each prediction is correct (n,)."""
    counts = np.bincount(labels)
    hits = np.bincount(labels, correct)
    return float(np.mean(hits[counts > 0] / counts[counts > 0]))


def expected_calibration_error(scores: ArrayLike, labels: ArrayLike, *, bins: int = 15) -> float:
    """Return the expected calibration error: the mean over samples of |accuracy - confidence| of their bin.

    Bins have equal width and include their upper edge (Guo et al. 2017, On Calibration of Modern Neural Networks).
    Scores are probabilities (n, classes), 0..1, of which the highest one is the confidence; labels are int (n,).
    """
    values, truth = _single_label(scores, labels)
    return calibration_error(values.max(axis=1), values.argmax(axis=1) == truth, bins=bins)


def calibration_error(confidence: Floats, correct: NDArray[np.bool_], *, bins: int = 15) -> float:
    """Return the expected calibration error from the confidence (n,) and whether each prediction is correct (n,)."""
    low, high = confidence.min(), confidence.max()
    if low < 0 or high > 1 + 1e-6:
        raise ValueError(f"scores {low:g}..{high:g}: calibration error needs probabilities, 0..1")
    bin_index = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    gaps = np.bincount(bin_index, correct.astype(np.float64) - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(confidence))


def average_precision(scores: ArrayLike, labels: ArrayLike) -> Floats:
    """Return the average precision of each class, float64 (classes,); NaN for a class without a positive sample.

    The sum over thresholds of precision x step in recall, not interpolated (scikit-learn's average_precision_score).
    Scores are float (n, classes) of any range, labels multi-hot (n, classes) of 0 and 1, or int (n,).
    """
    values, truth = _multi_label(scores, labels)
    return np.array([_average_precision(values[:, c], truth[:, c]) for c in range(values.shape[1])])


def mean_average_precision(scores: ArrayLike, labels: ArrayLike) -> float:
    """Return the mean of ``average_precision`` over the classes that have a positive sample (mAP)."""
    return _mean_of_defined(average_precision(scores, labels))


def mmit_mean_average_precision(scores: ArrayLike, labels: ArrayLike) -> float:
    """Return the mean over samples of the average precision of their classes (Multi-Moments in Time).

    Monfort et al. 2019. Samples without a positive class are ignored; ``count_unlabeled`` counts them.

    Raises:
        ValueError: If no label is set, scores contain NaN, or shapes do not match.
    """
    values, truth = _multi_label(scores, labels)
    return _mean_of_defined(np.array([_average_precision(*row) for row in zip(values, truth, strict=True)]))


def count_unlabeled(labels: ArrayLike) -> int:
    """Count the samples of multi-hot labels (n, classes) that have no class; 0 for labels (n,)."""
    truth = np.asarray(labels)
    return int((truth.sum(axis=1) == 0).sum()) if truth.ndim == 2 else 0


def _average_precision(scores: Floats, positive: NDArray[np.bool_]) -> float:
    """Return the average precision of scores (n,) of which some are positive (n,); NaN if none is."""
    order = np.argsort(-scores, kind="stable")
    last_of_equal = np.append(np.diff(scores[order]) != 0, True)  # equal scores form one threshold
    hits = np.cumsum(positive[order])[last_of_equal]
    if hits[-1] == 0:
        return np.nan
    taken = np.flatnonzero(last_of_equal) + 1
    return float(np.sum(hits / taken * np.diff(hits, prepend=0)) / hits[-1])


def _mean_of_defined(values: Floats) -> float:
    if np.isnan(values).all():
        raise ValueError("labels: no sample has a label, so average precision is undefined")
    return float(np.nanmean(values))


def _single_label(scores: ArrayLike, labels: ArrayLike) -> tuple[Floats, Ints]:
    values, truth = np.asarray(scores, np.float64), np.asarray(labels)
    if values.ndim != 2 or truth.shape != values.shape[:1] or len(truth) == 0:
        raise ValueError(f"scores {values.shape} and labels {truth.shape}: must be (n, classes) and (n,), n > 0")
    _check_no_nan(values)
    indices = truth.astype(np.int64)
    if indices.min() < 0 or indices.max() >= values.shape[1]:
        raise ValueError(f"labels {indices.min()}..{indices.max()}: must be class indices 0..{values.shape[1] - 1}")
    return values, indices


def _multi_label(scores: ArrayLike, labels: ArrayLike) -> tuple[Floats, NDArray[np.bool_]]:
    values, truth = np.asarray(scores, np.float64), np.asarray(labels)
    if truth.ndim == 1:
        values, indices = _single_label(scores, labels)
        return values, np.arange(values.shape[1]) == indices[:, None]
    if values.ndim != 2 or truth.shape != values.shape or len(truth) == 0:
        raise ValueError(f"scores {values.shape} and labels {truth.shape}: must both be (n, classes), n > 0")
    _check_no_nan(values)
    if not np.isin(truth, (0, 1)).all():
        raise ValueError("labels: multi-hot labels must be 0 or 1")
    return values, truth == 1


def _check_no_nan(values: Floats) -> None:
    bad = np.flatnonzero(np.isnan(values).any(axis=1))
    if len(bad):
        raise ValueError(f"scores of {len(bad)} samples contain NaN, the first is sample {bad[0]}")


@dataclass
class ScoredVideos:
    """Scores (n, classes) and labels of n videos, and what several metrics need of each video."""

    scores: Floats
    labels: NDArray[Any]

    @cached_property
    def ranks(self) -> Ints:
        """``label_ranks``, int64 (n,)."""
        return label_ranks(self.scores, self.labels)

    @cached_property
    def confidence(self) -> Floats:
        """The highest score of each video, float64 (n,)."""
        return np.asarray(self.scores.max(axis=1))


@dataclass(frozen=True)
class Metric:
    """A row of ``METRICS``.

    Attributes:
        value: Function of ``ScoredVideos`` and the indices of those that count, int64 (m,), repeats allowed.
        single_label: Whether it needs one label per video.
        result: Name of its result, by default that of the metric; with ``{k}`` there is one for each ``k`` of
            ``eval.topk``, and ``value`` has the argument ``k``.
        greater: Whether larger values are better.
    """

    value: Callable[..., float]
    single_label: bool = False
    result: str = ""
    greater: bool = True


#: The metrics of ``eval.metrics``. A new one is a function of scores and labels, and a row here.
METRICS = {
    "top_k_accuracy": Metric(lambda v, i, k: float(np.mean(v.ranks[i] < k)), single_label=True, result="top{k}_acc"),
    "mean_class_accuracy": Metric(lambda v, i: balanced_accuracy(v.ranks[i] == 0, v.labels[i]), single_label=True),
    "mean_average_precision": Metric(lambda v, i: mean_average_precision(v.scores[i], v.labels[i])),
    "mmit_mean_average_precision": Metric(lambda v, i: mmit_mean_average_precision(v.scores[i], v.labels[i])),
    "expected_calibration_error": Metric(
        lambda v, i: calibration_error(v.confidence[i], v.ranks[i] == 0), single_label=True, greater=False
    ),
}


def metric_results(metric: str, topk: Sequence[int]) -> dict[str, Callable[[ScoredVideos, Ints], float]]:
    """Return the results of a metric by name, as functions of videos and of the indices of those that count."""
    row = METRICS[metric]
    if "{k}" not in row.result:
        return {row.result or metric: row.value}
    return {row.result.format(k=k): partial(row.value, k=k) for k in topk}
