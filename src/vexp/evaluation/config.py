"""The ``eval`` group: when a model is evaluated, with which metrics, and which checkpoint is the best."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from vexp.core.errors import ConfigError
from vexp.core.fields import ValidatedConfig, option
from vexp.core.interval import Interval
from vexp.evaluation.metrics import METRICS, Ints, ScoredVideos, metric_results

#: (task, mmaction2's name of a result) -> its name here.
_SHORT = {
    ("recognition", "mAP"): "mean_average_precision", ("recognition", "mmit_mAP"): "mmit_mean_average_precision",
    ("localization", "AR@AN"): "AR@100",
}  # fmt: skip
_ALIAS = ("localization", "AR@AN")  # may be chosen: mmaction2's documentation lists it
RECALL_NUMBERS = (1, 5, 10, 100)
#: The metrics of other tasks than recognition, and the names of their results.
TASK_METRICS: dict[str, dict[str, Callable[[Eval], list[str]]]] = {
    "localization": {
        "AR@AN": lambda options: [*(f"AR@{number}" for number in RECALL_NUMBERS), "auc"],
        "mAP": lambda options: [*(f"mAP@{tiou:g}" for tiou in options.tious), "mAP"],
    },
    "detection": {"mAP@0.5IOU": lambda options: ["mAP@0.5IOU"]},
}
#: Data options of these tasks, for messages.
_DATA_OF_TASK = {
    "recognition": "motion, folder, video_list", "localization": "motion_segments, activitynet, thumos",
    "detection": "motion_boxes, ava",
}  # fmt: skip
_GREATER = ("acc", "top", "precision", "map", "auc", "recall", "f1")
_LESS = ("loss", "error")


def greater_by_name(metric: str) -> bool | None:
    """Return whether a larger value is better: by ``METRICS``, else by the name; None if that is not clear."""
    if metric in METRICS:
        return METRICS[metric].greater
    words = re.split(r"[^a-z0-9]+", metric.lower())
    if any(word.startswith(_LESS) for word in words):
        return False
    is_greater = any(word.startswith(_GREATER) or word.endswith("accuracy") or word == "ar" for word in words)
    return True if is_greater else None


def _topk_rule(value: Any) -> str | None:
    numbers = value if isinstance(value, list) else [value]
    if not numbers or any(isinstance(k, bool) or not isinstance(k, int) or k < 1 for k in numbers):
        return "must be a number >= 1 or a list of such numbers"
    return "must not contain a number twice" if len(set(numbers)) < len(numbers) else None


def metrics_of(task: Any) -> Mapping[str, Callable[[Eval], Sequence[str]]]:
    """Return the metrics of a task, its name or the class of a plugin, as functions to the names of their results."""
    if task == "recognition":
        return {metric: partial(_recognition_results, metric) for metric in METRICS}
    if task in TASK_METRICS:
        return TASK_METRICS[task]
    return {metric: partial(_fixed_results, tuple(names)) for metric, names in task.metrics.items()}


def _recognition_results(metric: str, options: Eval) -> list[str]:
    return list(metric_results(metric, options.topk))


def _fixed_results(names: Sequence[str], options: Eval) -> Sequence[str]:
    return names


def _names(task: str) -> list[str]:
    """Return the names of all metrics of a task and of their results with default options."""
    return [*metrics_of(task), *(name for results in metrics_of(task).values() for name in results(Eval()))]


def _other_task(name: str, task: Any) -> str:
    """Return a hint for a metric or result of another task than that of the data; empty if there is none."""
    others = (other for other in _DATA_OF_TASK if other != task)
    found = next((other for other in others if name in _names(other)), None)
    this = task if isinstance(task, str) else task.name
    return f"; {name} is of {found}, but the data is for {this}; use data={_DATA_OF_TASK[found]}" if found else ""


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
        "Metric whose best checkpoint is kept; auto: the first one (localization: auc or mAP); null: none.",
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
        ["top_k_accuracy", "mean_class_accuracy"],
        f"Metrics to compute besides the loss. Recognition: {', '.join(METRICS)}; localization: AR@AN, mAP; detection: "
        "mAP@0.5IOU.",
    )
    topk: Any = option(
        [1, 5], "The k of top_k_accuracy, one or a list.", accepts="int or list of int", check=_topk_rule
    )
    tious: list[float] = option(
        [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95], "Thresholds of temporal IoU of localization.",
        gt=0, le=1,
    )  # fmt: skip
    empty_frames: str = option(
        "ignore", "Detections in key frames without ground truth: not counted, or false positives (mmaction2 0.x).",
        choices=("ignore", "count"),
    )  # fmt: skip
    rounding: int | None = option(
        None, "Decimals to which boxes and scores are rounded before ranking (mmaction2 0.x: 3); null: none.",
        ge=0, le=15,
    )  # fmt: skip
    view_reduction: str = option(
        "mean_prob",
        "How the views of a video (clips x crops of pipeline.val) are reduced to one score.",
        choices=("mean_prob", "mean_logit", "max_prob"),
    )
    max_views_per_forward: int | None = option(
        None, "Views in one forward pass; null: a whole batch (halved if memory runs out).", unit="views", ge=1
    )
    precise_bn: int | None = option(
        None,
        "Training steps whose batches give the statistics of the batch norms for an evaluation; the weights are not "
        "updated. null: running means.",
        unit="steps",
        ge=1,
    )
    save_view_logits: bool = option(False, "Save eval/view_logits.npz for vexp evaluate rescore=RUN.")

    def __post_init__(self) -> None:
        ValidatedConfig.__post_init__(self)
        self.topk = self.topk if isinstance(self.topk, list) else [self.topk]
        self.every()
        if self.patience is not None and self.save_best is None:
            raise ConfigError("needs a metric to improve, but save_best is null", key="patience", value=self.patience)

    def check_metrics(self, task: Any) -> None:
        """Check that ``metrics`` and ``save_best`` are those of a task: its name, or the class of a plugin.

        Raises:
            ConfigError: If they are not.
        """
        known = list(metrics_of(task))
        if unknown := [metric for metric in self.metrics if metric not in known]:
            hint = _other_task(unknown[0], task)
            raise ConfigError(f"must be one of {', '.join(known)}", key="metrics", value=self.metrics, hint=hint)
        self.best_metric(task)
        self.greater_is_better(task=task)

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

    def results(self, task: Any = "recognition") -> list[str]:
        """Return the names of all results of an evaluation, in order; metrics of other tasks have none."""
        known = metrics_of(task)
        return [*(name for metric in self.metrics if metric in known for name in known[metric](self)), "loss"]

    def result_functions(self) -> dict[str, Callable[[ScoredVideos, Ints], float]]:
        """Return the results of recognition's ``metrics`` by name (``metric_results``), in order."""
        return {name: value for metric in self.metrics for name, value in metric_results(metric, self.topk).items()}

    def single_label_metrics(self) -> list[str]:
        """Return those of ``metrics`` that need one label per video."""
        return [metric for metric in self.metrics if METRICS[metric].single_label]

    def best_metric(self, task: Any = "recognition") -> str | None:
        """Return the result of a task that ``save_best`` refers to."""
        if self.save_best is None:
            return None
        results = self.results(task)
        if self.save_best == "auto":
            known = metrics_of(task)
            summaries = [known[metric](self)[-1] for metric in self.metrics if metric in known]
            return summaries[0] if task == "localization" and summaries else results[0]
        meant = _SHORT.get((task, self.save_best), self.save_best)
        if self.save_best in results or (task, self.save_best) == _ALIAS:
            return meant
        source = next((metric for metric, names in metrics_of(task).items() if meant in names(self)), None)
        rule = f"is not a result of eval.metrics; results: {', '.join(results)}"
        if source is None:
            hint = _other_task(self.save_best, task)
        elif source not in self.metrics:
            hint = f" (eval.metrics=[{source}] gives {meant})"
        else:
            hint = f"; did you mean {meant}?"
        raise ConfigError(rule, key="save_best", value=self.save_best, hint=hint)

    def greater_is_better(self, metric: str | None = None, task: Any = "recognition") -> bool:
        """Return whether a larger score of ``metric`` (default: ``best_metric``) of a task is better.

        ``rule`` decides for ``best_metric`` if it is set; otherwise the name of the metric does.
        """
        best = self.best_metric(task)
        metric = metric or best
        if metric is None or (metric == best and self.rule is not None):
            return self.rule != "less"
        greater = greater_by_name(metric)
        if greater is None:
            rule = "its name does not show which score is better; set eval.rule=greater or eval.rule=less"
            raise ConfigError(rule, key="save_best", value=metric)
        return greater
