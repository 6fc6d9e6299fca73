"""The report on a loss that is not finite: the step, its samples and the steps before it."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from vexp.core.errors import UserError
from vexp.core.files import write_text
from vexp.experiment.setup import Experiment
from vexp.optim.lr_table import learning_rates
from vexp.tracking.console import rates_text
from vexp.training.batches import training_order
from vexp.training.state import TrainState

NAME = "nonfinite.json"


def check_finite(exp: Experiment, state: TrainState, folder: Path) -> None:
    """Raise an error if a recent step was not finite: the weights contain NaN from then on.

    Raises:
        UserError: With the step, its samples, its learning rate and the path of nonfinite.json.
    """
    exhausted = state.nonfinite > exp.config.grad.max_nonfinite_steps
    step = state.step if exhausted else state.meter.first_not_finite("loss")
    if step is None:
        return
    samples = [index for batch in training_order(exp, step - 1, step) for _, index, *_ in batch]
    names = [exp.train_set.source.name(index) for index in samples]
    path = write_nonfinite_report(exp, state, step, samples, folder)
    rates = rates_text(learning_rates(state.optimizer))
    raise UserError(
        f"the loss or gradient of step {step} is not finite (learning rate now {rates}, loss scale "
        f"{state.scaler.get_scale():g}); nothing was saved after it, the last steps are in {path}. Lower optimizer.lr, "
        f"clip gradients (grad=clip) or check its samples: {', '.join(names[:8])}{' ...' if len(names) > 8 else ''}"
    )


def write_nonfinite_report(exp: Experiment, state: TrainState, step: int, samples: Sequence[int], folder: Path) -> Path:
    """Write nonfinite.json into the run folder and return its path.

    It contains: the step (1-based) and its epoch, its samples (index and name), the learning rate of every group at
    that step, the current loss scale, the 2-norm of every weight, the weights and buffers with non-finite values, and
    the values of the last steps, including gradient norms if grad.clip.max_norm is set.
    """
    policy, plan = exp.config.lr_policy, exp.plan
    rates = [
        policy.lr_at(
            group["initial_lr"], step=step - 1, steps_per_epoch=plan.steps_per_epoch, total_steps=exp.total_steps
        )
        for group in state.optimizer.param_groups
    ]
    tensors = [*state.model.named_parameters(), *state.model.named_buffers()]
    content: dict[str, Any] = {
        "step": step,
        "epoch": exp.epoch(step),
        "noticed_after_step": state.step,
        "samples": [{"id": index, "name": exp.train_set.source.name(index)} for index in samples],
        "lr": rates,
        "loss_scale": state.scaler.get_scale(),
        "skipped_steps": state.skipped,
        "not_finite_now": [name for name, tensor in tensors if not bool(torch.isfinite(tensor).all())],
        "weight_norms": {name: float(p.detach().float().norm()) for name, p in state.model.named_parameters()},
        "last_steps": [{"step": number, "samples": size, **values} for number, size, values in state.meter.history()],
    }
    path = folder / NAME
    if exp.world.is_main_process:
        write_text(path, json.dumps(_to_json(content), indent=1, allow_nan=False) + "\n")
    return path


def _to_json(value: Any) -> Any:
    """Replace the numbers that JSON does not have by strings: "nan", "inf", "-inf"."""
    if isinstance(value, dict):
        return {key: _to_json(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_to_json(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
