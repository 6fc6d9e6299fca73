"""Means and spreads of runs: over seeds, and of each swept key over all others. Pure functions of numbers."""

from __future__ import annotations

import math
import statistics
from collections.abc import Hashable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Summary:
    """Of ``n`` values; ``std`` is the sample standard deviation (n - 1), None of a single value."""

    n: int
    mean: float
    std: float | None


def summary(values: Sequence[float]) -> Summary | None:
    """None where there is no value."""
    if not values:
        return None
    return Summary(len(values), statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)


def pooled_std(groups: Sequence[Sequence[float]]) -> float | None:
    """The spread within groups, as one number: sqrt(sum of squared deviations / sum of (n - 1)); None where no group
    has two values."""
    several = [group for group in groups if len(group) > 1]
    if not several:
        return None
    deviations = sum(statistics.variance(group) * (len(group) - 1) for group in several)
    return math.sqrt(deviations / sum(len(group) - 1 for group in several))


@dataclass(frozen=True, slots=True)
class Level:
    """One value of a key: ``mean`` over its ``runs``, which lie in ``cells`` combinations of the other keys, and
    ``matched``: the mean of the cells that every value of the key has, each counted once; None where there is none."""

    value: str
    runs: int
    cells: int
    mean: float
    matched: float | None


@dataclass(frozen=True, slots=True)
class Effect:
    """What a key does to a metric, the other keys averaged over. ``balanced``: every value has the same cells with the
    same numbers of runs, so that ``mean`` and ``matched`` are equal; ``common``: the cells that every value has."""

    key: str
    levels: list[Level]
    common: int
    balanced: bool
    absent: int  # runs without the key

    @property
    def scattered(self) -> bool:
        """Whether most of many values occur in one run, as a random search has them: a mean of each tells nothing."""
        return len(self.levels) > 8 and sum(level.runs for level in self.levels) < 2 * len(self.levels)

    @property
    def crossed(self) -> bool:
        """Whether every value has the same cells, if not the same numbers of runs in them."""
        return all(level.cells == self.common for level in self.levels)

    @property
    def spread(self) -> float | None:
        """The largest difference between two values of the key, in the cells that all have."""
        matched = [level.matched for level in self.levels if level.matched is not None]
        return max(matched) - min(matched) if len(matched) > 1 else None

    @property
    def statement(self) -> str:
        """How far the means can be trusted."""
        left_out = f"; {_runs(self.absent)} without this key {'is' if self.absent == 1 else 'are'} left out"
        left_out = left_out if self.absent else ""
        if self.scattered:
            return f"{len(self.levels)} values, most of them in one run: no means, a dot a run in index.html{left_out}"
        if self.balanced:
            first = self.levels[0]
            return f"balanced: {_runs(first.runs)} in {first.cells} cell{'s' * (first.cells != 1)} each{left_out}"
        if self.crossed:
            runs = ", ".join(f"{level.value} {level.runs}" for level in self.levels[:6])
            runs += " ..." if len(self.levels) > 6 else ""
            cells = "one cell" if self.common == 1 else f"the same {self.common} cells"
            return f"{cells} with unequal numbers of runs ({runs}); matched means count each cell once{left_out}"
        counts = ", ".join(f"{level.value} {level.cells}" for level in self.levels[:6])
        counts += " ..." if len(self.levels) > 6 else ""
        if not self.common:
            return (
                f"unbalanced: no combination of the other keys has every value (cells: {counts}), so these means mix "
                f"this key with others{left_out}"
            )
        shared = "1 cell that has" if self.common == 1 else f"{self.common} cells that have"
        return f"unbalanced (cells: {counts}): matched means are over the {shared} every value{left_out}"


def _runs(count: int) -> str:
    return f"{count} run{'s' * (count != 1)}"


def effect(key: str, values: Sequence[str | None], cells: Sequence[Hashable], scores: Sequence[float]) -> Effect | None:
    """The marginal effect of a key on finite ``scores``; None where fewer than two values of it were scored.

    Args:
        key: its name.
        values: of the key in each run; None where the run does not have it.
        cells: the combination of the other keys' values in each run.
        scores: of each run.
    """
    by_value: dict[str, dict[Hashable, list[float]]] = {}
    for value, cell, score in zip(values, cells, scores, strict=True):
        if value is not None:
            by_value.setdefault(value, {}).setdefault(cell, []).append(score)
    if len(by_value) < 2:
        return None
    common = set.intersection(*(set(found) for found in by_value.values()))
    counts = [{cell: len(found) for cell, found in level.items()} for level in by_value.values()]
    levels = [
        Level(
            value=value,
            runs=sum(len(found) for found in level.values()),
            cells=len(level),
            mean=statistics.fmean(score for found in level.values() for score in found),
            matched=statistics.fmean(statistics.fmean(level[cell]) for cell in common) if common else None,
        )
        for value, level in by_value.items()
    ]
    return Effect(
        key=key, levels=sorted(levels, key=lambda level: in_order(level.value)), common=len(common),
        balanced=all(count == counts[0] for count in counts) and len(set(counts[0].values())) == 1,
        absent=sum(value is None for value in values),
    )  # fmt: skip


def in_order(value: str | None) -> tuple[int, float, str]:
    """Sorts the values of a key: none first, numbers by size, then words."""
    if value is None:
        return (0, 0.0, "")
    try:
        number = float(value)
    except ValueError:
        return (2, 0.0, value)
    return (1, number, value) if math.isfinite(number) else (2, 0.0, value)
