"""All that a run is at one moment. What is not in here does not survive a restart."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from vexp.engine.seed import rng_state, set_rng_state
from vexp.errors import UserError
from vexp.evaluation.best import Best
from vexp.tracking.meter import Meter


@dataclass(slots=True)
class TrainState:
    """``step`` counts completed optimizer steps and is the only clock. Of these had no update: ``skipped``, as fp16
    overflowed, and ``nonfinite``, as loss or gradient was not finite. ``without_gradient`` has been named already."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    ema: AveragedModel | None
    meter: Meter
    best: Best | None
    step: int = 0
    skipped: int = 0
    nonfinite: int = 0
    without_gradient: set[str] = field(default_factory=set)

    def evaluated_model(self) -> nn.Module:
        """The weights that are evaluated: the average where there is one."""
        return self.model if self.ema is None else self.ema.module

    @property
    def stalled(self) -> bool:
        """Whether the best score has not improved for ``eval.patience`` evaluations: the run ends early."""
        return self.best is not None and self.best.exhausted

    def state_dict(self, *, resumable: bool) -> dict[str, Any]:
        """Tensors and plain containers. Without ``resumable``: weights only."""
        state: dict[str, Any] = {"step": self.step, "model": self.model.state_dict()}
        if self.ema is not None:
            state["ema"] = self.ema.state_dict()
        if self.best is not None:
            state["best"] = self.best.state_dict()
        if resumable:
            state |= {
                "optimizer": self.optimizer.state_dict(),
                "scaler": self.scaler.state_dict(),
                "meter": self.meter.state_dict(),
                "skipped": self.skipped,
                "nonfinite": self.nonfinite,
                "rng": rng_state(),
            }
        return state

    def load_state_dict(self, state: dict[str, Any], source: str) -> list[str]:
        """Take over the state of a checkpoint; the optimizer's settings stay those of the config.

        Returns:
            The settings that the checkpoint was saved with and are different now, "lr 0.1 -> 0.05".

        Raises:
            UserError: it was saved without what resuming needs, or belongs to another net or optimizer.
        """
        if "optimizer" not in state:
            raise UserError(
                f"{source}: holds weights only (checkpoint.save_optimizer=false); use init_from to start from them"
            )
        if (self.ema is not None) != ("ema" in state):
            raise UserError(
                f"{source}: ema was {'on' if 'ema' in state else 'off'} in it; resume with the same ema setting"
            )
        settings = [_settings(group) for group in self.optimizer.param_groups]
        try:
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            if self.ema is not None:
                self.ema.load_state_dict(state["ema"])
        except (RuntimeError, ValueError, KeyError) as error:
            raise UserError(f"{source}: does not fit this model and optimizer: {_first_lines(error)}") from None
        saved = [_settings(group) for group in self.optimizer.param_groups]
        for group, chosen in zip(self.optimizer.param_groups, settings, strict=True):
            group.update(chosen)
        if state["scaler"] and self.scaler.is_enabled():
            self.scaler.load_state_dict(state["scaler"])
        self.meter.load_state_dict(state["meter"])
        if self.best is not None and "best" in state:
            self.best.load_state_dict(state["best"])
        self.step, self.skipped, self.nonfinite = state["step"], state["skipped"], state["nonfinite"]
        set_rng_state(state["rng"])
        return [
            f"{'lr' if key == 'initial_lr' else key} {old.get(key)} -> {new[key]}"
            for old, new in zip(saved, settings, strict=True)
            for key in new
            if key != "lr" and old.get(key) != new[key]  # the policy sets lr from initial_lr at every step
        ]


def load_weights(model: nn.Module, state: dict[str, Any], source: str) -> None:
    """The weights of a vexp checkpoint (their average where it has one), or a bare state dict, into ``model``.

    Raises:
        UserError: keys or shapes differ; nothing is loaded then.
    """
    weights = state.get("model", state)
    if "ema" in state:
        averaged = {key: value for key, value in state["ema"].items() if key.startswith("module.")}
        weights = {key.removeprefix("module."): value for key, value in averaged.items()}
    own = model.state_dict()
    wrong = [key for key in own if key not in weights or weights[key].shape != own[key].shape]
    extra = [key for key in weights if key not in own]
    if wrong or extra:
        named = ", ".join((wrong or extra)[:3])
        raise UserError(
            f"{source}: is of another net: {len(own) - len(wrong)} of {len(own)} tensors fit, {len(extra)} of its own "
            f"have no place (the first: {named})"
        )
    model.load_state_dict(weights)


def _settings(group: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in group.items() if key != "params"}


def _first_lines(error: BaseException) -> str:
    return " ".join(line.strip() for line in str(error).splitlines()[:3])
