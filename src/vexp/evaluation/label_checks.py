"""Do data, loss and metrics speak of the same task? Asked before a run begins."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vexp.core.errors import UserError
from vexp.data.sources.base import Source
from vexp.evaluation.config import SINGLE_LABEL, Eval


def class_counts(source: Source) -> NDArray[np.int64]:
    """How many videos each class has, int64 (classes,)."""
    _, classes = _labels(source)
    return np.bincount(classes, minlength=len(source.classes))


def check_loss(train: Source, loss_multi_label: bool | None) -> None:
    """Hold the loss against the training list; ``loss_multi_label`` says what it wants, None: not known.

    Raises:
        UserError: it wants labels of the other kind.
    """
    if loss_multi_label is None or loss_multi_label == train.multi_label:
        return
    if loss_multi_label:
        raise UserError("loss: is one of several labels a video, the training list has one; take loss=cross_entropy")
    raise UserError("loss: is one of a single label a video, the training list has several; take loss=bce")


def check_labels(options: Eval, source: Source, classes: int, *, split: str, multi_label: bool) -> list[str]:
    """Hold a split that is measured against the net's number of ``classes``, its kind of labels and the metrics.

    Returns:
        Warnings: what a metric will leave out, or cannot tell.

    Raises:
        UserError: a label outside of the classes, labels of the other kind, a metric that they have no value of.
    """
    if source.multi_label != multi_label:
        kinds = {True: "several labels a video", False: "one label a video"}
        raise UserError(
            f"data.{split}: has {kinds[not multi_label]}, the training {kinds[multi_label]}; both must be of one kind"
        )
    samples, numbers = _labels(source)
    outside = np.flatnonzero((numbers < 0) | (numbers >= classes))
    if len(outside):
        first = outside[0]
        raise UserError(
            f"data.{split}: {source.name(int(samples[first]))} has label {numbers[first]}, but there are {classes} "
            f"classes in the training, 0..{classes - 1} ({len(outside)} labels are outside)"
        )
    if not multi_label:
        sure = [k for k in options.topk if k >= classes] if "top_k_accuracy" in options.metrics else []
        return [f"eval.topk: top{k}_acc is always 1 with {classes} classes" for k in sure]
    wrong = [metric for metric in options.metrics if metric in SINGLE_LABEL]
    if wrong:
        raise UserError(
            f"eval.metrics=[{','.join(options.metrics)}]: {', '.join(wrong)} asks for one label a video, data.{split} "
            "has several; take eval=multi_label"
        )
    bare = len(source) - len(np.unique(samples))
    if bare and "mmit_mean_average_precision" in options.metrics:
        return [f"mmit_mean_average_precision leaves out {bare} of {len(source)} videos of {split}: they have no label"]
    return []


def _labels(source: Source) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Every label of a source: the number of its video and of its class, int64 (labels,) each."""
    labels = source.labels
    if not source.multi_label:
        return np.arange(len(source)), np.asarray(labels, np.int64)
    rows = [np.asarray(labels[i], np.int64) for i in range(len(source))]  # class numbers of each video
    return np.repeat(np.arange(len(rows)), [len(row) for row in rows]), np.concatenate(rows)
