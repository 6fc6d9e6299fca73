"""The log lines before the first and after the last step of a run, and its result."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from torch import nn

from vexp.core.errors import UserError
from vexp.data.sources.subsets import leak_warning, shared_groups
from vexp.evaluation.label_checks import class_counts
from vexp.experiment.protocol import clips_per_video
from vexp.experiment.schedule import plural
from vexp.experiment.setup import Experiment
from vexp.training.recorder import Recorder
from vexp.training.state import TrainState

logger = logging.getLogger(__name__)

_MAX_CLASSES = 5  # classes named in a warning


def log_run_header(exp: Experiment, model: nn.Module) -> None:
    """Log data, model, length and optimizer of the run, and all warnings.

    Raises:
        UserError: As ``all_warnings``.
    """
    config, schedule = exp.config, exp.schedule
    warnings = all_warnings(exp)
    parameters = sum(p.numel() for p in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    names = ", ".join(exp.classes[:8]) + (" ..." if len(exp.classes) > 8 else "")
    logger.info(f"data: {len(exp.train_set)} training videos, {_val_text(exp)}; {len(exp.classes)} classes: {names}")
    for split, dataset in (("train", exp.train_set), ("val", exp.val_set)):
        origin = dataset.source.origin if dataset is not None else ""
        if origin:
            logger.info(f"data.{split}: {origin}")
    logger.info(
        f"model: {type(model).__name__}, {parameters:,} parameters ({trained:,} trained), "
        f"{config.amp.dtype} on {exp.device}"
    )
    logger.info(f"length: {schedule.length_text()}, {schedule.step_text()}")
    logger.info(
        f"optimizer: {type(config.optimizer).__name__}, lr_policy {type(config.lr_policy).__name__}, seed {config.seed}"
    )
    weights = getattr(config.loss, "class_weights", None)
    if weights is not None:
        logger.info(f"loss: {_class_weights_text(weights, exp.classes)}")
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
    return [
        *(f"lr_policy: {warning}" for warning in lr_warnings),
        *exp.warnings,
        *classes_without_samples(exp),
        *split_warnings(exp),
        *exp.schedule.warnings(),
        *([f"amp={config.amp.dtype}: {slow}"] if slow is not None else []),
    ]


def classes_without_samples(exp: Experiment) -> list[str]:
    """Return a warning about classes without a training sample: labels that start with 1 leave class 0 empty.

    There is none if the user has selected samples by index.
    """
    options, classes = exp.config.data.train, exp.classes
    if options.indices is not None:
        return []
    absent = [classes[label] for label in np.flatnonzero(class_counts(exp.train_set.source) == 0)]
    names = ", ".join(absent[:_MAX_CLASSES]) + (" ..." if len(absent) > _MAX_CLASSES else "")
    return [f"data.train: has no sample of {len(absent)} of {len(classes)} classes: {names}"] if absent else []


def split_warnings(exp: Experiment) -> list[str]:
    """Return a warning if training and validation share groups of videos, which makes validation too easy."""
    if exp.val_set is None or exp.config.data.val.from_split is not None:
        return []
    shared = shared_groups(exp.train_set.source, exp.val_set.source)
    return [leak_warning("train", "val", shared)] if shared else []


def _class_weights_text(weights: list[float], classes: list[str]) -> str:
    """Format all class weights if there are few, else the lowest and highest."""
    pairs = sorted(zip(weights, classes, strict=True))
    shown = pairs if len(pairs) <= 8 else [*pairs[:3], *pairs[-3:]]
    note = "" if shown == pairs else f" (the 3 lowest and highest of {len(pairs)})"
    return f"class weights {', '.join(f'{name} {weight:.3g}' for weight, name in shown)}{note}"


def _val_text(exp: Experiment) -> str:
    if exp.val_set is None:
        return "no validation"
    clips = clips_per_video(exp.config, "val")
    each = "clips over their whole length" if clips is None else f"{plural(clips, 'clip')} each"
    return f"{len(exp.val_set)} validation videos ({each})"


def finish_run(state: TrainState, recorder: Recorder, ended_by: str, seconds: float) -> dict[str, Any]:
    """Log the outcome and the files of the run; return its result.

    Args:
        state: Final state.
        recorder: Recorder of the run.
        ended_by: "done" or the name of a signal.
        seconds: Duration of the run.
    """
    folder = recorder.folder
    result: dict[str, Any] = {
        "status": "done" if ended_by == "done" else "interrupted",
        "step": state.step,
        "metrics": {f"val/{name}": value for name, value in recorder.results.items()},
    }
    if ended_by != "done":
        result["stopped_by"] = ended_by
        logger.info(f"stopped by {ended_by} after step {state.step}; resume with: vexp train --resume {folder}")
    if state.best is not None and state.best.score is not None:
        best = state.best
        result["best"] = best.record()
        logger.info(f"best {best.metric} {best.score:.4f} after epoch {best.epoch} (step {best.step})")
    if state.early_stopped and state.best is not None:
        logger.info(f"stopped early: no better {state.best.metric} in {state.best.waited} evaluations (eval.patience)")
    if hint := recorder.data_wait_hint():
        logger.info(hint)
    result["seconds"] = round(seconds, 1)
    logger.info(f"{result['status']} in {seconds:.0f} s; files in {folder}:")
    for name, content in (
        ("curves.png", "loss, metrics and learning rate"),
        ("eval", ", ".join(sorted(path.name for path in (folder / "eval").glob("*.*")))),
        ("metrics.jsonl", "all metrics"),
        ("checkpoints", ", ".join(sorted(path.name for path in recorder.checkpoints.folder.glob("*.pth")))),
        ("config.yaml", "repeat the run with: vexp train --rerun RUN"),
    ):
        if (folder / name).exists():
            logger.info(f"  {name:20} {content}")
    return result
