"""The ``eval`` group: when a model is evaluated, by what, and which result is the best."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from vexp.core.fields import ValidatedConfig, option
from vexp.core.interval import Interval

#: Metric functions of ``eval.metrics`` and the results they give; ``{k}`` stands for each number of ``eval.topk``.
METRICS: dict[str, tuple[str, ...]] = {
    "top_k_accuracy": ("top{k}_acc",),
    "mean_class_accuracy": ("mean_class_accuracy",),
    "mean_average_precision": ("mean_average_precision",),
    "mmit_mean_average_precision": ("mmit_mean_average_precision",),
    "expected_calibration_error": ("expected_calibration_error",),
}
#: Those that ask which one class a video has.
SINGLE_LABEL = ("top_k_accuracy", "mean_class_accuracy", "expected_calibration_error")
#: Metrics of mmaction2's other tasks, localisation and detection: known, and not built.
_NOT_BUILT = ("AR@AN", "auc", "mAP@0.5IOU")
_SHORT = {"mAP": "mean_average_precision", "mmit_mAP": "mmit_mean_average_precision"}
_GREATER = ("acc", "top", "precision", "map", "auc", "recall", "f1")
_LESS = ("loss", "error")


def greater_by_name(metric: str) -> bool | None:
    """Whether a larger value of ``metric`` is better, by the words of its name; None where they do not tell."""
    words = re.split(r"[^a-z0-9]+", metric.lower())
    if any(word.startswith(_LESS) for word in words):
        return False
    if any(word.startswith(_GREATER) or word.endswith("accuracy") for word in words):
        return True
    return None


def _topk_rule(value: Any) -> str | None:
    numbers = value if isinstance(value, list) else [value]
    if not numbers or any(isinstance(k, bool) or not isinstance(k, int) or k < 1 for k in numbers):
        return "must be a number >= 1 or a list of such numbers"
    return "names a number twice" if len(set(numbers)) < len(numbers) else None


@dataclass(kw_only=True, slots=True)
class Eval(ValidatedConfig):
    """Evaluation during training (mmaction2's ``evaluation``)."""

    start: int | None = option(
        None,
        "first epoch (step) that is evaluated; a run that begins there or later evaluates before training",
        unit="epochs (steps)",
        ge=0,
    )
    interval: int = option(
        1,
        "from one evaluation to the next, counted from start; -1: never",
        unit="epochs (steps)",
    )
    by_epoch: bool = option(True, "start and interval count epochs; false: optimizer steps")
    at_end: bool = option(True, "evaluate after the last step whatever the interval")
    save_best: str | None = option(
        "auto",
        "metric whose best checkpoint is kept; auto: the first result; null: none",
        see=("eval.metrics", "eval.rule"),
    )
    rule: str | None = option(
        None, "which score of save_best is better; null: by the metric's name", choices=("greater", "less")
    )
    patience: int | None = option(
        None,
        "end the run after so many evaluations without a better score of save_best; null: never",
        unit="evaluations",
        ge=1,
    )
    metrics: list[str] = option(
        ["top_k_accuracy", "mean_class_accuracy"], "what is measured beside the loss", choices=tuple(METRICS)
    )
    topk: Any = option([1, 5], "the k of top_k_accuracy, one or a list", accepts="int or list of int", check=_topk_rule)
    view_reduction: str = option(
        "mean_prob",
        "how the views of a video (clips x crops of pipeline.val) become one score",
        choices=("mean_prob", "mean_logit", "max_prob"),
    )
    max_views_per_forward: int | None = option(
        None,
        "views in one forward pass; null: a whole batch (halved while memory is short)",
        unit="views",
        ge=1,
    )
    save_view_logits: bool = option(False, "keep eval/view_logits.npz, for python -m vexp.cli.evaluate rescore=RUN")

    def __post_init__(self) -> None:
        for key, words in (("metrics", self.metrics), ("save_best", [self.save_best])):
            for word in words:
                if word in _NOT_BUILT:
                    raise ValueError(f"{key}={word}: {word} is not built yet; metrics: {', '.join(METRICS)}")
        ValidatedConfig.__post_init__(self)
        self.topk = self.topk if isinstance(self.topk, list) else [self.topk]
        self.every()
        self.best_metric()
        self.greater_is_better()
        if self.patience is not None and self.save_best is None:
            raise ValueError(f"patience={self.patience}: needs the metric that is to improve, save_best is null")

    @property
    def happens(self) -> bool:
        """Whether there is anything to evaluate in a run that is long enough."""
        return self.interval != -1 or self.at_end or self.start is not None

    def every(self) -> Interval:
        return Interval(self.interval, self.by_epoch, self.start)

    def before_training(self, step: int, steps_per_epoch: int) -> bool:
        """Whether a run that begins after ``step`` steps evaluates first: ``start`` is set and has been reached."""
        return self.start is not None and (step // steps_per_epoch if self.by_epoch else step) >= self.start

    def results(self) -> list[str]:
        """Names of all results of one evaluation, in order."""
        return [*(name for metric in self.metrics for name in self._results_of(metric)), "loss"]

    def _results_of(self, metric: str) -> list[str]:
        return [pattern.format(k=k) for pattern in METRICS[metric] for k in (self.topk if "{k}" in pattern else (0,))]

    def best_metric(self) -> str | None:
        """The result that ``save_best`` names."""
        if self.save_best is None:
            return None
        results = self.results()
        if self.save_best == "auto":
            return results[0]
        if self.save_best not in results:
            meant = _SHORT.get(self.save_best, self.save_best)
            source = next((metric for metric in METRICS if meant in self._results_of(metric)), None)
            hint = f" (eval.metrics=[{source}] gives {meant})" if source and source not in self.metrics else ""
            hint = hint or (f"; {meant} is meant?" if meant != self.save_best else "")
            raise ValueError(
                f"save_best={self.save_best}: is no result of eval.metrics; results: {', '.join(results)}{hint}"
            )
        return self.save_best

    def greater_is_better(self, metric: str | None = None) -> bool:
        """Whether a larger score of ``metric`` (``best_metric`` without one) is better.

        For ``best_metric`` it is ``rule`` that says so, else, and for others, the words of the name.
        """
        best = self.best_metric()
        metric = metric or best
        if metric is None or (metric == best and self.rule is not None):
            return self.rule != "less"
        greater = greater_by_name(metric)
        if greater is None:
            raise ValueError(f"save_best={metric}: say eval.rule=greater or eval.rule=less, the name does not tell")
        return greater
