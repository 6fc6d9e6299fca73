"""Scores and results again, from the logits of the views: other reductions, other metrics, and how sure they are."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from vexp.core.errors import UserError
from vexp.evaluation.config import SINGLE_LABEL, Eval
from vexp.evaluation.predictions import Predictions, bootstrap_metrics, measure
from vexp.evaluation.report import write_report
from vexp.evaluation.view_logits import ViewLogits
from vexp.evaluation.view_reduction import reduce_views

_AT_A_TIME = 256  # videos reduced in one go, in float64
CONFIDENCE = 0.95
SEED = 0


@dataclass(frozen=True, slots=True)
class Interval:
    """Where a result lies with a probability of ``CONFIDENCE``, as far as the choice of videos goes."""

    low: float
    high: float


def rescore(saved: ViewLogits, options: Eval) -> Predictions:
    """The predictions that an evaluation with these ``options`` would have made of the same logits."""
    multi_label = saved.labels.ndim == 2
    wrong = [metric for metric in options.metrics if multi_label and metric in SINGLE_LABEL]
    if wrong:
        raise UserError(f"eval.metrics: {', '.join(wrong)} asks for one label a video, these have several")
    parts = [
        reduce_views(saved.logits[start : start + _AT_A_TIME], options.view_reduction, multi_label=multi_label)
        for start in range(0, len(saved.ids), _AT_A_TIME)
    ]
    return Predictions(saved.ids, saved.labels, np.concatenate(parts), saved.loss, saved.logits.shape[1])


def bootstrap(predictions: Predictions, options: Eval, *, resamples: int, seed: int = SEED) -> dict[str, Interval]:
    """Percentile intervals of each result but the loss (Efron 1979): videos drawn with replacement, ``resamples``
    times, by a generator of ``seed``.

    It speaks of other videos of the same kind and nothing else: not of another training, and not of classes or
    recording places that the split does not have. A draw in which a result has no value (no label is set) is left out.
    """
    rng = np.random.default_rng(seed)
    count = len(predictions.labels)
    made = bootstrap_metrics(predictions, options)
    values: dict[str, list[float]] = {name: [] for name in made}
    for _ in range(resamples):
        chosen = rng.integers(0, count, count)
        for name, result in made.items():
            try:
                values[name].append(result(chosen))
            except ValueError:
                continue
    edges = ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)
    return {name: Interval(*map(float, np.quantile(drawn, edges))) for name, drawn in values.items() if drawn}


def rescore_into(
    folder: Path, saved: ViewLogits, options: Eval, *, source: Path, resamples: int
) -> tuple[dict[str, float], dict[str, Interval]]:
    """Score the logits of the file ``source`` again and write the report, the intervals in it; (results, intervals)."""
    predictions = rescore(saved, options)
    results = measure(predictions, options)  # the loss is of the view-averaged logits, whatever the reduction
    intervals = bootstrap(predictions, options, resamples=resamples)
    protocol = saved.protocol | {
        "view_reduction": options.view_reduction,
        "rescored_from": str(source),
        "intervals": {name: asdict(interval) for name, interval in intervals.items()},
        "bootstrap": {"confidence": CONFIDENCE, "resamples": resamples, "seed": SEED, "of": "videos"},
    }
    names = dict(zip(saved.ids.tolist(), saved.names, strict=True))
    write_report(
        folder, predictions, results,
        classes=saved.classes, name=names.__getitem__, protocol=protocol, options=options,
    )  # fmt: skip
    return results, intervals
