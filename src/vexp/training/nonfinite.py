"""What is written down when the loss is not finite: enough to find the step, its samples and what led to it."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from vexp.core.files import write_text
from vexp.experiment.setup import Experiment
from vexp.training.state import TrainState

NAME = "nonfinite.json"


def write_nonfinite_report(exp: Experiment, state: TrainState, step: int, samples: Sequence[int], folder: Path) -> Path:
    """Write nonfinite.json into the run folder; its path. ``samples`` are the numbers of the step's samples.

    It holds: the step (1-based) and its epoch, the samples (number and name), the learning rate of every group at that
    step, the loss scale now, the 2-norm of every weight and which weights and buffers hold values that are not finite,
    and the values of the last steps up to now, their gradient norms among them where grad.clip.max_norm measures it.
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
    if exp.processes.first:
        write_text(path, json.dumps(_plain(content), indent=1, allow_nan=False) + "\n")
    return path


def _plain(value: Any) -> Any:
    """Numbers that JSON does not have as words: "nan", "inf", "-inf"."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
