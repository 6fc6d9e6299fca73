"""Base classes of the learning-rate policies: unit of time, warm-up, and checks against the length of a run."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from vexp.core.errors import ConfigError, format_value
from vexp.core.fields import ValidatedConfig, option

#: Events of a policy that a plan lists, from the first.
MAX_EVENTS = 1000


def finite(value: Any) -> str | None:
    """Check that a number, or every number of a list, is finite."""
    items = value if isinstance(value, list | tuple) else (value,)
    return None if all(math.isfinite(item) for item in items) else "must be finite"


def cosine_anneal(start: float, end: float, progress: float) -> float:
    """Interpolate from ``start`` (progress 0) to ``end`` (progress 1) along half a cosine wave."""
    weight = 0.5 * (1 + math.cos(math.pi * progress))
    return start * weight + end * (1 - weight)  # a weighted mean is exact at the start and never below 0


def linear_anneal(start: float, end: float, progress: float) -> float:
    """Interpolate linearly from ``start`` (progress 0) to ``end`` (progress 1)."""
    return start * (1 - progress) + end * progress


def step_rule(step: Any) -> str | None:
    """Check the drops of a step policy: an interval in epochs (steps), or a list of milestones."""
    entries = step if isinstance(step, list | tuple) else [step]
    if any(isinstance(entry, bool) or not isinstance(entry, int) for entry in entries):
        return "must be an integer (the interval between drops) or a list of integers (the milestones)"
    if any(entry < 1 for entry in entries):
        return "must be >= 1"
    if any(later <= earlier for earlier, later in pairwise(entries)):
        return "must be strictly increasing"
    return None


@dataclass(kw_only=True, slots=True)
class WarmedPolicy(ValidatedConfig, ABC):
    """A learning-rate policy: a pure function of the base rate, the step and the length of the run, without state.

    During the first W optimizer steps, the warm-up multiplies the learning rate by a factor f(i) with
    r = ``warmup_ratio``. It does not shift the policy, which continues unchanged from step W on.

    ======== ===================
    warmup   f(i), 0 <= i < W
    ======== ===================
    constant r
    linear   1 - (1 - i/W)(1 - r)
    exp      r ** (1 - i/W)
    ======== ===================

    The definitions are those of the LrUpdaterHooks of mmcv 1.7. ``LrPolicy`` is the base class of policies that are a
    single curve over the run.
    """

    by_epoch: bool = option(
        True, "Change the rate between epochs; false: at every optimizer step.", see=("epochs", "max_steps")
    )
    warmup: str | None = option(None, "Shape of the warm-up; null for none.", choices=("constant", "linear", "exp"))
    warmup_iters: int = option(
        0, "Length of the warm-up, in epochs if warmup_by_epoch.", unit="steps (epochs)", ge=0,
        see=("lr_policy.warmup",),
    )  # fmt: skip
    warmup_ratio: float = option(0.1, "Factor on the learning rate at the start of the warm-up.", gt=0, le=1)
    warmup_by_epoch: bool = option(
        False, "Count warmup_iters in epochs; the warm-up still changes the rate at every step."
    )

    def __post_init__(self) -> None:
        ValidatedConfig.__post_init__(self)
        if self.warmup is not None and self.warmup_iters == 0:
            raise ConfigError("needs warmup_iters >= 1; warmup=null for none", key="warmup", value=self.warmup)

    @abstractmethod
    def lr_without_warmup(self, base_lr: float, *, step: int, steps_per_epoch: int, total_steps: int) -> float:
        """Return the rate without warm-up, as ``lr_at`` with ``step`` at most ``total_steps``."""

    @abstractmethod
    def check_run(self, steps_per_epoch: int, total_steps: int) -> list[str]:
        """Return warnings about the rate without warm-up over a run; raise ConfigError if it is impossible."""

    @abstractmethod
    def milestones(self, steps_per_epoch: int, total_steps: int) -> list[tuple[int, str]]:
        """Return the events of the rate without warm-up as (optimizer step, description)."""

    def check(self, steps_per_epoch: int, total_steps: int) -> list[str]:
        """Check the policy against the length of a run before it starts.

        Returns:
            Warnings, one sentence each, about settings without effect in this run.

        Raises:
            ConfigError: If the policy is impossible for this length.
        """
        for name, value in (("steps_per_epoch", steps_per_epoch), ("total_steps", total_steps)):
            if value < 1:
                raise ConfigError("must be >= 1", key=name, value=value)
        warnings = []
        if self.warmup is None and self.warmup_iters > 0:
            warnings = ["has no effect with warmup=null; choose constant, linear or exp"]
        elif (length := self.warmup_steps(steps_per_epoch)) >= total_steps:
            times = f"takes {_length(length, 'steps')} and the run has {_length(total_steps, 'steps')}"
            warnings = [f"the warm-up {times}, so the warm-up never ends"]
        warnings = [f"warmup_iters={self.warmup_iters}: {warning}" for warning in warnings]
        return warnings + self.check_run(steps_per_epoch, total_steps)

    def lr_at(self, base_lr: float, *, step: int, steps_per_epoch: int, total_steps: int) -> float:
        """Return the learning rate of one optimizer step.

        Args:
            base_lr: Base learning rate of the parameter group.
            step: 0-based optimizer step. For ``total_steps`` and later steps, the value at which the curve ends is
                returned, which is not used in training.
            steps_per_epoch: Optimizer steps per epoch.
            total_steps: Optimizer steps of the run.
        """
        lr = self.lr_without_warmup(
            base_lr, step=min(step, total_steps), steps_per_epoch=steps_per_epoch, total_steps=total_steps
        )
        return lr * self._warmup_factor(step, steps_per_epoch)

    def timeline(self, steps_per_epoch: int, total_steps: int) -> list[tuple[int, str]]:
        """Return ``milestones`` and the end of the warm-up within a run, in order of the step."""
        events = self.milestones(steps_per_epoch, total_steps)
        if length := self.warmup_steps(steps_per_epoch):
            events = [*events, (length, f"warm-up ({self.warmup}) ends")]
        return sorted(event for event in events if event[0] < total_steps)

    def warmup_steps(self, steps_per_epoch: int) -> int:
        """Return the length of the warm-up in optimizer steps; 0 without one."""
        if self.warmup is None:
            return 0
        return self.warmup_iters * (steps_per_epoch if self.warmup_by_epoch else 1)

    def _warmup_factor(self, step: int, steps_per_epoch: int) -> float:
        length = self.warmup_steps(steps_per_epoch)
        if step >= length:
            return 1.0
        remaining = 1 - step / length
        if self.warmup == "constant":
            return self.warmup_ratio
        if self.warmup == "linear":
            return 1 - remaining * (1 - self.warmup_ratio)
        return math.pow(self.warmup_ratio, remaining)


def _length(count: float, unit: str) -> str:
    text = f"{count:.0f}" if count == int(count) else f"{count:.2f}"
    return f"{text} {unit.removesuffix('s') if count == 1 else unit}"


@dataclass(kw_only=True, slots=True)
class LrPolicy(WarmedPolicy, ABC):
    """A policy that is a single curve over the run, to which the warm-up is applied.

    A custom policy is a subclass that implements one method::

        @dataclass(kw_only=True, slots=True)
        class InverseRoot(LrPolicy):
            def curve_lr(self, base_lr: float, t: int, total: float) -> float:
                return base_lr / math.sqrt(1 + t)

    With ``by_epoch`` the rate changes only between epochs, otherwise at every optimizer step.
    """

    @abstractmethod
    def curve_lr(self, base_lr: float, t: int, total: float) -> float:
        """Return the rate without warm-up.

        Args:
            base_lr: Base learning rate of the parameter group.
            t: Completed epochs (``by_epoch``) or optimizer steps, from 0 to ``total``.
            total: Length of the run in the same unit. In epochs it may be fractional, such as 2.5 if ``max_steps`` ends
                the run in the middle of the third epoch.
        """

    def check_curve(self, total: float) -> list[str]:
        """Return warnings about a run of ``total`` epochs or steps; raise ConfigError if the curve does not fit it.

        The default warns if the rate cannot change within the run.
        """
        if not self.by_epoch or total > 1:
            return []
        return [
            f"by_epoch=true: the rate changes only between epochs and this run has {_length(total, 'epochs')}, "
            "so it is constant; set by_epoch=false to change it at every step"
        ]

    def curve_milestones(self, total: float) -> list[tuple[int, str]]:
        """Return the events of the curve, shown in the plan of a run, as (epoch or step, description)."""
        return []

    def lr_without_warmup(self, base_lr: float, *, step: int, steps_per_epoch: int, total_steps: int) -> float:
        t = step // steps_per_epoch if self.by_epoch else step
        return self.curve_lr(base_lr, t, self._total(steps_per_epoch, total_steps))

    def check_run(self, steps_per_epoch: int, total_steps: int) -> list[str]:
        return self.check_curve(self._total(steps_per_epoch, total_steps))

    def milestones(self, steps_per_epoch: int, total_steps: int) -> list[tuple[int, str]]:
        unit = steps_per_epoch if self.by_epoch else 1
        return [(t * unit, event) for t, event in self.curve_milestones(self._total(steps_per_epoch, total_steps))]

    def _total(self, steps_per_epoch: int, total_steps: int) -> float:
        return total_steps / steps_per_epoch if self.by_epoch else float(total_steps)

    def _span(self, total: float) -> str:
        return _length(total, "epochs" if self.by_epoch else "steps")


@dataclass(kw_only=True, slots=True)
class AnnealingPolicy(LrPolicy, ABC):
    """A policy that decays from the base rate to a floor: an absolute rate or a fraction of the base rate.

    ``min_lr`` applies to every parameter group, so a group with a lower base rate increases to it, as in mmcv.
    ``min_lr_ratio`` preserves the ratios between the groups. With neither, the floor is 0.
    """

    min_lr: float | None = option(
        None, "Learning rate at the end, the same for every group; alternative to min_lr_ratio.", ge=0, check=finite
    )
    min_lr_ratio: float | None = option(None, "Learning rate at the end as a fraction of the base rate.", ge=0, le=1)

    def __post_init__(self) -> None:
        LrPolicy.__post_init__(self)
        if self.min_lr is not None and self.min_lr_ratio is not None:
            rule = f"conflicts with min_lr_ratio={format_value(self.min_lr_ratio)}; set one of them to null"
            raise ConfigError(rule, key="min_lr", value=self.min_lr)

    def floor(self, base_lr: float) -> float:
        """Return the learning rate at the end of the curve for a group with this base rate."""
        return base_lr * (self.min_lr_ratio or 0.0) if self.min_lr is None else self.min_lr
