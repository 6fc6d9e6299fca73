"""Summary of a comparison: the best setting, and whether its lead exceeds the noise."""

from __future__ import annotations

import math

from vexp.tools.compare.comparison import Comparison
from vexp.tools.compare.statistics import Summary


def conclusion(comparison: Comparison) -> list[str]:
    """Return sentences about the best setting and its lead over the second."""
    metric, greater = comparison.metric, comparison.greater[comparison.metric]
    ranked = [s for s in comparison.settings if s.comparable and metric in s.stats]
    if not ranked:
        return [f"No finished run has a finite {metric} yet."]
    best, stats = ranked[0], ranked[0].stats[metric]
    runs = f"{stats.n} run{'s' * (stats.n != 1)}, {'higher' if greater else 'lower'} is better"
    if len(ranked) == 1:
        return [f"{metric} {format_stats(stats)} ({runs})"]
    lines = [f"{comparison.name_of(best)} leads with {metric} {format_stats(stats)} ({runs})"]
    second = ranked[1].stats[metric]
    ahead = abs(stats.mean - second.mean)
    if ahead == 0:
        return [*lines, f"{comparison.name_of(ranked[1])} reaches the same value."]
    second_text = f"The second, {comparison.name_of(ranked[1])}, is {ahead:.2g} behind"
    error = _error_of_difference(stats, second)
    if error is None:
        lines.append(f"{second_text}; the noise is unknown: run both with more seeds.")
    elif error == 0:
        lines.append(f"{second_text}.")
    elif ahead <= 2 * error:
        lines.append(f"{second_text}, within two standard errors (2 x {error:.2g}) of the difference: undecided.")
    else:
        lines.append(f"{second_text}, {ahead / error:.1f} standard errors of the difference.")
    return lines


def _error_of_difference(one: Summary, other: Summary) -> float | None:
    """Return the standard error (Welch) of the difference of two means; None if one has a single run."""
    if one.std is None or other.std is None:
        return None
    return math.sqrt(one.std**2 / one.n + other.std**2 / other.n)


def format_stats(stats: Summary) -> str:
    """Format mean and standard deviation as ``0.9125 ± 0.0120``; without the latter for one run."""
    return format_metric(stats.mean) + (f" ± {format_metric(stats.std)}" if stats.std is not None else "")


def format_metric(value: float) -> str:
    """Format with four decimals if that is precise enough, else with four significant digits."""
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 100 else f"{value:.4g}"
