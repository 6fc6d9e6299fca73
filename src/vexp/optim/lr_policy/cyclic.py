"""Cyclic and one-cycle policies, which change the rate at every step. Import them from ``vexp.optim.lr_policy``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from vexp.core.errors import ConfigError
from vexp.core.fields import option
from vexp.optim.lr_policy.base import MAX_EVENTS, LrPolicy, cosine_anneal, finite, linear_anneal

_ANNEAL = {"cos": cosine_anneal, "linear": linear_anneal}


def _no_epochs(by_epoch: bool) -> str | None:
    return "must be false, since the rate changes at every optimizer step" if by_epoch else None


def _ratio_rule(ratio: Any) -> str | None:
    pair = ratio if isinstance(ratio, list | tuple) else [ratio, 0.0]
    if len(pair) != 2 or any(isinstance(item, bool) or not isinstance(item, int | float) for item in pair):
        return "must be [highest, lowest] in multiples of the base rate, or the highest alone"
    return finite(pair) or (None if min(pair) >= 0 else "must be >= 0")


@dataclass(kw_only=True, slots=True)
class Cyclic(LrPolicy):
    """``cyclic_times`` cycles from base up to base * highest and down to base * lowest (Smith 2017).

    A cycle lasts T // ``cyclic_times`` steps (at least 1), of which the first int(``step_ratio_up`` * length) increase
    the rate; the remaining steps of the run start another cycle. In cycle k, the difference between the peak and the
    base rate is multiplied by gamma ** k.
    """

    by_epoch: bool = option(False, "Must be false, since the rate changes at every optimizer step.", check=_no_epochs)
    target_ratio: Any = option(
        [10.0, 1e-4],
        "Highest and lowest rate in multiples of the base rate; a single number is the highest, and 1e-5 of it the "
        "lowest.",
        accepts="float or list of 2 float", check=_ratio_rule,
    )  # fmt: skip
    cyclic_times: int = option(1, "Number of cycles in the run.", unit="cycles", ge=1)
    step_ratio_up: float = option(0.4, "Fraction of a cycle with an increasing rate.", ge=0, lt=1)
    anneal_strategy: str = option("cos", "Shape of the increase and the decrease.", choices=("cos", "linear"))
    gamma: float = option(1.0, "Factor on the height of the peak per cycle.", gt=0, le=1)

    def curve_lr(self, base_lr: float, t: int, total: float) -> float:
        length, up = self._cycle(total)
        cycle, position = divmod(t, length)
        several = isinstance(self.target_ratio, list | tuple)
        highest, lowest = self.target_ratio if several else (self.target_ratio, self.target_ratio / 1e5)
        peak = base_lr * (1 + math.pow(self.gamma, cycle) * (highest - 1))
        anneal = _ANNEAL[self.anneal_strategy]
        if position < up:
            return anneal(base_lr, peak, position / up)
        return anneal(peak, base_lr * lowest, (position - up) / (length - up))

    def curve_milestones(self, total: float) -> list[tuple[int, str]]:
        length, up = self._cycle(total)
        starts = range(0, int(total), length)[: MAX_EVENTS // 2]
        return [(start, "cycle begins") for start in starts[1:]] + [(start + up, "peak") for start in starts]

    def _cycle(self, total: float) -> tuple[int, int]:
        """Return the steps of a cycle, and how many of them increase the rate."""
        length = max(1, int(total) // self.cyclic_times)
        return length, int(self.step_ratio_up * length)

    def check_curve(self, total: float) -> list[str]:
        if self.cyclic_times <= total:
            return []
        return [f"cyclic_times={self.cyclic_times}: the run has only {self._span(total)}, so each of them is a cycle"]


def _peak_rule(max_lr: Any) -> str | None:
    if isinstance(max_lr, list | tuple):
        return "must be one number; with null, the peak of each group is its base rate"
    return finite(max_lr)


@dataclass(kw_only=True, slots=True)
class OneCycle(LrPolicy):
    """From first = peak / ``div_factor`` to the peak and down to first / ``final_div_factor`` (Smith and Topin 2019).

    In a cycle of n steps, the peak is at step ``pct_start`` * n - 1 and the end at step n - 1. With ``three_phase`` the
    rate decreases to the first rate in as many steps as it increased, and to the last rate in the remaining steps. The
    rate equals that of torch's OneCycleLR; momentum is not changed. Instead of mmcv's list of ``max_lr``, set
    ``max_lr=null`` and give the groups their own base rates.
    """

    by_epoch: bool = option(False, "Must be false, since the rate changes at every optimizer step.", check=_no_epochs)
    max_lr: float | None = option(
        None, "Peak of every group; null for the base rate of each group.", gt=0, check=_peak_rule
    )
    total_steps: int | None = option(
        None, "Length of the cycle, at least that of the run; null for the run.", unit="steps", ge=1
    )
    pct_start: float = option(0.3, "Fraction of the cycle with an increasing rate.", ge=0, le=1)
    anneal_strategy: str = option("cos", "Shape of the increase and the decreases.", choices=("cos", "linear"))
    div_factor: float = option(25.0, "Ratio of the peak to the first rate.", ge=1, check=finite)
    final_div_factor: float = option(1e4, "Ratio of the first rate to the last rate.", gt=0, check=finite)
    three_phase: bool = option(
        False, "Decrease symmetrically to the first rate, then to the last rate; false: directly to the last rate."
    )

    def curve_lr(self, base_lr: float, t: int, total: float) -> float:
        steps = self.total_steps or int(total)
        position = min(t, steps - 1)
        peak = base_lr if self.max_lr is None else self.max_lr
        first = peak / self.div_factor
        last = first / self.final_div_factor
        up_end = self.pct_start * steps - 1
        phases = [(0.0, up_end, first, peak), (up_end, steps - 1, peak, last)]  # begin, end, rate from, rate to
        if self.three_phase:
            phases[1:] = [(up_end, 2 * up_end, peak, first), (2 * up_end, steps - 1, first, last)]
        begin, end, rate_from, rate_to = next(phase for phase in phases if position <= phase[1])
        progress = (position - begin) / (end - begin) if end > begin else 1.0
        return _ANNEAL[self.anneal_strategy](rate_from, rate_to, progress)

    def curve_milestones(self, total: float) -> list[tuple[int, str]]:
        return [(max(0, round(self.pct_start * (self.total_steps or total) - 1)), "peak")]

    def check_curve(self, total: float) -> list[str]:
        if self.total_steps is None or self.total_steps == total:
            return []
        if self.total_steps < total:
            rule = f"must be at least the run of {self._span(total)}; null for the run"
            raise ConfigError(rule, key="total_steps", value=self.total_steps)
        return [f"total_steps={self.total_steps}: the run ends after {self._span(total)}, before the cycle"]
