"""Confidence intervals of metrics by resampling the videos (bootstrap)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vexp.evaluation.detections import Floats
from vexp.tools.score.scored import Scored


def bootstrap(scored: Sequence[Scored], resamples: int, seed: int) -> list[dict[str, Floats]]:
    """Return the metrics of each result file for the same resamples of the videos, each float64 (resamples,)."""
    rng = np.random.default_rng(seed)
    videos = scored[0].videos
    draws: list[list[dict[str, float]]] = [[] for _ in scored]
    for _ in range(resamples):
        weights = np.bincount(rng.integers(0, videos, videos), minlength=videos)
        for results, one in zip(draws, scored, strict=True):
            results.append(one.measure(weights))
    return [{name: np.array([result[name] for result in results]) for name in results[0]} for results in draws]


def interval(values: Floats) -> tuple[float, float]:
    """Return the 2.5 % and 97.5 % quantiles of resampled values that are defined."""
    low, high = np.nanquantile(values, [0.025, 0.975])
    return float(low), float(high)
