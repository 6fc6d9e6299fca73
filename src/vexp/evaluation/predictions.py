"""What a net said about every video of a split, and the results that are measured on it. NumPy only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vexp.core.errors import UserError
from vexp.evaluation.config import Eval
from vexp.evaluation.metrics import (
    balanced_accuracy,
    calibration_error,
    label_ranks,
    mean_average_precision,
    mmit_mean_average_precision,
)

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Predictions:
    """``ids`` int64 (n,) of the samples in their source, ``labels`` int64 (n,) or multi-hot float32 (n, classes),
    ``scores`` float64 (n, classes): probabilities (with max_prob not summing to 1), ``loss`` of the view-averaged
    logits, ``views`` a video, ``view_logits`` float32 (n, views, classes) where they are kept,
    ``unscored``: the ids of the split's other videos, which cannot be read, with the reasons."""

    ids: NDArray[np.int64]
    labels: NDArray[np.int64] | NDArray[np.float32]
    scores: NDArray[np.float64]
    loss: float
    views: int
    view_logits: NDArray[np.float32] | None = None
    unscored: dict[int, str] = field(default_factory=dict)

    @property
    def multi_label(self) -> bool:
        return self.labels.ndim == 2

    @property
    def counted(self) -> str:
        """Of how many videos every result is: ``8 videos``, or ``7 of 8 videos``."""
        n, rest = len(self.labels), len(self.unscored)
        return f"{n} of {n + rest} videos" if rest else f"{n} videos"


def measure(predictions: Predictions, options: Eval) -> dict[str, float]:
    """The results that ``eval.metrics`` names, in that order, then the loss.

    Raises:
        UserError: a metric has no value: scores hold NaN, or no label is set.
    """
    try:
        everything = np.arange(len(predictions.labels))
        results = {name: result(everything) for name, result in bootstrap_metrics(predictions, options).items()}
    except ValueError as error:
        raise UserError(f"evaluation: {error}") from error
    return results | {"loss": predictions.loss}


def bootstrap_metrics(predictions: Predictions, options: Eval) -> dict[str, Callable[[Ints], float]]:
    """Each result but the loss, as a function of the videos that it is measured on (int64 (m,), repeats allowed).

    What does not depend on the choice (the rank of each label ...) is computed once, so that a thousand choices are
    affordable.
    """
    scores, labels = predictions.scores, predictions.labels
    made: dict[str, Callable[[Ints], float]] = {}
    if not predictions.multi_label:
        ranks, confidence, numbers = label_ranks(scores, labels), scores.max(axis=1), labels.astype(np.int64)

    def top(k: int) -> Callable[[Ints], float]:
        return lambda chosen: float(np.mean(ranks[chosen] < k))

    for metric in options.metrics:
        if metric == "top_k_accuracy":
            made |= {f"top{k}_acc": top(k) for k in options.topk}
        elif metric == "mean_class_accuracy":
            made[metric] = lambda chosen: balanced_accuracy(ranks[chosen] == 0, numbers[chosen])
        elif metric == "expected_calibration_error":
            made[metric] = lambda chosen: calibration_error(confidence[chosen], ranks[chosen] == 0)
        elif metric == "mean_average_precision":
            made[metric] = lambda chosen: mean_average_precision(scores[chosen], labels[chosen])
        else:
            made[metric] = lambda chosen: mmit_mean_average_precision(scores[chosen], labels[chosen])
    return made
