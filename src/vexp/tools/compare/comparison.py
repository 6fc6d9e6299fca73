"""Compare runs: the score of each run, the statistics of each setting over seeds, and the effect of each key."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from vexp.core.errors import ConfigError, UserError
from vexp.evaluation.config import greater_by_name
from vexp.tools.compare.columns import Column, below, varying_keys
from vexp.tools.compare.comparability import flags, other_versions, protocol
from vexp.tools.compare.config import Compare
from vexp.tools.compare.runs import DONE, Run, Series
from vexp.tools.compare.statistics import Effect, Summary, effect, pooled_std, sort_key, summary

_MAX_COLUMNS = 6  # more keys are abbreviated in names and tables


@dataclass(slots=True)
class Score:
    """Score of one run: the finite ``values`` recorded at ``step``, and the reasons why others are ``absent``."""

    step: int | None = None
    values: dict[str, float] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class RunGroup:
    """A setting: runs that differ only in the keys ``over`` (seeds).

    Attributes:
        values: Values of the varying keys.
        runs: Indices of all runs.
        used: Indices of the runs in ``stats``.
        left_out: Why the other runs are not used.
        comparable: Whether the runs were measured on the same data as most runs.
        stats: Statistics of each metric.
    """

    values: tuple[str | None, ...]
    runs: list[int]
    used: list[int]
    left_out: list[str]
    comparable: bool
    stats: dict[str, Summary]


@dataclass(slots=True)
class Comparison:
    """The content of the tables and of the page. Lists over runs are in the order of ``runs``.

    Attributes:
        options: Options of the comparison.
        runs: The runs.
        columns: All varying keys.
        shown: The varying keys to show.
        usual: The most common value of each key.
        metrics: Names of the metrics; the first one ranks the settings.
        greater: Whether larger values of a metric are better; None if unknown.
        scores: Score of each run.
        flags: Reasons why each run is not comparable.
        settings: The settings, best first.
        best: Runs with the best value of each metric.
        effects: Effects of the keys on each metric, largest first.
        noise: Pooled standard deviation of each metric over seeds.
        notes: Notes for the reader.
    """

    options: Compare
    runs: list[Run]
    columns: list[Column]
    shown: list[Column]
    usual: dict[str, str | None]
    metrics: list[str]
    greater: dict[str, bool | None]
    scores: list[Score]
    flags: list[list[str]]
    settings: list[RunGroup]
    best: dict[str, set[int]]
    effects: dict[str, list[Effect]]
    noise: dict[str, float | None]
    notes: list[str]

    @property
    def metric(self) -> str:
        return self.metrics[0]

    def shown_of(self, setting: RunGroup) -> dict[str, str | None]:
        """Return the values of the shown keys of a setting."""
        keys = [column.key for column in self.columns if column.key not in self.options.over]
        values = dict(zip(keys, setting.values, strict=True))
        return {column.key: values[column.key] for column in self.shown if column.key in values}

    @property
    def crowded(self) -> bool:
        """Whether so many keys vary that only values other than the most common ones are shown."""
        return len(self.shown) > _MAX_COLUMNS

    def name_of(self, setting: RunGroup) -> str:
        """Return the name of a setting, such as ``optimizer=sgd lr_policy=step``."""
        return self.format_values(self.shown_of(setting))

    def format_values(self, values: Mapping[str, str | None]) -> str:
        """Format the values of the shown keys on one line; if ``crowded``, only values other than the most common."""
        if not values:
            return "the one setting"
        parts = [f"{k}={v}" for k, v in values.items() if v is not None and not (self.crowded and v == self.usual[k])]
        return " ".join(parts) or "the most common values"


def compare(runs: Sequence[Run], options: Compare, notes: Sequence[str] = ()) -> Comparison:
    """Compare ``runs``; its notes are appended to ``notes``.

    Raises:
        ConfigError: If no run has a metric or key, or it is unknown which values of the metric are better.
    """
    keys = {key for run in runs for key in run.config}
    for key in [*options.over, *options.keys]:
        if not any(below(other, (key,)) for other in keys) and all(key not in run.overrides for run in runs):
            raise ConfigError(f"{key}: no run has this key (over, keys)")
    metric = _metric(runs, options.metric)
    greater: dict[str, bool | None] = {metric: _greater(metric, options.rule)}
    scores = [_score(run, metric, greater[metric] is not False, options.at) for run in runs]
    metrics = list(dict.fromkeys([metric, *(name for score in scores for name in (*score.values, *score.absent))]))
    greater |= {name: greater_by_name(name) for name in metrics[1:]}
    for score, run in zip(scores, runs, strict=True):
        for name in metrics:
            if name not in score.values:
                score.absent.setdefault(
                    name, "not measured" if score.step is not None else _missing_reason(run, metric)
                )

    varying = varying_keys(runs)
    protocols = [protocol(run, options.over) for run in runs]
    flagged = flags(runs, protocols)
    settings = _settings(runs, varying, options, scores, protocols, flagged, metrics)
    ranked = [i for i, run in enumerate(runs) if run.status == DONE and not flagged[i]]
    comparison = Comparison(
        options=options,
        runs=list(runs),
        columns=varying,
        shown=_shown(varying, options),
        usual={column.key: Counter(column.values).most_common(1)[0][0] for column in varying},
        metrics=metrics,
        greater=greater,
        scores=scores,
        flags=flagged,
        settings=settings,
        best={name: _best(ranked, scores, name, greater[name]) for name in metrics},
        effects={},
        noise={},
        notes=list(notes),
    )
    for name in metrics:
        comparison.effects[name] = _effects(comparison, ranked, name)
        comparison.noise[name] = pooled_std(
            [[scores[i].values[name] for i in s.used if name in scores[i].values] for s in settings if s.comparable]
        )
    comparison.settings.sort(key=lambda setting: _rank(setting, metric, greater[metric]))
    comparison.notes += _notes(comparison)
    return comparison


def _shown(varying: Sequence[Column], options: Compare) -> list[Column]:
    """Return the requested columns, those of repetitions last."""
    requested = [c for c in varying if not options.keys or below(c.key, options.keys) or c.key in options.over]
    return sorted(requested, key=lambda column: column.key in options.over)


def _metric(runs: Sequence[Run], wanted: str) -> str:
    names = list(dict.fromkeys(name for run in runs for name in run.series))
    if wanted == "auto":
        kept = Counter(f"val/{run.best_metric}" for run in runs if run.best_metric)
        first = [name for name in names if name.startswith("val/")] or [name for name in names if name == "train/loss"]
        if not (kept or first):
            raise UserError("no run has recorded a metric yet (metrics.jsonl)")
        return kept.most_common(1)[0][0] if kept else first[0]
    recorded = next((name for name in (wanted, f"val/{wanted}") if name in names), None)
    if recorded is None:
        rule = f"is not recorded by any run; recorded metrics: {', '.join(names) or 'none'}"
        raise ConfigError(rule, key="metric", value=wanted)
    return recorded


def _greater(metric: str, rule: str | None) -> bool:
    greater = greater_by_name(metric) if rule is None else rule == "greater"
    if greater is None:
        raise ConfigError("set rule=greater or rule=less", key="metric", value=metric)
    return greater


def _score(run: Run, metric: str, greater: bool, at: str) -> Score:
    """Return the values of one record; of equal scores the earlier, as for best.pth."""
    series = run.series.get(metric)
    if series is None:
        return Score()
    finite = np.isfinite(series.values)
    chosen = len(series.values) - 1
    if at == "best" and finite.any():
        worst = -math.inf if greater else math.inf
        values = np.where(finite, series.values, worst)
        chosen = int(values.argmax() if greater else values.argmin())
    score = Score(int(series.steps[chosen]))
    mode = metric.partition("/")[0]
    for name, other in run.series.items():
        if name.partition("/")[0] == mode:
            value = _at(other, int(series.steps[chosen]))
            if value is not None and math.isfinite(value):
                score.values[name] = value
            elif value is not None:
                score.absent[name] = f"{value} at step {series.steps[chosen]}"
    return score


def _at(series: Series, step: int) -> float | None:
    where = np.flatnonzero(series.steps == step)
    return float(series.values[where[-1]]) if len(where) else None


def _missing_reason(run: Run, metric: str) -> str:
    return f"{metric} has not been recorded" + ("" if run.status == DONE else f": {run.status}")


def _settings(
    runs: Sequence[Run],
    varying: Sequence[Column],
    options: Compare,
    scores: Sequence[Score],
    protocols: Sequence[dict[str, str]],
    flagged: Sequence[list[str]],
    metrics: Sequence[str],
) -> list[RunGroup]:
    groups: dict[tuple[str | None, ...], list[int]] = {}
    for i in range(len(runs)):
        groups.setdefault(tuple(c.values[i] for c in varying if c.key not in options.over), []).append(i)
    settings = []
    for values, members in groups.items():
        done = [i for i in members if runs[i].status == DONE]
        scored = [i for i in done if metrics[0] in scores[i].values]
        kinds = Counter(str(protocols[i]) for i in scored)
        used = [i for i in scored if str(protocols[i]) == kinds.most_common(1)[0][0]]
        left_out = Counter(runs[i].status for i in members if runs[i].status != DONE)
        left_out["without a finite value"] = len(done) - len(scored)
        left_out["not comparable"] = len(scored) - len(used)
        stats = {name: summary([scores[i].values[name] for i in used if name in scores[i].values]) for name in metrics}
        settings.append(
            RunGroup(
                values=values,
                runs=members,
                used=used,
                left_out=[f"{count} {what}" for what, count in left_out.items() if count],
                comparable=bool(used) and not flagged[used[0]],
                stats={name: one for name, one in stats.items() if one is not None},
            )
        )
    return settings


def _rank(
    setting: RunGroup, metric: str, greater: bool | None
) -> tuple[bool, bool, float, list[tuple[int, float, str]]]:
    mean = setting.stats[metric].mean if metric in setting.stats else 0.0
    order = [sort_key(value) for value in setting.values]
    return (metric not in setting.stats, not setting.comparable, -mean if greater else mean, order)


def _best(ranked: Sequence[int], scores: Sequence[Score], metric: str, greater: bool | None) -> set[int]:
    values = {i: scores[i].values[metric] for i in ranked if metric in scores[i].values}
    if not values or greater is None:
        return set()
    best = max(values.values()) if greater else min(values.values())
    return {i for i, value in values.items() if value == best}


def _effects(comparison: Comparison, ranked: Sequence[int], metric: str) -> list[Effect]:
    """Return the effect of each key, averaged over the other keys, including those below it."""
    scored = [i for i in ranked if metric in comparison.scores[i].values]
    factors = [column for column in comparison.columns if column.key not in comparison.options.over]
    effects = []
    for column in factors:
        if column not in comparison.shown:
            continue
        others = [other for other in factors if not below(other.key, (column.key,))]
        cells = [tuple(other.values[i] for other in others) for i in scored]
        scores = [comparison.scores[i].values[metric] for i in scored]
        effects.append(effect(column.key, [column.values[i] for i in scored], cells, scores))
    return sorted((e for e in effects if e is not None), key=lambda e: -(e.spread if e.spread is not None else -1.0))


def _notes(comparison: Comparison) -> list[str]:
    """Return the notes that qualify the metrics."""
    notes = []
    for i, (run, other) in enumerate(zip(comparison.runs, other_versions(comparison.runs), strict=True)):
        run.notes += [other] if other else []
        notes += [f"{run.name}: not comparable: {flag}" for flag in comparison.flags[i]]
        notes += [f"{run.name}: {note}" for note in run.notes]
        if run.status != DONE:
            notes.append(f"{run.name}: {run.status}, not in any mean: {run.why}")
        elif comparison.metric in comparison.scores[i].absent:
            notes.append(f"{run.name}: not in any mean: {comparison.scores[i].absent[comparison.metric]}")
    hidden = [column.key for column in comparison.columns if column not in comparison.shown]
    if hidden:
        notes.append(f"keys= hides other keys that vary: {', '.join(hidden)}; they still distinguish settings")
    return notes
