"""The predictions of a model for a split, and the metrics computed from them. NumPy only."""

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
    """Predictions for n videos of a split.

    Attributes:
        ids: int64 (n,), indices of the samples in their source.
        labels: int64 (n,), or multi-hot float32 (n, classes).
        scores: float64 (n, classes), probabilities (which do not sum to 1 with max_prob).
        loss: Loss of the view-averaged logits.
        views: Number of views per video.
        view_logits: float32 (n, views, classes), if they are kept.
        unscored: Ids of the split's unreadable videos, with the errors.
    """

    ids: NDArray[np.int64]
    labels: NDArray[np.int64] | NDArray[np.float32]
    scores: NDArray[np.float64]
    loss: float
    views: int
    view_logits: NDArray[np.float32] | None = None
    unscored: dict[int, str] = field(default_factory=dict)

    @property
    def multi_label(self) -> bool:
        """Whether a video may have several labels."""
        return self.labels.ndim == 2

    @property
    def counted(self) -> str:
        """The number of videos as text: ``8 videos``, or ``7 of 8 videos``."""
        n, rest = len(self.labels), len(self.unscored)
        return f"{n} of {n + rest} videos" if rest else f"{n} videos"


def measure(predictions: Predictions, options: Eval) -> dict[str, float]:
    """Compute the metrics of ``eval.metrics``, in that order, then the loss.

    Raises:
        UserError: If a metric is undefined: scores contain NaN, or no label is set.
    """
    try:
        all_videos = np.arange(len(predictions.labels))
        results = {name: result(all_videos) for name, result in bootstrap_metrics(predictions, options).items()}
    except ValueError as error:
        raise UserError(f"evaluation: {error}") from error
    return results | {"loss": predictions.loss}


def bootstrap_metrics(predictions: Predictions, options: Eval) -> dict[str, Callable[[Ints], float]]:
    """Return each metric but the loss as a function of video indices (int64 (m,), repeats allowed).

    Everything that does not depend on the indices (the rank of each label ...) is computed once, so that a thousand
    resamples are affordable.
    """
    scores, labels = predictions.scores, predictions.labels
    metrics: dict[str, Callable[[Ints], float]] = {}
    if not predictions.multi_label:
        ranks, confidence, indices = label_ranks(scores, labels), scores.max(axis=1), labels.astype(np.int64)

    def top(k: int) -> Callable[[Ints], float]:
        return lambda chosen: float(np.mean(ranks[chosen] < k))

    for metric in options.metrics:
        if metric == "top_k_accuracy":
            metrics |= {f"top{k}_acc": top(k) for k in options.topk}
        elif metric == "mean_class_accuracy":
            metrics[metric] = lambda chosen: balanced_accuracy(ranks[chosen] == 0, indices[chosen])
        elif metric == "expected_calibration_error":
            metrics[metric] = lambda chosen: calibration_error(confidence[chosen], ranks[chosen] == 0)
        elif metric == "mean_average_precision":
            metrics[metric] = lambda chosen: mean_average_precision(scores[chosen], labels[chosen])
        elif metric == "mmit_mean_average_precision":
            metrics[metric] = lambda chosen: mmit_mean_average_precision(scores[chosen], labels[chosen])
        else:  # a metric added to METRICS alone must not get the interval of another
            raise NotImplementedError(f"bootstrap_metrics has no case for {metric}")
    return metrics
