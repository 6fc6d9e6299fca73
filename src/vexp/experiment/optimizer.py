"""The optimizer of a run, made from the ``optimizer`` group and a model, and the report on its parameter groups."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from vexp.core.errors import UserError
from vexp.core.files import write_text
from vexp.experiment.setup import Experiment
from vexp.optim.lr_policy import Fixed
from vexp.optim.lr_table import group_csv, group_lines, group_rows
from vexp.optim.optimizers import Optimizer
from vexp.optim.optimizers_extra import Rprop
from vexp.optim.param_groups import build_optimizer, groups_of_option

logger = logging.getLogger(__name__)

T = TypeVar("T")


def make_optimizer(exp: Experiment, model: nn.Module) -> torch.optim.Optimizer:
    """Build the optimizer over the parameter groups of ``optimizer.paramwise``.

    Raises:
        UserError: If the parameter groups do not fit the model.
    """
    return _build(build_optimizer, exp, model)


def planned_groups(exp: Experiment, model: nn.Module) -> list[dict[str, Any]]:
    """Return the parameter groups of ``make_optimizer``, without building the optimizer if possible."""
    if isinstance(exp.config.optimizer, Optimizer):
        return _build(groups_of_option, exp, model)
    return make_optimizer(exp, model).param_groups


def _build(build: Callable[..., T], exp: Experiment, model: nn.Module) -> T:
    try:
        return build(exp.config.optimizer, model, samples_per_step=exp.plan.samples_per_step)
    except ValueError as error:
        raise UserError(f"optimizer.{error}") from None


def log_param_groups(exp: Experiment, optimizer: torch.optim.Optimizer, model: nn.Module, folder: Path) -> None:
    """Log a table of the parameter groups and write the whole one to param_groups.csv."""
    option, samples = exp.config.optimizer, exp.plan.samples_per_step
    if isinstance(option, Optimizer) and option.base_batch_size is not None:
        logger.info(
            f"optimizer.lr: {option.lr:.4g} for {option.base_batch_size} samples per step (optimizer.base_batch_size), "
            f"scaled to {option.scaled_lr(samples):.4g} for the {samples} of this run"
        )
    rows = group_rows(optimizer.param_groups, model)
    lines = group_lines(rows)
    logger.info(f"parameter groups: {lines[0] if len(lines) == 1 else len(optimizer.param_groups)}")
    for line in lines if len(lines) > 1 else []:
        logger.info(f"  {line}")
    write_text(folder / "param_groups.csv", group_csv(rows))
    if isinstance(option, Rprop) and not isinstance(exp.config.lr_policy, Fixed):
        logger.warning("optimizer=rprop uses lr for the size of its first step only; set lr=fixed")
