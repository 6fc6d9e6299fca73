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
    """Raise an error if a recent step was not finite: the weights contain NaN from then on."""
    exhausted = state.nonfinite > exp.config.grad.max_nonfinite_steps
    step = state.step if exhausted else state.meter.first_not_finite("loss")
    if step is None:
        return
    ids = [index for batch in training_order(exp, step - 1, step) for _, index, *_ in batch]
    names = [exp.train_set.source.name(index) for index in ids]
    parameters = state.parallel.gather(dict(state.model.named_parameters()))
    if exp.world.is_main_process:
        samples = [{"id": index, "name": name} for index, name in zip(ids, names, strict=True)]
        report = _to_json(nonfinite_report(exp, state, step, samples, parameters))
        write_text(folder / NAME, json.dumps(report, indent=1, allow_nan=False) + "\n")
    raise UserError(
        f"the loss or gradient of step {step} is not finite (learning rate now "
        f"{rates_text(learning_rates(state.optimizer))}, loss scale {state.scaler.get_scale():g}); nothing was saved "
        f"after it, the last steps are in {folder / NAME}. Lower optimizer.lr, clip gradients (grad=clip) or check its "
        f"samples: {', '.join(names[:8])}{' ...' if len(names) > 8 else ''}"
    )


def nonfinite_report(
    exp: Experiment, state: TrainState, step: int, samples: list[Any], parameters: dict[str, torch.Tensor]
) -> dict[str, Any]:
    """Return the content of nonfinite.json; ``parameters`` are the whole weights by name.

    It contains: the step (1-based) and its epoch, its samples (index and name), the learning rate of every group at
    that step, the current loss scale, the 2-norm of every weight, the weights and buffers with non-finite values, and
    the values of the last steps, including gradient norms if grad.clip.max_norm is set.
    """
    tensors = [*parameters.items(), *state.model.named_buffers()]
    return {
        "step": step,
        "epoch": exp.epoch(step),
        "noticed_after_step": state.step,
        "samples": samples,
        "lr": [exp.lr_at(group["initial_lr"], step - 1) for group in state.optimizer.param_groups],
        "loss_scale": state.scaler.get_scale(),
        "skipped_steps": state.skipped,
        "not_finite_now": [name for name, tensor in tensors if not bool(torch.isfinite(tensor).all())],
        "weight_norms": {name: float(p.detach().float().norm()) for name, p in parameters.items()},
        "last_steps": [{"step": number, "samples": size, **values} for number, size, values in state.meter.history()],
    }


def _to_json(value: Any) -> Any:
    """Replace the numbers that JSON does not have by strings: "nan", "inf", "-inf"."""
    if isinstance(value, dict):
        return {key: _to_json(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_to_json(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
