"""The learning-rate policies with one curve: fixed, step, cosine, exponential, polynomial, inverse, linear.

Each policy is a function of the base rate, the step and the length of the run; ``vexp.optim.lr_policy.base`` defines
``by_epoch`` and the warm-up. In the formulas, t counts epochs (``by_epoch``) or optimizer steps from 0, T is the length
of the run in the same unit, and p = t / T. Formulas and argument names are those of mmcv 1.7.

A new policy is exported by the package, and has a row in ``vexp.config.options`` and a file in conf/lr_policy;
as a phase of ``lr=chain`` it needs a shape in ``vexp.optim.lr_policy.chain``.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from vexp.core.errors import ConfigError, format_value
from vexp.core.fields import option
from vexp.optim.lr_policy.base import (
    MAX_EVENTS,
    AnnealingPolicy,
    LrPolicy,
    cosine_anneal,
    finite,
    linear_anneal,
    step_rule,
)


@dataclass(kw_only=True, slots=True)
class Fixed(LrPolicy):
    """lr = base: constant, apart from a warm-up."""

    def curve_lr(self, base_lr: float, t: int, total: float) -> float:
        return base_lr

    def check_curve(self, total: float) -> list[str]:
        return []


@dataclass(kw_only=True, slots=True)
class Step(LrPolicy):
    """lr = max(base * gamma ** (number of drops up to t), min_lr).

    ``step=null`` drops at 0.4 T and 0.8 T, as in mmaction2's recipes for TSN (40 and 80 of 100 epochs) and TSM (20 and
    40 of 50). ``min_lr`` applies to every group and raises a group with a lower base rate.
    """

    step: Any = option(
        None, "Milestones as a list, or the interval between drops; null for 0.4 and 0.8 of the run.",
        unit="epochs (steps)", accepts="int or list of int, or null", check=step_rule,
    )  # fmt: skip
    gamma: float = option(0.1, "Factor on the learning rate at each drop.", gt=0, le=1)
    min_lr: float | None = option(None, "Lower bound of the learning rate; null for none.", ge=0, check=finite)

    def curve_lr(self, base_lr: float, t: int, total: float) -> float:
        lr = base_lr * math.pow(self.gamma, bisect_right(self._milestones(total), t))
        return lr if self.min_lr is None else max(lr, self.min_lr)

    def curve_milestones(self, total: float) -> list[tuple[int, str]]:
        return [(milestone, f"drop x {self.gamma:g}") for milestone in self._milestones(total)[:MAX_EVENTS]]

    def _milestones(self, total: float) -> Sequence[int]:
        if self.step is None:
            return [math.ceil(total * fifths / 5) for fifths in (2, 4)]
        return range(self.step, int(total) + 1, self.step) if isinstance(self.step, int) else self.step

    def check_curve(self, total: float) -> list[str]:
        if self.step is None:
            return LrPolicy.check_curve(self, total)
        milestones = [self.step] if isinstance(self.step, int) else self.step
        late = [milestone for milestone in milestones if milestone >= total]
        warning = f"step={format_value(self.step)}: the run ends after {self._span(total)}, so there is no drop at "
        return [warning + format_value(late)] if late else []


@dataclass(kw_only=True, slots=True)
class Cosine(AnnealingPolicy):
    """lr = floor + (base - floor) (1 + cos(pi p)) / 2: half a cosine wave (Loshchilov and Hutter 2017)."""

    def curve_lr(self, base_lr: float, t: int, total: float) -> float:
        return cosine_anneal(base_lr, self.floor(base_lr), t / total)


@dataclass(kw_only=True, slots=True)
class CosineRestart(AnnealingPolicy):
    """Cosine annealing with restarts (SGDR, Loshchilov and Hutter 2017).

    lr = floor_k + (peak_k - floor_k) (1 + cos(pi a)) / 2 in cycle k, where a is the completed fraction of the cycle and

    * ``restart_floor=scaled``: peak_k = w_k base, floor_k = w_k base ``min_lr_ratio``: weight 0.5 halves the cycle;
    * ``restart_floor=fixed`` (mmcv): floor_k = base ``min_lr_ratio`` and peak_k = floor_k + w_k (base - floor_k).

    With ``min_lr`` the floor is that rate in every cycle in both cases.

    ``periods=null`` divides the run 1 : 2 : 3 (5, 10 and 15 of 30 epochs) with weights 1, 1, 0.5. Restarts are rounded
    up to whole epochs (steps). In a short run, cycles without an epoch of their own are skipped, so that a run of one
    epoch or one step uses the base rate.
    """

    periods: list[int] | None = option(
        None, "Lengths of the cycles; null divides the run 1 : 2 : 3.", unit="epochs (steps)", ge=1
    )
    restart_weights: list[float] | None = option(
        None, "Weight of each cycle; null for 1 each, or 1, 1, 0.5 without periods.", ge=0, check=finite
    )
    restart_floor: str = option(
        "scaled", "Whether the weight also scales the floor (scaled) or not, as in mmcv (fixed).",
        choices=("scaled", "fixed"),
    )  # fmt: skip

    def __post_init__(self) -> None:
        AnnealingPolicy.__post_init__(self)
        if self.periods is not None and not self.periods:
            rule = "needs at least one period; null divides the run 1 : 2 : 3"
            raise ConfigError(rule, key="periods", value=self.periods)
        cycles = 3 if self.periods is None else len(self.periods)
        if self.restart_weights is not None and len(self.restart_weights) != cycles:
            rule = f"needs {cycles} values, one for each cycle of periods={format_value(self.periods)}"
            raise ConfigError(rule, key="restart_weights", value=self.restart_weights)

    def curve_lr(self, base_lr: float, t: int, total: float) -> float:
        weight, progress = self._cycle(t, total)
        floor = self.floor(base_lr)
        if self.restart_floor == "fixed":
            # the peak of a group below min_lr would be negative for a weight above 1
            return cosine_anneal(max(0.0, floor + weight * (base_lr - floor)), floor, progress)
        return cosine_anneal(weight * base_lr, floor if self.min_lr is not None else weight * floor, progress)

    def curve_milestones(self, total: float) -> list[tuple[int, str]]:
        ends = [int(end) for end in self._ends(total)[:-1]]
        return [(end, f"restart at weight {self._cycle(end, total)[0]:g}") for end in ends if 0 < end < total]

    def _ends(self, total: float) -> list[float]:
        return list(accumulate(self.periods)) if self.periods else [math.ceil(total / 6), math.ceil(total / 2), total]

    def _cycle(self, t: int, total: float) -> tuple[float, float]:
        """Return the weight of the cycle at ``t`` and its completed fraction."""
        ends = self._ends(total)
        weights = self.restart_weights or ([1.0] * len(ends) if self.periods else [1.0, 1.0, 0.5])
        for start, end, weight in zip([0, *ends], ends, weights, strict=False):
            if t < end:
                return weight, (t - start) / (end - start)
        return weights[-1], 1.0  # the end of the last cycle

    def check_curve(self, total: float) -> list[str]:
        warnings = LrPolicy.check_curve(self, total)
        covered = total if self.periods is None else sum(self.periods)
        if covered < total:
            covers = f"must cover the run of {self._span(total)}, got {self._span(covered)}"
            raise ConfigError(f"{covers}; null divides the run 1 : 2 : 3", key="periods", value=self.periods)
        if covered > total:
            warnings.append(
                f"periods={format_value(self.periods)}: they last {self._span(covered)}, but the run ends after "
                f"{self._span(total)}"
            )
        return warnings


@dataclass(kw_only=True, slots=True)
class Exp(LrPolicy):
    """lr = base * gamma ** t."""

    # 0.9 is the value in the documentation of PyTorch's ExponentialLR
    gamma: float = option(0.9, "Factor on the learning rate per epoch (step).", gt=0, le=1)

    def curve_lr(self, base_lr: float, t: int, total: float) -> float:
        return base_lr * math.pow(self.gamma, t)


@dataclass(kw_only=True, slots=True)
class Poly(LrPolicy):
    """lr = min_lr + (base - min_lr) (1 - p) ** power (DeepLab, Chen et al. 2017).

    ``min_lr`` applies to every group, so a group with a lower base rate increases to it.
    """

    power: float = option(1.0, "Exponent of the decay; 1 is linear.", gt=0, check=finite)
    min_lr: float = option(0.0, "Learning rate at the end, the same for every group.", ge=0, check=finite)

    def curve_lr(self, base_lr: float, t: int, total: float) -> float:
        return self.min_lr + (base_lr - self.min_lr) * math.pow(1 - t / total, self.power)


@dataclass(kw_only=True, slots=True)
class Inv(LrPolicy):
    """lr = base * (1 + gamma t) ** -power (Caffe's ``inv``)."""

    gamma: float = option(
        0.1, "Speed of the decay; with power=1 the rate is halved at t = 1 / gamma.", ge=0, check=finite
    )
    power: float = option(1.0, "Exponent of the decay.", ge=0, check=finite)

    def curve_lr(self, base_lr: float, t: int, total: float) -> float:
        return base_lr * math.pow(1 + self.gamma * t, -self.power)


@dataclass(kw_only=True, slots=True)
class Linear(AnnealingPolicy):
    """lr = base + (floor - base) p: linear decay from base to the floor."""

    def curve_lr(self, base_lr: float, t: int, total: float) -> float:
        return linear_anneal(base_lr, self.floor(base_lr), t / total)


@dataclass(kw_only=True, slots=True)
class FlatCosine(AnnealingPolicy):
    """lr = base until t = round(T start_percent), then a cosine to the floor over the rest of the run."""

    start_percent: float = option(0.75, "Fraction of the run at the base rate.", ge=0, le=1)

    def check_curve(self, total: float) -> list[str]:
        start = round(total * self.start_percent)
        if start < math.ceil(total) - 1:  # the last epoch (step) is after the start of the cosine
            return []
        return [
            f"start_percent={self.start_percent}: the cosine would begin after {self._span(start)} of a run of "
            f"{self._span(total)}, so the rate is constant"
        ]

    def curve_lr(self, base_lr: float, t: int, total: float) -> float:
        start = round(total * self.start_percent)
        return base_lr if t <= start else cosine_anneal(base_lr, self.floor(base_lr), (t - start) / (total - start))

    def curve_milestones(self, total: float) -> list[tuple[int, str]]:
        return [(round(total * self.start_percent), "cosine begins")]
