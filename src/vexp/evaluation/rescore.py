"""Scores, metrics and confidence intervals computed again from view logits, with other options."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vexp.core.errors import UserError
from vexp.evaluation.config import Eval
from vexp.evaluation.predictions import Predictions, measure, result_functions
from vexp.evaluation.report import write_report
from vexp.evaluation.view_logits import ViewLogits
from vexp.evaluation.view_reduction import reduce_views

_CHUNK = 256  # videos reduced at once, in float64
CONFIDENCE = 0.95
SEED = 0


class ConfidenceInterval(NamedTuple):
    """A confidence interval with respect to the choice of videos, at level ``CONFIDENCE``."""

    low: float
    high: float


def rescore(saved: ViewLogits, options: Eval) -> Predictions:
    """Return the predictions that an evaluation with these ``options`` makes from the same logits."""
    multi_label = saved.labels.ndim == 2
    if multi_label and (single_label := options.single_label_metrics()):
        raise UserError(f"eval.metrics: {', '.join(single_label)} needs one label per video, these have several")
    parts = [
        reduce_views(saved.logits[start : start + _CHUNK], options.view_reduction, multi_label=multi_label)
        for start in range(0, len(saved.ids), _CHUNK)
    ]
    scores, views = np.concatenate(parts), saved.logits.shape[1]
    return Predictions(ids=saved.ids, labels=saved.labels, scores=scores, loss=saved.loss, views=views)


def bootstrap(
    predictions: Predictions, options: Eval, *, resamples: int, seed: int = SEED
) -> dict[str, ConfidenceInterval]:
    """Compute percentile bootstrap intervals of each metric but the loss (Efron 1979).

    Videos are drawn with replacement ``resamples`` times by a generator with ``seed``. The intervals cover other videos
    of the same kind only: not another training run, nor classes or recording sites that the split does not have. Draws
    for which a metric is undefined (no label is set) are ignored.
    """
    rng, count = np.random.default_rng(seed), len(predictions.labels)
    metrics = result_functions(predictions, options)
    values: dict[str, list[float]] = {name: [] for name in metrics}
    for _ in range(resamples):
        chosen = rng.integers(0, count, count)
        for name, result in metrics.items():
            with suppress(ValueError):
                values[name].append(result(chosen))
    edges = ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)
    return {name: ConfidenceInterval(*map(float, np.quantile(drawn, edges))) for name, drawn in values.items() if drawn}


def rescore_into(
    folder: Path, saved: ViewLogits, options: Eval, *, source: Path, resamples: int
) -> tuple[dict[str, float], dict[str, ConfidenceInterval]]:
    """Score the logits of the file ``source`` again and write the report; return (results, intervals)."""
    predictions = rescore(saved, options)
    results = measure(predictions, options)  # the loss is that of the view-averaged logits, whatever the reduction
    intervals = bootstrap(predictions, options, resamples=resamples)
    protocol = saved.protocol | {
        "view_reduction": options.view_reduction,
        "rescored_from": str(source),
        "intervals": {name: interval._asdict() for name, interval in intervals.items()},
        "bootstrap": {"confidence": CONFIDENCE, "resamples": resamples, "seed": SEED, "of": "videos"},
    }
    names = dict(zip(saved.ids.tolist(), saved.names, strict=True))
    write_report(
        folder, predictions, results, classes=saved.classes, name=names.__getitem__, protocol=protocol, options=options
    )
    return results, intervals
