"""The comparison in a sentence or two: which setting is ahead, and whether that is more than luck."""

from __future__ import annotations

import math

from vexp.tools.compare.comparison import Comparison
from vexp.tools.compare.statistics import Summary


def verdict(made: Comparison) -> list[str]:
    """The best setting, and how it stands to the next."""
    metric, greater = made.metric, made.greater[made.metric]
    ranked = [s for s in made.settings if s.comparable and metric in s.stats]
    if not ranked:
        return [f"No finished run has a finite {metric} yet."]
    best, stats = ranked[0], ranked[0].stats[metric]
    runs = f"{stats.n} run{'s' * (stats.n != 1)}, {'higher' if greater else 'lower'} is better"
    if len(ranked) == 1:
        return [f"{metric} {spread_text(stats)} ({runs})"]
    lines = [f"{made.name_of(best)} leads with {metric} {spread_text(stats)} ({runs})"]
    second = ranked[1].stats[metric]
    ahead = abs(stats.mean - second.mean)
    if ahead == 0:
        return [*lines, f"{made.name_of(ranked[1])} reaches the same."]
    next_one = f"The next, {made.name_of(ranked[1])}, is {ahead:.2g} behind"
    error = _error_of_difference(stats, second)
    if error is None:
        lines.append(f"{next_one}; how much of that is luck is not known: repeat both with more seeds.")
    elif error == 0:
        lines.append(f"{next_one}.")
    elif ahead <= 2 * error:
        lines.append(f"{next_one}, within two standard errors (2 x {error:.2g}) of the difference: undecided.")
    else:
        lines.append(f"{next_one}, {ahead / error:.1f} standard errors of the difference.")
    return lines


def _error_of_difference(one: Summary, other: Summary) -> float | None:
    """Standard error of the difference of two means of independent runs (Welch); None without two runs each."""
    if one.std is None or other.std is None:
        return None
    return math.sqrt(one.std**2 / one.n + other.std**2 / other.n)


def spread_text(stats: Summary) -> str:
    """``0.9125 ± 0.0120``; of one run its value alone."""
    return value_text(stats.mean) + (f" ± {value_text(stats.std)}" if stats.std is not None else "")


def value_text(value: float) -> str:
    """Four decimals where that shows the number, else four significant digits."""
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 100 else f"{value:.4g}"
