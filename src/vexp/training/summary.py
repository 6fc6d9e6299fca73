"""What a run says before its first step and after its last."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import nn

from vexp.core.errors import UserError
from vexp.data.sources.subsets import leak_warning, shared_groups
from vexp.evaluation.label_checks import class_counts
from vexp.experiment.protocol import clips_per_video
from vexp.experiment.setup import Experiment
from vexp.tracking.console import RunLog
from vexp.training.recorder import Recorder
from vexp.training.state import TrainState

_NAMED = 5  # classes in a warning


def log_run_header(exp: Experiment, model: nn.Module, log: RunLog) -> None:
    """What is about to happen, in five lines; warnings of the learning-rate policy among them."""
    config, plan = exp.config, exp.plan
    warnings = all_warnings(exp)
    parameters = sum(p.numel() for p in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    names = ", ".join(exp.classes[:8]) + (" ..." if len(exp.classes) > 8 else "")
    log.say(f"data: {len(exp.train_set)} training videos, {_val_text(exp)}; {len(exp.classes)} classes: {names}")
    for split, dataset in (("train", exp.train_set), ("val", exp.val_set)):
        origin = dataset.source.origin if dataset is not None else ""
        if origin:
            log.say(f"data.{split}: {origin}")
    log.say(
        f"model: {type(model).__name__}, {parameters:,} parameters ({trained:,} trained), "
        f"{config.amp.dtype} on {exp.device}"
    )
    size = min(plan.samples_per_step, len(exp.train_set))
    accumulated = f" x {config.grad.accumulate}" * (config.grad.accumulate > 1)
    shared = f" x {plan.world_size} processes" * (plan.world_size > 1)
    factors = f" ({config.data.batch_size}{accumulated}{shared})" if accumulated or shared else ""
    log.say(
        f"steps: {exp.total_steps} of {size} samples{factors}, {plan.steps_per_epoch} an epoch; "
        f"{type(config.optimizer).__name__}, lr_policy {type(config.lr_policy).__name__}, seed {config.seed}"
    )
    weights = getattr(config.loss, "class_weights", None)
    if weights is not None:
        log.say(f"loss: {_weights_text(weights, exp.classes)}")
    for warning in warnings:
        log.say(f"warning: {warning}")


def all_warnings(exp: Experiment) -> list[str]:
    """What a run of this length and device will not do, or not do well, although it is asked for.

    Raises:
        UserError: a learning-rate policy that cannot work over this length.
    """
    config, plan = exp.config, exp.plan
    try:
        curve = config.lr_policy.check(plan.steps_per_epoch, exp.total_steps)
    except ValueError as error:
        raise UserError(f"lr_policy: {error}") from None
    slow = config.amp.slow_on(exp.device)
    return [
        *(f"lr_policy: {warning}" for warning in curve),
        *exp.warnings,
        *classes_without_samples(exp),
        *split_warnings(exp),
        *exp.calendar.warnings(),
        *([f"amp={config.amp.dtype}: {slow}"] if slow is not None else []),
    ]


def classes_without_samples(exp: Experiment) -> list[str]:
    """Classes without a training sample, unless the user has chosen few samples: labels from 1 on leave class 0 so."""
    options, classes = exp.config.data.train, exp.classes
    if options.indices is not None:
        return []
    absent = [classes[label] for label in np.flatnonzero(class_counts(exp.train_set.source) == 0)]
    named = ", ".join(absent[:_NAMED]) + (" ..." if len(absent) > _NAMED else "")
    return [f"data.train: has no sample of {len(absent)} of {len(classes)} classes: {named}"] if absent else []


def split_warnings(exp: Experiment) -> list[str]:
    """What makes the validation an easier test than it seems."""
    if exp.val_set is None or exp.config.data.val.from_split is not None:
        return []
    shared = shared_groups(exp.train_set.source, exp.val_set.source)
    return [leak_warning("train", "val", shared)] if shared else []


def _weights_text(weights: list[float], classes: list[str]) -> str:
    """All of them where they are few, else the extremes."""
    pairs = sorted(zip(weights, classes, strict=True))
    shown = pairs if len(pairs) <= 8 else [*pairs[:3], *pairs[-3:]]
    of = "" if shown == pairs else f" (the 3 lowest and highest of {len(pairs)})"
    return f"class weights {', '.join(f'{name} {weight:.3g}' for weight, name in shown)}{of}"


def _val_text(exp: Experiment) -> str:
    if exp.val_set is None:
        return "no validation"
    clips = clips_per_video(exp.config, "val")
    each = "clips over their length" if clips is None else f"{clips} clip{'s' * (clips != 1)} each"
    return f"{len(exp.val_set)} validation videos ({each})"


def finish_run(state: TrainState, out: Recorder, ended: str, seconds: float) -> dict[str, Any]:
    """Say where everything is; the result of the run."""
    result: dict[str, Any] = {
        "status": "done" if ended == "done" else "interrupted",
        "step": state.step,
        "metrics": {f"val/{name}": value for name, value in out.results.items()},
    }
    say = out.log.say
    if ended != "done":
        result["stopped_by"] = ended
        say(f"stopped by {ended} after step {state.step}; go on with: python -m vexp.train --resume {out.folder}")
    if state.best is not None and state.best.score is not None:
        best = state.best
        result["best"] = best.record()
        say(f"best {best.metric} {best.score:.4f} after epoch {best.epoch} (step {best.step})")
    if state.early_stopped and state.best is not None:
        say(f"ended early: no better {state.best.metric} in {state.best.waited} evaluations (eval.patience)")
    if hint := out.input_verdict():
        say(hint)
    result["seconds"] = round(seconds, 1)
    say(f"{result['status']} in {seconds:.0f} s; in {out.folder}:")
    for name, what in (
        ("curves.png", "loss, metrics and learning rate"),
        ("eval", ", ".join(sorted(path.name for path in (out.folder / "eval").glob("*.*")))),
        ("metrics.jsonl", "every number"),
        ("checkpoints", ", ".join(sorted(path.name for path in out.checkpoints.glob("*.pth")))),
        ("config.yaml", "run again: python -m vexp.train --rerun RUN"),
    ):
        if (out.folder / name).exists():
            say(f"  {name:20} {what}")
    return result
