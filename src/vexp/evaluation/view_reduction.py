"""The views of a video (clips x crops) become one row of scores."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def reduce_views(logits: NDArray[np.float32], reduction: str, *, multi_label: bool) -> NDArray[np.float64]:
    """Logits (n, V, classes) -> scores float64 (n, classes).

    Probabilities are a softmax over the classes, or with ``multi_label`` a sigmoid of each class.

    Args:
        logits: as the net gives them, for each of V views.
        reduction: ``mean_prob`` (mean of the views' probabilities), ``mean_logit`` (probabilities of the mean logits),
            ``max_prob`` (each class's highest probability: with softmax the scores of a video then exceed 1 in sum).
        multi_label: a video may have several classes, or none.
    """
    probabilities = sigmoid if multi_label else softmax
    values = logits.astype(np.float64)  # a sum of float32 would depend on the order of the views
    if reduction == "mean_logit":
        return probabilities(values.mean(axis=1))
    views = probabilities(values)
    reduced: NDArray[np.float64] = views.mean(axis=1) if reduction == "mean_prob" else views.max(axis=1)
    return reduced


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares: NDArray[np.float64] = powers / powers.sum(axis=-1, keepdims=True)
    return shares


def sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 / (1 + exp(-x)), without overflow."""
    power = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1 / (1 + power), power / (1 + power))
