"""The ``eval`` group: when a model is evaluated, with which metrics, and which checkpoint is the best."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vexp.core.errors import ConfigError
from vexp.core.fields import ValidatedConfig, option
from vexp.core.interval import Interval
from vexp.evaluation.metrics import METRICS, Ints, ScoredVideos, metric_results

#: Metrics of mmaction2's other tasks, localization and detection, which are not implemented yet.
_NOT_IMPLEMENTED = ("AR@AN", "auc", "mAP@0.5IOU")
_SHORT = {"mAP": "mean_average_precision", "mmit_mAP": "mmit_mean_average_precision"}
_GREATER = ("acc", "top", "precision", "map", "auc", "recall", "f1")
_LESS = ("loss", "error")


def greater_by_name(metric: str) -> bool | None:
    """Return whether a larger value is better: by ``METRICS``, else by the name; None if that is not clear."""
    if metric in METRICS:
        return METRICS[metric].greater
    words = re.split(r"[^a-z0-9]+", metric.lower())
    if any(word.startswith(_LESS) for word in words):
        return False
    return True if any(word.startswith(_GREATER) or word.endswith("accuracy") for word in words) else None


def _topk_rule(value: Any) -> str | None:
    numbers = value if isinstance(value, list) else [value]
    if not numbers or any(isinstance(k, bool) or not isinstance(k, int) or k < 1 for k in numbers):
        return "must be a number >= 1 or a list of such numbers"
    return "must not contain a number twice" if len(set(numbers)) < len(numbers) else None


@dataclass(kw_only=True, slots=True)
class Eval(ValidatedConfig):
    """Evaluation during training (mmaction2's ``evaluation``)."""

    start: int | None = option(
        None,
        "First epoch (step) to evaluate; a run that starts there or later evaluates before training.",
        unit="epochs (steps)",
        ge=0,
    )
    interval: int = option(
        1, "Epochs (steps) between evaluations, counted from start; -1: never.", unit="epochs (steps)"
    )
    by_epoch: bool = option(True, "start and interval count epochs; false: optimizer steps.")
    at_end: bool = option(True, "Evaluate after the last step whatever the interval.")
    save_best: str | None = option(
        "auto",
        "Metric whose best checkpoint is kept; auto: the first one; null: none.",
        see=("eval.metrics", "eval.rule"),
    )
    rule: str | None = option(
        None, "Which score of save_best is better; null: inferred from the metric's name.", choices=("greater", "less")
    )
    patience: int | None = option(
        None,
        "Stop training after this many evaluations without improvement of save_best; null: never.",
        unit="evaluations",
        ge=1,
    )
    metrics: list[str] = option(
        ["top_k_accuracy", "mean_class_accuracy"], "Metrics to compute besides the loss.", choices=tuple(METRICS)
    )
    topk: Any = option(
        [1, 5], "The k of top_k_accuracy, one or a list.", accepts="int or list of int", check=_topk_rule
    )
    view_reduction: str = option(
        "mean_prob",
        "How the views of a video (clips x crops of pipeline.val) are reduced to one score.",
        choices=("mean_prob", "mean_logit", "max_prob"),
    )
    max_views_per_forward: int | None = option(
        None, "Views in one forward pass; null: a whole batch (halved if memory runs out).", unit="views", ge=1
    )
    save_view_logits: bool = option(False, "Save eval/view_logits.npz for vexp evaluate rescore=RUN.")

    def __post_init__(self) -> None:
        for key, name in (*(("metrics", name) for name in self.metrics), ("save_best", self.save_best)):
            if name in _NOT_IMPLEMENTED:
                rule = f"{name} is not implemented yet; metrics: {', '.join(METRICS)}"
                raise ConfigError(rule, key=key, value=name)
        ValidatedConfig.__post_init__(self)
        self.topk = self.topk if isinstance(self.topk, list) else [self.topk]
        self.every()
        self.best_metric()
        self.greater_is_better()
        if self.patience is not None and self.save_best is None:
            raise ConfigError("needs a metric to improve, but save_best is null", key="patience", value=self.patience)

    @property
    def happens(self) -> bool:
        """Whether a run that is long enough evaluates at all."""
        return self.interval != -1 or self.at_end or self.start is not None

    def every(self) -> Interval:
        """Return the interval of evaluations during training."""
        return Interval(self.interval, self.by_epoch, self.start)

    def before_training(self, step: int, steps_per_epoch: int) -> bool:
        """Return whether a run that starts after ``step`` steps evaluates first: whether ``start`` is reached."""
        return self.start is not None and (step // steps_per_epoch if self.by_epoch else step) >= self.start

    def results(self) -> list[str]:
        """Return the names of all results of an evaluation, in order."""
        return [*self.result_functions(), "loss"]

    def result_functions(self) -> dict[str, Callable[[ScoredVideos, Ints], float]]:
        """Return the results of ``metrics`` by name (``metric_results``), in order."""
        return {name: value for metric in self.metrics for name, value in metric_results(metric, self.topk).items()}

    def single_label_metrics(self) -> list[str]:
        """Return those of ``metrics`` that need one label per video."""
        return [metric for metric in self.metrics if METRICS[metric].single_label]

    def best_metric(self) -> str | None:
        """Return the result that ``save_best`` refers to."""
        if self.save_best is None:
            return None
        results = self.results()
        if self.save_best == "auto":
            return results[0]
        if self.save_best not in results:
            meant = _SHORT.get(self.save_best, self.save_best)
            source = next((metric for metric in METRICS if meant in metric_results(metric, self.topk)), None)
            hint = f" (eval.metrics=[{source}] gives {meant})" if source and source not in self.metrics else ""
            hint = hint or (f"; did you mean {meant}?" if meant != self.save_best else "")
            rule = f"is not a result of eval.metrics; results: {', '.join(results)}"
            raise ConfigError(rule, key="save_best", value=self.save_best, hint=hint)
        return self.save_best

    def greater_is_better(self, metric: str | None = None) -> bool:
        """Return whether a larger score of ``metric`` (default: ``best_metric``) is better.

        ``rule`` decides for ``best_metric`` if it is set; otherwise the name of the metric does.
        """
        best = self.best_metric()
        metric = metric or best
        if metric is None or (metric == best and self.rule is not None):
            return self.rule != "less"
        greater = greater_by_name(metric)
        if greater is None:
            rule = "its name does not show which score is better; set eval.rule=greater or eval.rule=less"
            raise ConfigError(rule, key="save_best", value=metric)
        return greater
