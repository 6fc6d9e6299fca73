"""The log lines before the first step of a run: its data, model, length and optimizer, and all warnings."""

from __future__ import annotations

import logging

import numpy as np
from torch import nn

from vexp.core.errors import UserError
from vexp.core.log import plural
from vexp.data.sources.subsets import leak_warning, shared_groups
from vexp.evaluation.label_checks import class_counts
from vexp.experiment.setup import Experiment
from vexp.model.adapters.config import lora_of
from vexp.model.adapters.lora import describe_adapters
from vexp.task.views import clips_per_video

logger = logging.getLogger(__name__)

_MAX_CLASSES = 5  # classes named in a warning


def log_run_header(exp: Experiment, model: nn.Module) -> None:
    """Log data, model, length and optimizer of the run, and all warnings."""
    config, schedule = exp.config, exp.schedule
    warnings = all_warnings(exp)
    parameters = sum(p.numel() for p in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    names = ", ".join(exp.classes[:8]) + (" ..." if len(exp.classes) > 8 else "")
    samples, classes = _samples(exp), f"{len(exp.classes)} classes: {names}"
    logger.info(f"data: {len(exp.train_set)} training {samples}, {_val_text(exp)}; {classes}")
    for split, dataset in (("train", exp.train_set), ("val", exp.val_set)):
        if dataset is not None and dataset.source.origin:
            logger.info(f"data.{split}: {dataset.source.origin}")
    logger.info(
        f"model: {type(model).__name__.removeprefix('FSDP')}, {parameters:,} parameters ({trained:,} trained), "
        f"{config.amp.dtype} on {exp.device}"
    )
    if (lora := lora_of(config.model)) is not None:
        logger.info(f"adapters: {describe_adapters(model, lora)}")
    logger.info(f"length: {schedule.length_text()}, {schedule.step_text()}")
    logger.info(
        f"optimizer: {type(config.optimizer).__name__}, lr_policy {type(config.lr_policy).__name__}, seed {config.seed}"
    )
    weights = getattr(config.loss, "class_weights", None)
    if weights is not None:
        pairs = sorted(zip(weights, exp.classes, strict=True))
        shown = pairs if len(pairs) <= 8 else [*pairs[:3], *pairs[-3:]]
        note = "" if shown == pairs else f" (the 3 lowest and highest of {len(pairs)})"
        logger.info(f"loss: class weights {', '.join(f'{name} {weight:.3g}' for weight, name in shown)}{note}")
    for warning in warnings:
        logger.warning(warning)


def all_warnings(exp: Experiment) -> list[str]:
    """Return warnings about settings that have no or a harmful effect in a run of this length on this device.

    Raises:
        UserError: If the learning-rate policy does not fit the length of the run.
    """
    config, plan = exp.config, exp.plan
    try:
        lr_warnings = config.lr_policy.check(plan.steps_per_epoch, exp.total_steps)
    except ValueError as error:
        raise UserError(f"lr_policy: {error}") from None
    slow = config.amp.slow_on(exp.device)
    shared: list[str] = []
    if exp.val_set is not None and config.data.val.from_split is None:
        shared = shared_groups(exp.train_set.source, exp.val_set.source)
    return [
        *(f"lr_policy: {warning}" for warning in lr_warnings),
        *exp.warnings,
        *classes_without_samples(exp),
        *small_step(exp),
        *([leak_warning("train", "val", shared)] if shared else []),
        *exp.schedule.warnings().values(),
        *([f"amp={config.amp.dtype}: {slow}"] if slow is not None else []),
    ]


def small_step(exp: Experiment) -> list[str]:
    """Return a warning if the learning rate is scaled for steps that are larger than the training data."""
    plan, base = exp.plan, getattr(exp.config.optimizer, "base_batch_size", None)
    if base is None or plan.num_samples >= plan.samples_per_step:
        return []
    return [
        f"optimizer.base_batch_size: the learning rate is scaled for {plan.samples_per_step} samples per step, but "
        f"there are {plan.num_samples}; lower grad.accumulate or data.batch_size"
    ]


def classes_without_samples(exp: Experiment) -> list[str]:
    """Return a warning about classes without a training sample: labels that start with 1 leave class 0 empty.

    There is none if the user has selected samples by index.
    """
    options, classes = exp.config.data.train, exp.classes
    if options.indices is not None:
        return []
    labels = np.flatnonzero(class_counts(exp.train_set.source) == 0)
    absent = [classes[label] for label in labels]
    names = ", ".join(absent[:_MAX_CLASSES]) + (" ..." if len(absent) > _MAX_CLASSES else "")
    hint = "; labels are counted from 0, do those of the list begin with 1?" if labels.tolist() == [0] else ""
    return [f"data.train: has no sample of {len(absent)} of {len(classes)} classes: {names}{hint}"] if absent else []


def _samples(exp: Experiment) -> str:
    """Return what the samples are called: a video may have several key frames."""
    return "key frames" if exp.task.name == "detection" else "videos"


def _val_text(exp: Experiment) -> str:
    if exp.val_set is None:
        return "no validation"
    if exp.config.data.content == "features" or exp.task.name == "detection":
        return f"{len(exp.val_set)} validation {_samples(exp)}"
    clips = clips_per_video(exp.config, "val")
    each = "clips over their whole length" if clips is None else f"{plural(clips, 'clip')} each"
    return f"{len(exp.val_set)} validation videos ({each})"
