"""Intervals of training: when evaluations, checkpoints and log lines are due."""

from __future__ import annotations

from dataclasses import dataclass

from vexp.core.fields import ValidatedConfig, option


def _interval_rule(interval: int) -> str | None:
    return None if interval == -1 or interval >= 1 else "must be >= 1, or -1 for never"


@dataclass(slots=True)
class Interval(ValidatedConfig):
    """Due at every ``interval``-th epoch or optimizer step, counted from ``start`` where one is given.

    ``Interval(2, True)`` is due after epochs 2, 4, 6 ...; ``Interval(2, True, 3)`` after epochs 3, 5, 7 ...; with
    ``by_epoch`` false the numbers are optimizer steps. The rules are those of mmcv's EvalHook and CheckpointHook. The
    last step of a run is not special here; ``eval.at_end`` and ``checkpoint.save_last`` add it.
    """

    interval: int = option(doc="Epochs (steps) between two times; -1: never.", check=_interval_rule)
    by_epoch: bool = option(doc="Count epochs, due only at the end of one; false: count optimizer steps.")
    start: int | None = option(None, "First epoch (step) that can be due; null: the first multiple of interval.", ge=0)

    def due(self, step: int, steps_per_epoch: int) -> bool:
        """Return whether it is due after ``step`` completed optimizer steps (never at 0)."""
        if self.interval == -1 or step < 1 or (self.by_epoch and step % steps_per_epoch != 0):
            return False
        count = step // steps_per_epoch if self.by_epoch else step
        start = self.start or 0  # without a start the multiples of interval count: the same as from 0
        return count >= start and (count - start) % self.interval == 0

    def count(self, step: int, steps_per_epoch: int) -> int:
        """Return how many times it is due within ``step`` optimizer steps."""
        if self.interval == -1:
            return 0
        first = self.start or self.interval
        return max(0, (step // (steps_per_epoch if self.by_epoch else 1) - first) // self.interval + 1)
