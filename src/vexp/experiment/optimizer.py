"""From the ``optimizer`` group and a net to the optimizer of a run, and what the log and the run folder say of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from vexp.core.errors import UserError
from vexp.core.files import write_text
from vexp.experiment.setup import Experiment
from vexp.optim.lr_policy import Fixed
from vexp.optim.optimizers import Optimizer
from vexp.optim.optimizers_extra import Rprop
from vexp.optim.param_group_table import group_csv, group_lines, group_rows
from vexp.optim.param_groups import build_optimizer, groups_of_option
from vexp.tracking.console import RunLog


def make_optimizer(exp: Experiment, model: nn.Module) -> torch.optim.Optimizer:
    """The optimizer over the groups that ``optimizer.paramwise`` makes of the trainable parameters.

    Raises:
        UserError: groups that cannot be made of this net.
    """
    try:
        return build_optimizer(exp.config.optimizer, model, samples_per_step=exp.plan.samples_per_step)
    except ValueError as error:
        raise UserError(f"optimizer.{error}") from None


def planned_groups(exp: Experiment, model: nn.Module) -> list[dict[str, Any]]:
    """The parameter groups of ``make_optimizer``, without the optimizer where that can be.

    Raises:
        UserError: as ``make_optimizer``.
    """
    option, samples = exp.config.optimizer, exp.plan.samples_per_step
    if not isinstance(option, Optimizer):
        return make_optimizer(exp, model).param_groups
    try:
        return groups_of_option(option, model, samples_per_step=samples)
    except ValueError as error:
        raise UserError(f"optimizer.{error}") from None


def show_groups(exp: Experiment, optimizer: torch.optim.Optimizer, model: nn.Module, folder: Path, log: RunLog) -> None:
    """Which parameters are trained at which rate: to the log, and whole to param_groups.csv."""
    option, samples = exp.config.optimizer, exp.plan.samples_per_step
    if isinstance(option, Optimizer) and option.base_batch_size is not None:
        log.say(
            f"optimizer.lr: {option.lr:.4g} for {option.base_batch_size} samples a step (optimizer.base_batch_size), "
            f"{option.scaled_lr(samples):.4g} for the {samples} of this run"
        )
    rows = group_rows(optimizer.param_groups, model)
    first, *others = group_lines(rows)
    log.say(f"parameter groups: {first}" if not others else f"parameter groups: {len(optimizer.param_groups)}")
    for line in [first, *others] if others else []:
        log.say(f"  {line}")
    write_text(folder / "param_groups.csv", group_csv(rows))
    if isinstance(option, Rprop) and not isinstance(exp.config.lr_policy, Fixed):
        log.say("warning: optimizer=rprop: takes the size of its first step from lr and no other; lr=fixed says so")
