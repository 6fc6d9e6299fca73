"""Everything that must be saved to resume a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from vexp.core.errors import UserError
from vexp.core.log import plural
from vexp.evaluation.best_score import Best
from vexp.runtime.distributed import SINGLE_PROCESS, World
from vexp.runtime.parallel import SingleProcess
from vexp.runtime.seed import rng_state, set_rng_state
from vexp.tracking.meter import Meter

_MAX_CHANGES = 8  # lines about changed settings of parameter groups
#: Averages of optimizers of torch that have a value for each one of a parameter.
_PER_ELEMENT = (
    "momentum_buffer", "exp_avg", "exp_avg_sq", "max_exp_avg_sq", "exp_inf", "square_avg", "grad_avg", "acc_delta",
    "sum", "prev", "step_size", "ax",
)  # fmt: skip


@dataclass(slots=True)
class TrainState:
    """The state of a run.

    Attributes:
        step: Completed optimizer steps, the only clock of the run.
        skipped: Steps without an update because fp16 gradients overflowed.
        nonfinite: Steps without an update because the loss or a gradient was not finite.
        evaluation_pending: The evaluation after ``step`` was interrupted and comes first when the run is resumed.
        proxies: Checksum of the proxies that the run has read (``data.cache=proxy``); empty before the second epoch.
        without_gradient: Parameters that have been reported to have no gradient.
        parallel: How the processes of the run share ``model``.
    """

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
    proxies: str = ""
    without_gradient: set[str] = field(default_factory=set)
    world: World = SINGLE_PROCESS
    parallel: SingleProcess = field(kw_only=True)

    @property
    def evaluated_model(self) -> nn.Module:
        """The model that is evaluated: the moving average of the weights if there is one."""
        return self.model if self.ema is None else self.ema.module

    @property
    def early_stopped(self) -> bool:
        """Whether the best score has not improved for ``eval.patience`` evaluations, which ends the run."""
        return self.best is not None and self.best.patience_exceeded

    @property
    def best_record(self) -> dict[str, Any] | None:
        """The content of best.json and of ``best`` in result.json; None before the first evaluation."""
        return None if self.best is None or self.best.score is None else self.best.record()

    def state_dict(self, *, resumable: bool) -> dict[str, Any]:
        """Return tensors and plain containers, without ``resumable`` the weights only. All processes must call it."""
        gather = self.parallel.gather
        state: dict[str, Any] = {"step": self.step, "model": gather(self.model.state_dict())}
        if self.ema is not None:
            state["ema"] = gather(self.ema.state_dict())
        if self.best is not None:
            state["best"] = self.best.state_dict()
        if resumable:
            state |= {"proxies": self.proxies} if self.proxies else {}
            state |= {
                "optimizer": gather(self.optimizer.state_dict()),
                "optimizer_name": type(self.optimizer).__name__,
                "scaler": self.scaler.state_dict(),
                "meter": self.meter.state_dict(),
                "skipped": self.skipped,
                "nonfinite": self.nonfinite,
                "unmeasured": self.evaluation_pending,
                "rng": self.world.gather_object(rng_state()),  # by rank
            }
        return state

    def load_state_dict(self, state: dict[str, Any], source: str) -> list[str]:
        """Restore the state of a checkpoint; the optimizer's settings are those of the config.

        Returns:
            Settings of parameter groups that differ from the checkpoint's: "lr 0.1 -> 0.05".

        Raises:
            UserError: If the checkpoint holds weights only, or belongs to another model or optimizer.
        """
        if state.get("optimizer") is None:
            raise UserError(
                f"{source}: contains weights only (checkpoint.save_optimizer=false); use init_from to start from them"
            )
        has_ema = state.get("ema") is not None
        if (self.ema is not None) != has_ema:
            raise UserError(
                f"{source}: was saved with ema {'on' if has_ema else 'off'}; resume with the same ema setting"
            )
        saved, groups = state["optimizer"]["param_groups"], self.optimizer.param_groups
        self._check_same_groups(state, source)
        # torch assigns the saved state by the saved order of parameters; the settings are those of the config
        settings = [{key: value for key, value in group.items() if key != "params"} for group in groups]
        changes = setting_changes(saved, settings)
        merged = [old | new for old, new in zip(saved, settings, strict=True)]
        try:
            self.parallel.load_model(self.model, state["model"])
            optimizer_state = {"state": state["optimizer"]["state"], "param_groups": merged}
            self.parallel.load_optimizer(self.optimizer, optimizer_state)
            _check_optimizer_state(self.optimizer)
            if self.ema is not None:
                self.parallel.load_model(self.ema, state["ema"])
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
            reason = " ".join(line.strip() for line in str(error).splitlines()[:3])
            raise UserError(f"{source}: does not fit this model and optimizer: {reason}") from None
        try:
            if state["scaler"] and self.scaler.is_enabled():
                self.scaler.load_state_dict(state["scaler"])
            self.meter.load_state_dict(state["meter"])
            rng, rank = state["rng"], self.world.rank
            set_rng_state(rng[rank] if rank < len(rng) else rng[0])
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise UserError(f"{source}: its loss scale, averages or random generators are damaged: {error}") from None
        if self.best is not None and state.get("best") is not None:
            self.best.load_state_dict(state["best"])
        self.step, self.skipped, self.nonfinite = state["step"], state["skipped"], state["nonfinite"]
        self.evaluation_pending = bool(state.get("unmeasured", False))
        self.proxies = str(state.get("proxies", ""))
        return changes

    def _check_same_groups(self, state: dict[str, Any], source: str) -> None:
        """Check that the parameter groups of a checkpoint are of this optimizer and hold the same parameters."""
        saved, groups = state["optimizer"]["param_groups"], self.optimizer.param_groups
        saved_name, name = state.get("optimizer_name"), type(self.optimizer).__name__
        hint = "resume with the settings of the training, or start from its weights with init_from"
        if saved_name not in (None, name):
            raise UserError(f"{source}: was trained with {saved_name}, the config has {name}; {hint}")
        if len(saved) != len(groups):
            raise UserError(
                f"{source}: was trained with {_named(saved)}, the config has {_named(groups)} "
                f"(optimizer.paramwise, model.freeze); {hint}"
            )
        for old, new in zip(saved, groups, strict=True):
            names = new["param_names"]
            saved_names = old.get("param_names", names)
            if saved_names != names:
                different = ", ".join(sorted(set(saved_names) ^ set(names))[:3]) or "in another order"
                raise UserError(
                    f"{source}: its parameter group {old.get('name')} has other parameters than {new['name']} of the "
                    f"config (optimizer.paramwise, model.freeze): {different}; {hint}"
                )


def _check_optimizer_state(optimizer: torch.optim.Optimizer) -> None:
    """Check the averages of each parameter: torch accepts any, and fails in the first step.

    Raises:
        ValueError: If one does not have the shape of its parameter.
    """
    if not type(optimizer).__module__.startswith("torch.optim"):  # of a plugin: its names are unknown
        return
    for parameter, averages in optimizer.state.items():
        for name, value in averages.items():
            if name in _PER_ELEMENT and value is not None and getattr(value, "shape", None) != parameter.shape:
                kind = tuple(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__
                raise ValueError(f"{name} of a parameter of shape {tuple(parameter.shape)} is {kind}")


def setting_changes(saved: list[dict[str, Any]], chosen: list[dict[str, Any]]) -> list[str]:
    """Describe changed settings of parameter groups: ``lr 0.1 -> 0.05``, once if the change is the same in all.

    ``initial_lr`` is called ``lr``: the current rate is a function of the policy and the step.
    """
    changes: dict[str, list[str]] = {}
    for old, new in zip(saved, chosen, strict=True):
        for key in (key for key in new if key not in ("lr", "name", "param_names") and old.get(key) != new[key]):
            text = f"{'lr' if key == 'initial_lr' else key} {old.get(key)} -> {new[key]}"
            changes.setdefault(text, []).append(new["name"])
    lines = [text + (f" in {', '.join(names)}" if len(names) < len(chosen) else "") for text, names in changes.items()]
    more = len(lines) - _MAX_CHANGES
    return lines if more <= 0 else [*lines[:_MAX_CHANGES], f"... and {more} more changes, see param_groups.csv"]


def _named(groups: list[dict[str, Any]]) -> str:
    names = ", ".join(str(group.get("name", "?")) for group in groups[:6])
    return f"{plural(len(groups), 'parameter group')} ({names}{' ...' if len(groups) > 6 else ''})"
