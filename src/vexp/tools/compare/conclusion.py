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
    stats = ranked[0].stats[metric]
    runs = f"{stats.n} run{'s' * (stats.n != 1)}, {'higher' if greater else 'lower'} is better"
    if len(ranked) == 1:
        return [f"{metric} {format_stats(stats)} ({runs})"]
    first = f"{comparison.name_of(ranked[0])} leads with {metric} {format_stats(stats)} ({runs})"
    second, name = ranked[1].stats[metric], comparison.name_of(ranked[1])
    ahead = abs(stats.mean - second.mean)
    if ahead == 0:
        return [first, f"{name} reaches the same value."]
    behind = f"The second, {name}, is {ahead:.2g} behind"
    if stats.std is None or second.std is None:
        return [first, f"{behind}; the noise is unknown: run both with more seeds."]
    error = math.sqrt(stats.std**2 / stats.n + second.std**2 / second.n)  # standard error of the difference (Welch)
    if error == 0:
        return [first, f"{behind}."]
    if ahead <= 2 * error:
        return [first, f"{behind}, within two standard errors (2 x {error:.2g}) of the difference: undecided."]
    return [first, f"{behind}, {ahead / error:.1f} standard errors of the difference."]


def format_stats(stats: Summary) -> str:
    """Format mean and standard deviation as ``0.9125 ± 0.0120``; without the latter for one run."""
    return format_metric(stats.mean) + (f" ± {format_metric(stats.std)}" if stats.std is not None else "")


def format_metric(value: float) -> str:
    """Format with four decimals if that is precise enough, else with four significant digits."""
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 100 else f"{value:.4g}"
