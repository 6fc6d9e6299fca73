"""Phases that overlap or follow each other: the chain. Imported from ``vexp.optim.lr_policy``."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vexp.core.errors import format_value
from vexp.core.fields import ValidatedConfig, option
from vexp.optim.lr_policy.base import WarmedPolicy, finite, step_rule

#: Shapes of a phase and the arguments that each has of its own.
SHAPES: dict[str, tuple[str, ...]] = {
    "constant": ("start_factor", "end_factor"),
    "linear": ("start_factor", "end_factor"),
    "step": ("step", "gamma"),
    "exp": ("gamma",),
    "poly": ("power", "min_lr", "min_lr_ratio"),
    "cosine": ("period", "min_lr", "min_lr_ratio"),
}
_TIMES = ("shape", "begin", "end", "by_epoch", "every_step")


@dataclass(kw_only=True, slots=True)
class Phase(ValidatedConfig):
    """A part of a chain: it moves the rate of the moment from ``begin`` on, for the last time at ``end`` - 1.

    Its epochs (steps) count k = 0, 1, ... n - 1 from ``begin``, and ``step`` and ``period`` with them. The share s(k)
    is what it leaves of the rate that it found, above its floor; from one k to the next
    the rate r becomes floor + (r - floor) s(k) / s(k - 1), with s(-1) = 1.

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

    A cosine that goes on after its ``period`` rises again, to the group's base rate. The rules are those of mmengine
    0.10's schedulers.
    """

    shape: str = option(doc="how the phase moves the rate", choices=tuple(SHAPES))
    begin: float = option(0.0, "where the phase begins", unit="epochs (steps)", ge=0, check=finite)
    end: float | None = option(
        None, "where the phase ends, itself not included; null: with the run", unit="epochs (steps)", gt=0, check=finite
    )
    by_epoch: bool | None = option(
        None, "times of the phase count epochs; false: optimizer steps; null: as by_epoch of the chain"
    )
    every_step: bool = option(False, "moves at every optimizer step while its times count epochs")
    start_factor: float = option(0.1, "constant, linear: factor on the rate at the beginning", gt=0, le=1)
    end_factor: float = option(1.0, "constant, linear: factor on the rate in the last epoch (step)", ge=0, le=1)
    step: Any = option(
        None,
        "step: drop at each entry of a list, or every so many, counted from begin",
        unit="epochs (steps)",
        accepts="int or list of int, or null",
        check=step_rule,
    )
    gamma: float = option(0.1, "step, exp: factor on the rate at each drop, or each time", gt=0, le=1)
    power: float = option(1.0, "poly: exponent of the decay; 1: a straight line", gt=0, check=finite)
    period: float | None = option(
        None, "cosine: length of half a wave; null: the phase's", unit="epochs (steps)", gt=0, check=finite
    )
    min_lr: float = option(0.0, "poly, cosine: rate that it falls to, the same for every group", ge=0, check=finite)
    min_lr_ratio: float = option(0.0, "poly, cosine: rate that it falls to as a share of the base rate", ge=0, le=1)

    def __post_init__(self) -> None:
        ValidatedConfig.__post_init__(self)
        if self.end is not None and self.end <= self.begin:
            raise ValueError(f"end={self.end:g}: must be after begin={self.begin:g}")
        if self.shape == "step" and self.step is None:
            raise ValueError("step=null: shape=step needs it, a drop every so many epochs (steps) or a list of drops")
        if self.min_lr and self.min_lr_ratio:
            raise ValueError(f"min_lr={self.min_lr:g} and min_lr_ratio={self.min_lr_ratio:g}: give one of them")
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name not in (*_TIMES, *SHAPES[self.shape]) and value != field.default:
                raise ValueError(
                    f"{field.name}={format_value(value)}: no effect, as shape={self.shape} has none; leave it out"
                )
            if field.name in ("begin", "end") and not self.every_step and value is not None and value != int(value):
                raise ValueError(f"{field.name}={format_value(value)}: must be whole, or every_step=true (in epochs)")


#: What a field's annotation takes, of a value that no OmegaConf has checked.
_KINDS: dict[str, tuple[Any, str]] = {
    "str": (str, "text"), "bool": (bool, "true or false"), "float": (int | float, "a number"),
}  # fmt: skip


def _phase(name: str, given: Any) -> Phase:
    """A phase from its arguments; a broken rule is said with its key."""
    if isinstance(given, Phase):
        return given
    known = {field.name: str(field.type) for field in fields(Phase)}
    if not isinstance(given, dict) or "shape" not in given:
        raise ValueError(
            f"phases.{name}={format_value(given)}: a phase takes shape ({', '.join(SHAPES)}), begin, end ..."
        )
    for word, value in given.items():
        if word not in known:
            raise ValueError(f"phases.{name}.{word}={format_value(value)}: a phase takes {', '.join(known)}")
        kinds, text = _KINDS.get(known[word].partition(" ")[0], (object, ""))
        fits = isinstance(value, kinds) and (text != "a number" or not isinstance(value, bool))
        if not fits and not (value is None and "None" in known[word]):
            raise ValueError(f"phases.{name}.{word}={format_value(value)}: must be {text}")
    try:
        return Phase(**given)
    except ValueError as error:
        raise ValueError(f"phases.{name}.{error}") from None


@dataclass(frozen=True, slots=True)
class _Move:
    """A phase on the clock of optimizer steps: it moves at every ``every``-th from ``first`` to before ``stop``.

    ``unit``: moves in one of the epochs (steps) that the phase counts.
    """

    first: int
    stop: int
    every: int
    unit: int
    shape: str
    factors: tuple[float, float]
    step: int | tuple[int, ...]
    gamma: float
    power: float
    period: float
    floor: tuple[float, float]  # share of the base rate, rate

    def shares(self) -> list[float]:
        """s(k) of all moves."""
        k = np.arange(math.ceil((self.stop - self.first) / self.every))
        done = k / max(1, len(k) - 1)
        start, end = self.factors
        match self.shape:
            case "constant":
                share = np.where(done < 1, start, end)
            case "linear":
                share = start + (end - start) * done
            case "step" if isinstance(self.step, int):
                share = self.gamma ** (k // (self.step * self.unit)).astype(float)
            case "step":
                drops = np.searchsorted(np.array(self.step) * self.unit, k, side="right")
                share = self.gamma ** drops.astype(float)
            case "exp":
                share = self.gamma ** k.astype(float)
            case "poly":
                share = (1 - done) ** self.power
            case _:
                share = (1 + np.cos(np.pi * k / (self.period or len(k)))) / 2
        return [float(value) for value in share]


@lru_cache(maxsize=16)
def _curve(moves: tuple[_Move, ...], total_steps: int) -> NDArray[np.float64]:
    """(total_steps, 2): what is multiplied with the base rate of a group, and what is added to that.

    Every move is a straight line of the rate, so that one walk over the run holds for all groups.
    """
    walks = [(move, move.shares(), *move.floor) for move in moves if move.first < total_steps]
    factor, offset, curve = 1.0, 0.0, []
    for at in range(total_steps):
        for move, shares, floor_ratio, floor in walks:
            if not move.first <= at < move.stop or (at - move.first) % move.every:
                continue
            k = (at - move.first) // move.every
            before, share = shares[k - 1] if k else 1.0, shares[k]
            if before:
                factor = floor_ratio + (factor - floor_ratio) * (share / before)
                offset = floor + (offset - floor) * (share / before)
            else:  # a cosine on its floor rises again
                factor += (1 - floor_ratio) * share
                offset -= floor * share
        curve.append((factor, offset))
    return np.array(curve)


@dataclass(kw_only=True, slots=True)
class Chain(WarmedPolicy):
    """Phases that each move the rate of the moment, over each other or one after the other, as in mmengine.

    Where phases overlap their factors multiply; a phase leaves the rate where it ends, and the next goes on from there.
    The rate begins at base. Where two move between the same steps, those that move at every step come first.
    """

    by_epoch: bool = option(
        True, "phases count epochs and move between them; false: optimizer steps", see=("epochs", "max_steps")
    )
    phases: dict[str, Any] = option(
        {},
        "name of a phase -> its shape, begin, end and the arguments of its shape",
        accepts="dict of Phase by name",
        entries=Phase,
    )

    def __post_init__(self) -> None:
        WarmedPolicy.__post_init__(self)
        self.phases = {name: _phase(name, given) for name, given in self.phases.items()}
        for name, phase in self.phases.items():
            for times in ("begin", "end"):
                value = getattr(phase, times)
                if value is not None and value != int(value) and not self._counts_epochs(phase):
                    raise ValueError(
                        f"phases.{name}.{times}={format_value(value)}: must be whole, the phase counts steps"
                    )

    def lr_without_warmup(self, base_lr: float, *, step: int, steps_per_epoch: int, total_steps: int) -> float:
        moves = [self._move(phase, steps_per_epoch, total_steps) for phase in self.phases.values()]
        staircases = [self._counts_epochs(phase) and not phase.every_step for phase in self.phases.values()]
        ordered = [move for late in (False, True) for move, flag in zip(moves, staircases, strict=True) if flag == late]
        factor, offset = _curve(tuple(ordered), total_steps)[min(step, total_steps - 1)]
        return max(0.0, float(base_lr * factor + offset))

    def check_run(self, steps_per_epoch: int, total_steps: int) -> list[str]:
        warnings = [] if self.phases else ["phases={}: the rate stays at its base; add phases, or choose another lr="]
        for name, phase in self.phases.items():
            move = self._move(phase, steps_per_epoch, total_steps)
            if move.first >= total_steps:
                warnings.append(f"phases.{name}: begins after the run, which has {total_steps} steps, has ended")
            elif len(move.shares()) == 1 and phase.shape in ("constant", "linear"):
                warnings.append(
                    f"phases.{name}: lasts for one epoch (step) and moves between them, so the rate gets "
                    f"start_factor={phase.start_factor:g} and never end_factor; every_step=true moves within epochs"
                )
        return warnings

    def milestones(self, steps_per_epoch: int, total_steps: int) -> list[tuple[int, str]]:
        found = []
        for name, phase in self.phases.items():
            move = self._move(phase, steps_per_epoch, total_steps)
            found += [(move.first, f"{name} begins")] if move.first else []
            found += [(move.stop, f"{name} ends")] if phase.end is not None else []
            if phase.shape == "step":
                shares = move.shares()
                drops = (k for k in range(1, len(shares)) if shares[k] != shares[k - 1])
                found += [(move.first + k * move.every, f"drop x {phase.gamma:g}") for k in drops]
        return found

    def _counts_epochs(self, phase: Phase) -> bool:
        return self.by_epoch if phase.by_epoch is None else phase.by_epoch

    def _move(self, phase: Phase, steps_per_epoch: int, total_steps: int) -> _Move:
        length = steps_per_epoch if self._counts_epochs(phase) else 1  # of what the phase counts, in steps
        every = 1 if phase.every_step else length
        return _Move(
            first=int(phase.begin * length),
            stop=total_steps if phase.end is None else max(int(phase.end * length), int(phase.begin * length) + 1),
            every=every,
            unit=length // every,
            shape=phase.shape,
            factors=(phase.start_factor, phase.end_factor),
            step=tuple(phase.step) if isinstance(phase.step, list | tuple) else phase.step or 0,
            gamma=phase.gamma,
            power=phase.power,
            period=(phase.period or 0.0) * (length // every),
            floor=(phase.min_lr_ratio, phase.min_lr),
        )
