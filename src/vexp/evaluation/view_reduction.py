"""Reduction of the views of a video (clips x crops) to one row of scores."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def reduce_views(logits: NDArray[np.float32], reduction: str, *, multi_label: bool) -> NDArray[np.float64]:
    """Reduce logits (n, V, classes) to scores float64 (n, classes).

    Probabilities are a softmax over the classes, or with ``multi_label`` a sigmoid of each class. The reduction is
    ``mean_prob`` (mean of the views' probabilities), ``mean_logit`` (probabilities of the mean logits) or ``max_prob``
    (highest probability of each class; with softmax the scores of a video then sum to more than 1).
    """
    probabilities = sigmoid if multi_label else softmax
    values = logits.astype(np.float64)  # a sum in float32 would depend on the order of the views
    if reduction == "mean_logit":
        return probabilities(values.mean(axis=1))
    views = probabilities(values)
    reduced: NDArray[np.float64] = views.mean(axis=1) if reduction == "mean_prob" else views.max(axis=1)
    return reduced


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the softmax over the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares: NDArray[np.float64] = powers / powers.sum(axis=-1, keepdims=True)
    return shares


def sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 1 / (1 + exp(-x)) without overflow."""
    power = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1 / (1 + power), power / (1 + power))
