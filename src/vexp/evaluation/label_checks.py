"""Checks before a run that data, loss and metrics have the same kind of labels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vexp.core.errors import ConfigError, UserError
from vexp.data.sources.base import Source
from vexp.evaluation.config import Eval


def class_counts(source: Source) -> NDArray[np.int64]:
    """Return the number of videos of each class, int64 (classes,)."""
    return np.bincount(_labels(source)[1], minlength=len(source.classes))[: len(source.classes)]


def check_own_classes(train: Source, image_classes: int | None) -> None:
    """Check that a model has a classifier of ``image_classes`` for the lists with classes of their own.

    Raises:
        ConfigError: If it has none, or it has too few classes.
    """
    key = "data.train.own_classes"
    if image_classes is None:
        raise ConfigError("requires a model with a second classifier: model=omni_r50", key=key, value=True)
    largest = int(np.max(train.labels)) - len(train.classes)
    if largest >= image_classes:
        rule = f"a label is {largest}; set it to the number of classes of the images"
        raise ConfigError(rule, key="model.image_classes", value=image_classes)


def check_loss(train: Source, loss_multi_label: bool | None) -> None:
    """Check that the loss fits the training annotation; ``loss_multi_label`` is None if its kind is not known."""
    if loss_multi_label is None or loss_multi_label == train.multi_label:
        return
    loss, labels, use = (
        ("multi", "one label", "cross_entropy") if loss_multi_label else ("single", "several labels", "bce")
    )
    raise UserError(f"the loss is {loss}-label but the training annotation has {labels} per video; use loss={use}")


def check_labels(options: Eval, source: Source, classes: int, *, split: str, multi_label: bool) -> list[str]:
    """Check that an evaluated split fits the model's number of ``classes``, its kind of labels and the metrics.

    Returns:
        Warnings about metrics that ignore videos or are trivial.

    Raises:
        UserError: If a label is outside of the classes or of the other kind, or if a metric is not defined for them.
    """
    if source.multi_label != multi_label:
        kinds = {True: "several labels per video", False: "one label per video"}
        raise UserError(
            f"data.{split} has {kinds[not multi_label]}, data.train has {kinds[multi_label]}; both must be of one kind"
        )
    samples, labels = _labels(source)
    outside = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(outside):
        first = outside[0]
        raise UserError(
            f"data.{split}: {source.name(int(samples[first]))} has label {labels[first]}, but the training data has "
            f"{classes} classes, 0..{classes - 1} ({len(outside)} labels are out of range)"
        )
    if not multi_label:
        trivial = [k for k in options.topk if k >= classes] if "top_k_accuracy" in options.metrics else []
        return [f"eval.topk: top{k}_acc is always 1 with {classes} classes" for k in trivial]
    if single_label := options.single_label_metrics():
        raise UserError(
            f"eval.metrics=[{','.join(options.metrics)}]: {', '.join(single_label)} needs one label per video, "
            f"data.{split} has several; use eval=multi_label"
        )
    unlabeled = len(source) - len(np.unique(samples))
    if unlabeled and "mmit_mean_average_precision" in options.metrics:
        return [f"mmit_mean_average_precision ignores {unlabeled} of {len(source)} videos of {split} without a label"]
    return []


def _labels(source: Source) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the video index and the class index of every label of a source, int64 (labels,) each."""
    labels = source.labels
    if not source.multi_label:
        return np.arange(len(source)), np.asarray(labels, np.int64)
    rows = [np.asarray(labels[i], np.int64) for i in range(len(source))]  # class indices of each video
    return np.repeat(np.arange(len(rows)), [len(row) for row in rows]), np.concatenate(rows)
