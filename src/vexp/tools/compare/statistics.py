"""Statistics of runs: over seeds, and the effect of each swept key averaged over the others."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Summary:
    """Mean and sample standard deviation (n - 1) of ``n`` values; ``std`` is None for a single value."""

    n: int
    mean: float
    std: float | None


def summary(values: Sequence[float]) -> Summary | None:
    """Return the statistics of ``values``; None if there are none."""
    if not values:
        return None
    return Summary(len(values), statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)


def pooled_std(groups: Sequence[Sequence[float]]) -> float | None:
    """Return the pooled standard deviation within groups, sqrt(sum of squared deviations / sum of (n - 1)).

    None if no group has two values.
    """
    several = [group for group in groups if len(group) > 1]
    if not several:
        return None
    deviations = sum(statistics.variance(group) * (len(group) - 1) for group in several)
    return math.sqrt(deviations / sum(len(group) - 1 for group in several))


@dataclass(frozen=True, slots=True)
class Level:
    """Statistics of one value of a key, over its runs and its cells: combinations of the other keys.

    ``matched`` is the mean over the cells that every value has, each counted once; None if there are none.
    """

    value: str
    runs: int
    cells: int
    mean: float
    matched: float | None


@dataclass(frozen=True, slots=True)
class Effect:
    """Effect of a key on a metric, averaged over the other keys."""

    key: str
    levels: list[Level]  # one per value
    common: int  # number of cells that every value has
    balanced: bool  # every value has the same cells and numbers of runs, so that ``mean`` equals ``matched``
    absent: int  # number of runs without the key

    @property
    def scattered(self) -> bool:
        """Whether most of many values occur in one run, as in a random search, so that their means are useless."""
        return len(self.levels) > 8 and sum(level.runs for level in self.levels) < 2 * len(self.levels)

    @property
    def crossed(self) -> bool:
        """Whether every value has the same cells, with any number of runs."""
        return all(level.cells == self.common for level in self.levels)

    @property
    def spread(self) -> float | None:
        """Largest difference between the matched means of two values."""
        matched = [level.matched for level in self.levels if level.matched is not None]
        return max(matched) - min(matched) if len(matched) > 1 else None

    @property
    def statement(self) -> str:
        """Description of how comparable the means are."""
        verb = "is" if self.absent == 1 else "are"
        left_out = f"; {_runs(self.absent)} without this key {verb} left out" if self.absent else ""
        more = " ..." if len(self.levels) > 6 else ""
        if self.scattered:
            return f"{len(self.levels)} values, most of them in one run: see the scatter plot in index.html{left_out}"
        if self.balanced:
            first = self.levels[0]
            return f"balanced: {_runs(first.runs)} in {first.cells} cell{'s' * (first.cells != 1)} each{left_out}"
        if self.crossed:
            runs = ", ".join(f"{level.value} {level.runs}" for level in self.levels[:6]) + more
            cells = "one cell" if self.common == 1 else f"the same {self.common} cells"
            return f"{cells} with unequal numbers of runs ({runs}); matched means count each cell once{left_out}"
        counts = ", ".join(f"{level.value} {level.cells}" for level in self.levels[:6]) + more
        if not self.common:
            reason = f"no combination of the other keys has every value (cells: {counts})"
            return f"unbalanced: {reason}, so the means also depend on other keys{left_out}"
        shared = "1 cell that has" if self.common == 1 else f"{self.common} cells that have"
        return f"unbalanced (cells: {counts}): matched means are over the {shared} every value{left_out}"


def _runs(count: int) -> str:
    return f"{count} run{'s' * (count != 1)}"


def effect(key: str, values: Sequence[str | None], cells: Sequence[Hashable], scores: Sequence[float]) -> Effect | None:
    """Return the marginal effect of a key on finite ``scores``; None if fewer than two of its values have scores.

    Args:
        key: The key.
        values: Its value in each run; None if the run does not have it.
        cells: Combination of the values of the other keys in each run.
        scores: Score of each run.
    """
    by_value: dict[str, dict[Hashable, list[float]]] = defaultdict(lambda: defaultdict(list))
    for value, cell, score in zip(values, cells, scores, strict=True):
        if value is not None:
            by_value[value][cell].append(score)
    if len(by_value) < 2:
        return None
    common = set.intersection(*map(set, by_value.values()))
    counts = [{cell: len(inside) for cell, inside in level.items()} for level in by_value.values()]
    levels = [
        Level(
            value=value,
            runs=sum(map(len, level.values())),
            cells=len(level),
            mean=statistics.fmean(score for inside in level.values() for score in inside),
            matched=statistics.fmean(statistics.fmean(level[cell]) for cell in common) if common else None,
        )
        for value, level in sorted(by_value.items(), key=lambda item: sort_key(item[0]))
    ]
    balanced = all(count == counts[0] for count in counts) and len(set(counts[0].values())) == 1
    return Effect(key, levels, len(common), balanced, absent=sum(value is None for value in values))


def sort_key(value: str | None) -> tuple[int, float, str]:
    """Return a sort key for values: None first, then numbers, then text."""
    if value is None:
        return (0, 0.0, "")
    try:
        number = float(value)
    except ValueError:
        return (2, 0.0, value)
    return (1, number, value) if math.isfinite(number) else (2, 0.0, value)
