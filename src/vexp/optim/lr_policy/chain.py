"""Chained schedules: phases that overlap or follow each other. Import ``Chain`` from ``vexp.optim.lr_policy``."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from vexp.core.errors import ConfigError
from vexp.core.fields import ValidatedConfig, option
from vexp.core.lazy import np
from vexp.optim.lr_policy.base import WarmedPolicy, finite, step_rule

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Shapes of a phase and their specific arguments.
SHAPES: dict[str, tuple[str, ...]] = {
    "constant": ("start_factor", "end_factor"),
    "linear": ("start_factor", "end_factor"),
    "step": ("step", "gamma"),
    "exp": ("gamma",),
    "poly": ("power", "min_lr", "min_lr_ratio"),
    "cosine": ("period", "min_lr", "min_lr_ratio"),
}
_MAX_STEPS = 10_000_000
_TIMES = ("shape", "begin", "end", "by_epoch", "every_step")


@dataclass(kw_only=True, slots=True)
class Phase(ValidatedConfig):
    """A phase of a chain, which changes the current rate from ``begin`` to ``end`` - 1.

    Its epochs (steps) are counted as k = 0, 1, ..., n - 1 from ``begin``; ``step`` and ``period`` use the same unit.
    With the factor s(k) and s(-1) = 1, the rate r changes at each k to floor + (r - floor) s(k) / s(k - 1).

    ======== ============================================================== =====
    shape    s(k)                                                           floor
    ======== ============================================================== =====
    constant start_factor; at k = n - 1 end_factor                          0
    linear   start_factor + (end_factor - start_factor) k / (n - 1)         0
    step     gamma ** (number of drops up to k)                             0
    exp      gamma ** k                                                     0
    poly     (1 - k / (n - 1)) ** power                                     yes
    cosine   (1 + cos(pi k / period)) / 2                                   yes
    ======== ============================================================== =====

    After its ``period`` a cosine increases again, up to the base rate of the group. The definitions are those of the
    schedulers of mmengine 0.10.
    """

    shape: str = option(doc="Shape of the phase.", choices=tuple(SHAPES))
    begin: float = option(0.0, "Begin of the phase.", unit="epochs (steps)", ge=0, check=finite)
    end: float | None = option(
        None, "End of the phase, exclusive; null for the end of the run.", unit="epochs (steps)", gt=0, check=finite
    )
    by_epoch: bool | None = option(
        None, "Count the phase in epochs; false: in optimizer steps; null: as by_epoch of the chain."
    )
    every_step: bool = option(False, "Change the rate at every optimizer step although the phase is counted in epochs.")
    start_factor: float = option(0.1, "constant, linear: factor on the rate at the begin.", gt=0, le=1)
    end_factor: float = option(1.0, "constant, linear: factor on the rate in the last epoch (step).", ge=0, le=1)
    step: Any = option(
        None, "step: milestones as a list, or the interval between drops, counted from begin.",
        unit="epochs (steps)", accepts="int or list of int, or null", check=step_rule,
    )  # fmt: skip
    gamma: float = option(0.1, "step, exp: factor on the rate at each drop, or at each epoch (step).", gt=0, le=1)
    power: float = option(1.0, "poly: exponent of the decay; 1 is linear.", gt=0, check=finite)
    period: float | None = option(
        None, "cosine: length of half a wave; null for the phase.", unit="epochs (steps)", gt=0, check=finite
    )
    min_lr: float = option(0.0, "poly, cosine: final rate, the same for every group.", ge=0, check=finite)
    min_lr_ratio: float = option(0.0, "poly, cosine: final rate as a fraction of the base rate.", ge=0, le=1)

    def __post_init__(self) -> None:
        ValidatedConfig.__post_init__(self)
        if self.end is not None and self.end <= self.begin:
            raise ConfigError(f"must be after begin={self.begin:g}", key="end", value=self.end)
        if self.shape == "step" and self.step is None:
            raise ConfigError("shape=step needs an interval or a list of milestones", key="step", value=None)
        if self.min_lr and self.min_lr_ratio:
            rule = f"conflicts with min_lr_ratio={self.min_lr_ratio:g}; give one of them"
            raise ConfigError(rule, key="min_lr", value=self.min_lr)
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name not in (*_TIMES, *SHAPES[self.shape]) and value != field.default:
                raise ConfigError(f"has no effect with shape={self.shape}; remove it", key=field.name, value=value)
            if field.name in ("begin", "end") and not self.every_step and value is not None and value != int(value):
                raise ConfigError("must be an integer unless every_step=true", key=field.name, value=value)

    def __hash__(self) -> int:
        return hash(repr(self))  # for the cache of ``_curve``; ``step`` may be a list


#: Types by annotation, for values that OmegaConf does not check.
_KINDS: dict[str, tuple[Any, str]] = {
    "str": (str, "text"), "bool": (bool, "true or false"), "float": (int | float, "a number"),
}  # fmt: skip


def _phase(name: str, given: Any) -> Phase:
    """Build a phase from its arguments; errors have the key of the argument."""
    if isinstance(given, Phase):
        return given
    key = f"phases.{name}"
    types = {field.name: str(field.type) for field in fields(Phase)}
    if not isinstance(given, dict) or "shape" not in given:
        raise ConfigError(f"must have a shape ({', '.join(SHAPES)}), begin, end, ...", key=key, value=given)
    for argument, value in given.items():
        if argument not in types:
            raise ConfigError(f"unknown argument; use {', '.join(types)}", key=f"{key}.{argument}", value=value)
        kinds, text = _KINDS.get(types[argument].partition(" ")[0], (object, ""))
        is_valid = isinstance(value, kinds) and (text != "a number" or not isinstance(value, bool))
        if not is_valid and not (value is None and "None" in types[argument]):
            raise ConfigError(f"must be {text}", key=f"{key}.{argument}", value=value)
    try:
        return Phase(**given)
    except ConfigError as error:
        raise error.below(key) from None


class _Move(NamedTuple):
    """A phase in optimizer steps: it changes the rate at every ``every``-th step from ``first`` to before ``stop``."""

    first: int
    stop: int
    every: int
    shares: list[float]  # s(k) for all k


def _move(phase: Phase, counts_epochs: bool, steps_per_epoch: int, total_steps: int) -> _Move:
    length = steps_per_epoch if counts_epochs else 1  # of the unit of the phase, in steps
    every = 1 if phase.every_step else length
    first = int(phase.begin * length)
    stop = total_steps if phase.end is None else max(int(phase.end * length), first + 1)
    if (longest := max(stop, total_steps)) > _MAX_STEPS:
        rule = f"a chain has a table of the rates of all steps, at most {_MAX_STEPS:,}, and this one has {longest:,}"
        raise ConfigError(rule, key="phases")
    k = np.arange(math.ceil((stop - first) / every))
    return _Move(first, stop, every, _shares(phase, k, length // every).tolist())


def _shares(phase: Phase, k: NDArray[np.int64], unit: int) -> Any:
    """Return s(k), float64; ``unit`` is the number of changes of the rate per epoch (step) of the phase."""
    done = k / max(1, len(k) - 1)
    match phase.shape:
        case "constant":
            return np.where(done < 1, phase.start_factor, phase.end_factor)
        case "linear":
            return phase.start_factor + (phase.end_factor - phase.start_factor) * done
        case "step" if isinstance(phase.step, int):
            return phase.gamma ** (k // (phase.step * unit)).astype(float)
        case "step":
            drops = np.searchsorted(np.array(phase.step) * unit, k, side="right")
            return phase.gamma ** drops.astype(float)
        case "exp":
            return phase.gamma ** k.astype(float)
        case "poly":
            return (1 - done) ** phase.power
        case _:
            return (1 + np.cos(np.pi * k / ((phase.period or 0.0) * unit or len(k)))) / 2


@lru_cache(maxsize=16)
def _curve(phases: tuple[tuple[Phase, bool], ...], steps_per_epoch: int, total_steps: int) -> NDArray[np.float64]:
    """Return a factor on the base rate and an offset for every step, float64 (total_steps, 2).

    Every change of the rate is linear in the rate, so that the curve holds for all parameter groups. Each phase comes
    with whether it is counted in epochs.
    """
    moves = [(phase, _move(phase, counts_epochs, steps_per_epoch, total_steps)) for phase, counts_epochs in phases]
    factor, offset, curve = 1.0, 0.0, []
    for at in range(total_steps):
        for phase, (first, stop, every, shares) in moves:
            if not first <= at < stop or (at - first) % every:
                continue
            k = (at - first) // every
            before, share = shares[k - 1] if k else 1.0, shares[k]
            if before:
                factor = phase.min_lr_ratio + (factor - phase.min_lr_ratio) * (share / before)
                offset = phase.min_lr + (offset - phase.min_lr) * (share / before)
            else:  # a cosine at its floor increases again
                factor += (1 - phase.min_lr_ratio) * share
                offset -= phase.min_lr * share
        curve.append((factor, offset))
    return np.array(curve)


@dataclass(kw_only=True, slots=True)
class Chain(WarmedPolicy):
    """Phases that each change the current rate, overlapping or in sequence, as in mmengine.

    The rate starts at base. The factors of overlapping phases multiply, and a phase starts from the rate at the end of
    the previous one. If two phases change the rate at the same step, the one that changes it at every step is applied
    first.
    """

    by_epoch: bool = option(
        True, "Count phases in epochs and change the rate between them; false: in optimizer steps.",
        see=("epochs", "max_steps"),
    )  # fmt: skip
    phases: dict[str, Any] = option(
        {}, "Phases by name, each with shape, begin, end and the arguments of its shape.",
        accepts="dict of Phase by name", entries=Phase,
    )  # fmt: skip

    def __post_init__(self) -> None:
        WarmedPolicy.__post_init__(self)
        self.phases = {name: _phase(name, given) for name, given in self.phases.items()}
        for name, phase in self.phases.items():
            for times in ("begin", "end"):
                value = getattr(phase, times)
                if value is not None and value != int(value) and not self._counts_epochs(phase):
                    rule = "must be an integer, since the phase is counted in steps"
                    raise ConfigError(rule, key=f"phases.{name}.{times}", value=value)

    def lr_without_warmup(self, base_lr: float, *, step: int, steps_per_epoch: int, total_steps: int) -> float:
        phases = [(phase, self._counts_epochs(phase)) for phase in self.phases.values()]
        phases.sort(key=lambda item: item[1] and not item[0].every_step)  # those that change between epochs last
        factor, offset = _curve(tuple(phases), steps_per_epoch, total_steps)[min(step, total_steps - 1)]
        return max(0.0, float(base_lr * factor + offset))

    def check_run(self, steps_per_epoch: int, total_steps: int) -> list[str]:
        warnings = [] if self.phases else ["phases={}: the rate is constant; add phases, or choose another lr_policy"]
        for name, phase in self.phases.items():
            move = _move(phase, self._counts_epochs(phase), steps_per_epoch, total_steps)
            if move.first >= total_steps:
                warnings.append(f"phases.{name}: begins after the end of the run, which has {total_steps} steps")
            elif len(move.shares) == 1 and phase.shape in ("constant", "linear"):
                warnings.append(
                    f"phases.{name}: lasts one epoch (step), so only start_factor={phase.start_factor:g} and not "
                    "end_factor is used; set every_step=true to change the rate within epochs"
                )
        return warnings

    def milestones(self, steps_per_epoch: int, total_steps: int) -> list[tuple[int, str]]:
        events = []
        for name, phase in self.phases.items():
            move = _move(phase, self._counts_epochs(phase), steps_per_epoch, total_steps)
            events += [(move.first, f"{name} begins")] if move.first else []
            events += [(move.stop, f"{name} ends")] if phase.end is not None else []
            if phase.shape == "step":
                drops = (k for k, (before, share) in enumerate(pairwise(move.shares), 1) if share != before)
                events += [(move.first + k * move.every, f"drop x {phase.gamma:g}") for k in drops]
        return events

    def _counts_epochs(self, phase: Phase) -> bool:
        return self.by_epoch if phase.by_epoch is None else phase.by_epoch
