"""All that a run is at one moment. What is not in here does not survive a restart."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from vexp.core.errors import UserError
from vexp.evaluation.best_score import Best
from vexp.runtime.distributed import SINGLE_PROCESS, World
from vexp.runtime.seed import rng_state, set_rng_state
from vexp.tracking.meter import Meter

_MOST_CHANGES = 8  # lines about settings that changed since a checkpoint


@dataclass(slots=True)
class TrainState:
    """``step`` counts completed optimizer steps and is the only clock. Of these had no update: ``skipped``, as fp16
    overflowed, and ``nonfinite``, as loss or gradient was not finite. ``without_gradient`` has been named already.
    ``unmeasured``: the evaluation that is due after ``step`` was cut short, and comes first when the run goes on."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    ema: AveragedModel | None
    meter: Meter
    best: Best | None
    step: int = 0
    skipped: int = 0
    nonfinite: int = 0
    evaluation_pending: bool = False
    without_gradient: set[str] = field(default_factory=set)
    processes: World = SINGLE_PROCESS
    parallel: nn.Module | None = None

    @property
    def trained(self) -> nn.Module:
        """What training calls: ``model``, or the wrapper that exchanges its gradients between ``processes``."""
        return self.model if self.parallel is None else self.parallel

    def evaluated_model(self) -> nn.Module:
        """The weights that are evaluated: the average where there is one."""
        return self.model if self.ema is None else self.ema.module

    @property
    def early_stopped(self) -> bool:
        """Whether the best score has not improved for ``eval.patience`` evaluations: the run ends early."""
        return self.best is not None and self.best.patience_exceeded

    def state_dict(self, *, resumable: bool) -> dict[str, Any]:
        """Tensors and plain containers. Without ``resumable``: weights only. All processes must ask together."""
        state: dict[str, Any] = {"step": self.step, "model": self.model.state_dict()}
        if self.ema is not None:
            state["ema"] = self.ema.state_dict()
        if self.best is not None:
            state["best"] = self.best.state_dict()
        if resumable:
            state |= {
                "optimizer": self.optimizer.state_dict(),
                "optimizer_name": type(self.optimizer).__name__,
                "scaler": self.scaler.state_dict(),
                "meter": self.meter.state_dict(),
                "skipped": self.skipped,
                "nonfinite": self.nonfinite,
                "unmeasured": self.evaluation_pending,
                "rng": self.processes.gather(rng_state()),  # by rank
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
        saved = self._saved_groups(state, source)
        groups = self.optimizer.param_groups
        changes = setting_changes([_settings(group) for group in saved], [_settings(group) for group in groups])
        # the settings of the config with the saved order of parameters: torch places its state by them
        merged = [old | _settings(new) for old, new in zip(saved, groups, strict=True)]
        try:
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict({"state": state["optimizer"]["state"], "param_groups": merged})
            if self.ema is not None:
                self.ema.load_state_dict(state["ema"])
        except (RuntimeError, ValueError, KeyError) as error:
            raise UserError(f"{source}: does not fit this model and optimizer: {_first_lines(error)}") from None
        if state["scaler"] and self.scaler.is_enabled():
            self.scaler.load_state_dict(state["scaler"])
        self.meter.load_state_dict(state["meter"])
        if self.best is not None and "best" in state:
            self.best.load_state_dict(state["best"])
        self.step, self.skipped, self.nonfinite = state["step"], state["skipped"], state["nonfinite"]
        self.evaluation_pending = state.get("unmeasured", False)
        rng, rank = state["rng"], self.processes.rank
        set_rng_state(rng[rank] if rank < len(rng) else rng[0])
        return changes

    def _saved_groups(self, state: dict[str, Any], source: str) -> list[dict[str, Any]]:
        """The parameter groups of a checkpoint, if its optimizer's state can go to the parameters it belongs to."""
        saved, groups = state["optimizer"]["param_groups"], self.optimizer.param_groups
        kind, wanted = state.get("optimizer_name"), type(self.optimizer).__name__
        way = "resume with the settings that it was trained with, or start from its weights with init_from"
        if kind not in (None, wanted):
            raise UserError(f"{source}: was trained with {kind}, the config says {wanted}; {way}")
        if len(saved) != len(groups):
            raise UserError(
                f"{source}: was trained with {_named(saved)}, the config makes {_named(groups)} "
                f"(optimizer.paramwise, model.freeze); {way}"
            )
        for old, new in zip(saved, groups, strict=True):
            ours = new["param_names"]
            names = old.get("param_names", ours)
            if names != ours:
                different = ", ".join(sorted(set(names) ^ set(ours))[:3]) or "in another order"
                raise UserError(
                    f"{source}: its parameter group {old['name']} holds other parameters than {new['name']} of the "
                    f"config (optimizer.paramwise, model.freeze): {different}; {way}"
                )
        return list(saved)


def setting_changes(saved: list[dict[str, Any]], chosen: list[dict[str, Any]]) -> list[str]:
    """Settings of parameter groups that are not what they were: ``lr 0.1 -> 0.05``, once where it holds for all.

    ``initial_lr`` is said as ``lr``: the rate of the moment comes from the policy at every step.
    """
    changes: dict[str, list[str]] = {}
    for old, new in zip(saved, chosen, strict=True):
        for key in (key for key in new if key not in ("lr", "name", "param_names") and old.get(key) != new[key]):
            text = f"{'lr' if key == 'initial_lr' else key} {old.get(key)} -> {new[key]}"
            changes.setdefault(text, []).append(new["name"])
    lines = [text + (f" in {', '.join(names)}" if len(names) < len(chosen) else "") for text, names in changes.items()]
    more = len(lines) - _MOST_CHANGES
    return lines if more <= 0 else [*lines[:_MOST_CHANGES], f"... and {more} more changes, see param_groups.csv"]


def _settings(group: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in group.items() if key != "params"}


def _named(groups: list[dict[str, Any]]) -> str:
    names = ", ".join(str(group.get("name", "?")) for group in groups[:6])
    return f"{len(groups)} parameter group{'s' * (len(groups) != 1)} ({names}{' ...' if len(groups) > 6 else ''})"


def _first_lines(error: BaseException) -> str:
    return " ".join(line.strip() for line in str(error).splitlines()[:3])
