"""What every learning-rate policy shares: the clock, the warm-up and the checks against a run's length."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from vexp.core.errors import format_value
from vexp.core.fields import ValidatedConfig, option


def finite(value: Any) -> str | None:
    """Rule of a number, or of every number of a list, that has no upper bound of its own."""
    numbers = value if isinstance(value, list | tuple) else (value,)
    return None if all(math.isfinite(number) for number in numbers) else "must be finite"


def cosine_anneal(start: float, end: float, progress: float) -> float:
    """Half a cosine wave from ``start`` (progress 0) to ``end`` (progress 1)."""
    left = 0.5 * (1 + math.cos(math.pi * progress))
    return start * left + end * (1 - left)  # a weighted mean: exact at the start, never below 0


def linear_anneal(start: float, end: float, progress: float) -> float:
    """The straight line from ``start`` (progress 0) to ``end`` (progress 1)."""
    return start * (1 - progress) + end * progress


def step_rule(step: Any) -> str | None:
    """Rule of drops: every so many epochs (steps), or a list of them."""
    entries = step if isinstance(step, list | tuple) else [step]
    if any(isinstance(entry, bool) or not isinstance(entry, int) for entry in entries):
        return "must be a whole number (a drop every so many epochs or steps) or a list of them (a drop at each)"
    if any(entry < 1 for entry in entries):
        return "must be >= 1"
    if any(later <= earlier for earlier, later in pairwise(entries)):
        return "must be in rising order, each entry once"
    return None


@dataclass(kw_only=True, slots=True)
class WarmedPolicy(ValidatedConfig, ABC):
    """The learning rate as a pure function of the base rate, the step and the run's length: nothing to step or save.

    The warm-up moves by step: for the first W steps it multiplies the regular rate (which goes on underneath, nothing
    is shifted) by a factor f(i) with r = ``warmup_ratio``, and from step W on the regular rate is used as it is.

    ======== ===================
    warmup   f(i), 0 <= i < W
    ======== ===================
    constant r
    linear   1 - (1 - i/W)(1 - r)
    exp      r ** (1 - i/W)
    ======== ===================

    The rules and the numbers are those of mmcv 1.7's LrUpdaterHooks. ``LrPolicy`` is the base of a policy that is one
    curve over the whole run.
    """

    by_epoch: bool = option(
        True, "the rate changes between epochs; false: at every optimizer step", see=("epochs", "max_steps")
    )
    warmup: str | None = option(
        None,
        "shape of the warm-up, which warmup_iters and warmup_ratio describe; null: none",
        choices=("constant", "linear", "exp"),
    )
    warmup_iters: int = option(
        0, "length of the warm-up in steps, or in epochs with warmup_by_epoch", unit="steps (epochs)", ge=0
    )
    warmup_ratio: float = option(0.1, "factor on the learning rate at the start of the warm-up", gt=0, le=1)
    warmup_by_epoch: bool = option(False, "warmup_iters counts epochs; the warm-up still moves at every step")

    def __post_init__(self) -> None:
        ValidatedConfig.__post_init__(self)
        if self.warmup is not None and self.warmup_iters == 0:
            raise ValueError(
                f"warmup={self.warmup}: needs warmup_iters of at least 1, got warmup_iters=0; warmup=null: none"
            )

    @abstractmethod
    def lr_without_warmup(self, base_lr: float, *, step: int, steps_per_epoch: int, total_steps: int) -> float:
        """The rate without warm-up; arguments as of ``lr_at``, ``step`` at most ``total_steps``."""

    @abstractmethod
    def check_run(self, steps_per_epoch: int, total_steps: int) -> list[str]:
        """Warnings about the regular rate over a run; ValueError if it cannot work."""

    @abstractmethod
    def milestones(self, steps_per_epoch: int, total_steps: int) -> list[tuple[int, str]]:
        """Where the regular rate turns, for people to read: (optimizer step, what begins there)."""

    def check(self, steps_per_epoch: int, total_steps: int) -> list[str]:
        """Compares the policy with the length of a run, before it starts.

        Returns:
            Warnings, one sentence each: what will never take effect in this run.

        Raises:
            ValueError: what cannot work over this length.
        """
        for name, value in (("steps_per_epoch", steps_per_epoch), ("total_steps", total_steps)):
            if value < 1:
                raise ValueError(f"{name}={value}: a learning-rate policy needs a run of at least 1 step")
        return self._check_warmup(steps_per_epoch, total_steps) + self.check_run(steps_per_epoch, total_steps)

    def lr_at(self, base_lr: float, *, step: int, steps_per_epoch: int, total_steps: int) -> float:
        """Learning rate that one optimizer step uses.

        Args:
            base_lr: rate of the parameter group, as the optimizer's config gives it.
            step: 0-based optimizer step. ``total_steps`` gives the value at which the curve would end, which no step
                uses; it is kept for later steps.
            steps_per_epoch: optimizer steps in one epoch.
            total_steps: optimizer steps in the whole run.
        """
        regular = self.lr_without_warmup(
            base_lr, step=min(step, total_steps), steps_per_epoch=steps_per_epoch, total_steps=total_steps
        )
        return regular * self._warmup_factor(step, steps_per_epoch)

    def timeline(self, steps_per_epoch: int, total_steps: int) -> list[tuple[int, str]]:
        """``milestones`` and the end of the warm-up by optimizer step (0-based), those of this run alone, in order."""
        events = self.milestones(steps_per_epoch, total_steps)
        if (length := self.warmup_steps(steps_per_epoch)) > 0:
            events = [*events, (length, f"warm-up ({self.warmup}) ends")]
        return sorted(event for event in events if event[0] < total_steps)

    def warmup_steps(self, steps_per_epoch: int) -> int:
        """Length of the warm-up in optimizer steps; 0 without one."""
        if self.warmup is None:
            return 0
        return self.warmup_iters * (steps_per_epoch if self.warmup_by_epoch else 1)

    def _warmup_factor(self, step: int, steps_per_epoch: int) -> float:
        length = self.warmup_steps(steps_per_epoch)
        if step >= length:
            return 1.0
        left = 1 - step / length
        if self.warmup == "constant":
            return self.warmup_ratio
        if self.warmup == "linear":
            return 1 - left * (1 - self.warmup_ratio)
        return math.pow(self.warmup_ratio, left)

    def _check_warmup(self, steps_per_epoch: int, total_steps: int) -> list[str]:
        if self.warmup is None and self.warmup_iters > 0:
            return [f"warmup_iters={self.warmup_iters}: no effect, as warmup=null; choose constant, linear or exp"]
        length = self.warmup_steps(steps_per_epoch)
        if length < total_steps:
            return []
        return [
            f"warmup_iters={self.warmup_iters}: the warm-up takes {_length(length, 'steps')} and the run has "
            f"{_length(total_steps, 'steps')}, so the learning rate never reaches its regular value"
        ]


def _length(count: float, unit: str) -> str:
    number = f"{count:.0f}" if count == int(count) else f"{count:.2f}"
    return f"{number} {unit.removesuffix('s') if count == 1 else unit}"


@dataclass(kw_only=True, slots=True)
class LrPolicy(WarmedPolicy, ABC):
    """A policy that is one curve over the run, before its warm-up.

    A policy of your own is a subclass with one method; clock, warm-up and checks come from here::

        @dataclass(kw_only=True, slots=True)
        class InverseRoot(LrPolicy):
            def curve_lr(self, base_lr: float, t: int, total: float) -> float:
                return base_lr / math.sqrt(1 + t)

    With ``by_epoch`` the rate moves only between epochs (a staircase); otherwise at every optimizer step.
    """

    @abstractmethod
    def curve_lr(self, base_lr: float, t: int, total: float) -> float:
        """The rate without warm-up.

        Args:
            base_lr: rate of the parameter group, as the optimizer's config gives it.
            t: epochs (by_epoch) or optimizer steps completed, 0 at the first step of the run; at most ``total``.
            total: length of the run in the same unit. In epochs it need not be whole: 2.5 with ``max_steps`` in the
                middle of the third epoch.
        """

    def check_curve(self, total: float) -> list[str]:
        """Warnings about the regular rate over a run of ``total`` epochs or steps; ValueError if it cannot work.

        Says where a staircase has only one stair. A policy with more to say overrides it.
        """
        if self.by_epoch and total <= 1:
            return [
                f"by_epoch=true: the rate changes only between epochs and this run has {_length(total, 'epochs')}, "
                "so it stays the same; by_epoch=false follows the curve step by step"
            ]
        return []

    def curve_milestones(self, total: float) -> list[tuple[int, str]]:
        """Where the regular curve turns over a run of ``total`` epochs or steps: (epoch or step, what begins there).

        For people to read; a policy with drops, restarts or phases overrides it.
        """
        return []

    def lr_without_warmup(self, base_lr: float, *, step: int, steps_per_epoch: int, total_steps: int) -> float:
        done = step // steps_per_epoch if self.by_epoch else step
        return self.curve_lr(base_lr, done, self._total(steps_per_epoch, total_steps))

    def check_run(self, steps_per_epoch: int, total_steps: int) -> list[str]:
        return self.check_curve(self._total(steps_per_epoch, total_steps))

    def milestones(self, steps_per_epoch: int, total_steps: int) -> list[tuple[int, str]]:
        unit = steps_per_epoch if self.by_epoch else 1
        return [(t * unit, what) for t, what in self.curve_milestones(self._total(steps_per_epoch, total_steps))]

    def _total(self, steps_per_epoch: int, total_steps: int) -> float:
        return total_steps / steps_per_epoch if self.by_epoch else float(total_steps)

    def _span(self, total: float) -> str:
        return _length(total, "epochs" if self.by_epoch else "steps")


@dataclass(kw_only=True, slots=True)
class AnnealingPolicy(LrPolicy, ABC):
    """A policy that falls from the base rate to a floor: an absolute rate or a share of the base rate.

    ``min_lr`` is the same for every parameter group: a group whose base rate lies below it rises to it, as in mmcv.
    ``min_lr_ratio`` keeps the groups' ratios. With neither the floor is 0.
    """

    min_lr: float | None = option(
        None, "learning rate at the end, the same for every group; or give min_lr_ratio", ge=0, check=finite
    )
    min_lr_ratio: float | None = option(None, "learning rate at the end as a share of the base rate", ge=0, le=1)

    def __post_init__(self) -> None:
        LrPolicy.__post_init__(self)
        if self.min_lr is not None and self.min_lr_ratio is not None:
            given = f"min_lr={format_value(self.min_lr)} and min_lr_ratio={format_value(self.min_lr_ratio)}"
            raise ValueError(f"{given}: give one of them and set the other to null")

    def floor(self, base_lr: float) -> float:
        """Learning rate at the end of the curve, for a group of this base rate."""
        return base_lr * (self.min_lr_ratio or 0.0) if self.min_lr is None else self.min_lr
