"""The predictions of a model for a split; for recognition, also the metrics computed from them. NumPy only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from vexp.core.errors import UserError
from vexp.evaluation.config import Eval
from vexp.evaluation.metrics import Ints, ScoredVideos


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitPredictions:
    """Predictions for n samples of a split; each task has a class of its own."""

    ids: NDArray[np.int64]  # (n,), indices of the samples in their source, ascending
    loss: float
    unscored: dict[int, str] = field(default_factory=dict)  # ids of the split's unreadable videos, with the errors

    @property
    def counted(self) -> str:
        """The number of videos as text: ``8 videos``, or ``7 of 8 videos``."""
        n, rest = len(self.ids), len(self.unscored)
        return f"{n} of {n + rest} videos" if rest else f"{n} videos"


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions(SplitPredictions):
    """Predictions of a classifier; ``loss`` is that of the view-averaged logits."""

    labels: NDArray[np.int64] | NDArray[np.float32]  # (n,), or multi-hot (n, classes)
    scores: NDArray[np.float64]  # (n, classes), probabilities, which do not sum to 1 with max_prob
    views: int  # per video
    view_logits: NDArray[np.float32] | None = None  # (n, views, classes), if they are kept

    @property
    def multi_label(self) -> bool:
        """Whether a video may have several labels."""
        return self.labels.ndim == 2


def measure(predictions: Predictions, options: Eval) -> dict[str, float]:
    """Compute the metrics of ``eval.metrics``, in that order, then the loss.

    Raises:
        UserError: If a metric is undefined: scores contain NaN, or no label is set.
    """
    all_videos = np.arange(len(predictions.labels))
    try:
        results = {name: result(all_videos) for name, result in result_functions(predictions, options).items()}
    except ValueError as error:
        raise UserError(f"evaluation: {error}") from error
    return results | {"loss": predictions.loss}


def result_functions(predictions: Predictions, options: Eval) -> dict[str, Callable[[Ints], float]]:
    """Return each result but the loss as a function of video indices (int64 (m,), repeats allowed).

    What does not depend on the indices (the rank of each label ...) is computed once, so that a thousand resamples are
    affordable.
    """
    videos = ScoredVideos(predictions.scores, predictions.labels)
    return {name: partial(value, videos) for name, value in options.result_functions().items()}
