"""Compare runs: the score of each run, the statistics of each setting over seeds, and the effect of each key."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from vexp.core.errors import ConfigError
from vexp.evaluation.config import greater_by_name
from vexp.tools.compare.columns import below, varying_keys
from vexp.tools.compare.comparability import flags, protocol
from vexp.tools.compare.config import Compare
from vexp.tools.compare.runs import DONE, NothingYetError, Run
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
    """A setting: runs that differ only in the keys ``over`` (seeds)."""

    values: tuple[str | None, ...]  # of the varying keys
    runs: list[int]  # indices of all runs
    used: list[int]  # indices of the runs in ``stats``
    left_out: list[str]  # why the other runs are not used
    comparable: bool  # measured on the same data as most runs
    stats: dict[str, Summary]  # of each metric


class Comparison:
    """A comparison of runs: the content of the tables and of the page.

    ``scores`` and ``flags`` (reasons why a run is not comparable) are in the order of ``runs``.
    """

    def __init__(self, runs: Sequence[Run], options: Compare, notes: Sequence[str] = ()) -> None:
        """Compare ``runs``; the notes of the comparison are appended to ``notes``.

        Raises:
            ConfigError: If no run has a metric or key, or it is unknown which values of the metric are better.
        """
        keys = {key for run in runs for key in run.config}
        for key in [*options.over, *options.keys]:
            if not any(below(other, (key,)) for other in keys) and all(key not in run.overrides for run in runs):
                raise ConfigError(f"{key}: no run has this key (over, keys)")
        self.runs, self.options = runs, options
        self.metric = metric = _metric(runs, options.metric)  # ranks the settings
        is_greater = greater_by_name(metric) if options.rule is None else options.rule == "greater"
        if is_greater is None:
            raise ConfigError("set rule=greater or rule=less", key="metric", value=metric)
        self.scores = [_score(run, metric, is_greater, options.at) for run in runs]
        self.metrics = list(
            dict.fromkeys([metric, *(n for score in self.scores for n in (*score.values, *score.absent))])
        )
        # Whether larger values of a metric are better; None if unknown.
        self.greater = {name: greater_by_name(name) for name in self.metrics} | {metric: is_greater}
        for run, score in zip(runs, self.scores, strict=True):
            reason = f"{metric} has not been recorded" + (f": {run.status}" if run.status != DONE else "")
            missing = {name for name in self.metrics if name not in {**score.values, **score.absent}}
            score.absent |= {
                name: reason if name == metric or score.step is None else "not measured" for name in missing
            }

        self.columns = varying_keys(runs)  # of which ``factors`` distinguish settings, and ``shown`` are to be shown
        self.factors = [column for column in self.columns if column.key not in options.over]
        self.shown = [column for column in self.factors if not options.keys or below(column.key, options.keys)]
        self.shown += [column for column in self.columns if column.key in options.over]
        self.usual = {column.key: Counter(column.values).most_common(1)[0][0] for column in self.columns}
        protocols = [protocol(run, options.over) for run in runs]
        self.flags = flags(runs, protocols, metric)
        self.settings = self._settings(protocols)  # sorted below, the best first
        ranked = [i for i, run in enumerate(runs) if run.status == DONE and not self.flags[i]]
        self.best: dict[str, set[int]] = {}  # indices of the runs with the best value of each metric
        self.effects: dict[str, list[Effect]] = {}  # of the keys on each metric, the largest first
        self.noise: dict[str, float | None] = {}  # pooled standard deviation of each metric over seeds
        for name in self.metrics:
            values = {i: self.scores[i].values[name] for i in ranked if name in self.scores[i].values}
            self.best[name] = _best(values, self.greater[name])
            self.effects[name] = self._effects(values)
            comparable = [setting for setting in self.settings if setting.comparable]
            self.noise[name] = pooled_std([self._values(setting.used, name) for setting in comparable])
        self.settings.sort(key=self._rank)
        self.notes = [*notes, *self._notes()]

    @property
    def crowded(self) -> bool:
        """Whether so many keys vary that only values other than the most common ones are shown."""
        return len(self.shown) > _MAX_COLUMNS

    def shown_of(self, setting: RunGroup) -> dict[str, str | None]:
        """Return the values of the shown keys of a setting."""
        values = zip(self.factors, setting.values, strict=True)
        return {column.key: value for column, value in values if column in self.shown}

    def name_of(self, setting: RunGroup) -> str:
        """Return the name of a setting, such as ``optimizer=sgd lr_policy=step``."""
        return self.format_values(self.shown_of(setting))

    def format_values(self, values: Mapping[str, str | None]) -> str:
        """Format the values of the shown keys on one line; if ``crowded``, only values other than the most common."""
        if not values:
            return "the one setting"
        parts = [f"{k}={v}" for k, v in values.items() if v is not None and not (self.crowded and v == self.usual[k])]
        return " ".join(parts) or "the most common values"

    def _values(self, runs: Sequence[int], metric: str) -> list[float]:
        return [self.scores[i].values[metric] for i in runs if metric in self.scores[i].values]

    def _settings(self, protocols: Sequence[dict[str, str]]) -> list[RunGroup]:
        groups: dict[tuple[str | None, ...], list[int]] = defaultdict(list)
        for i in range(len(self.runs)):
            groups[tuple(column.values[i] for column in self.factors)].append(i)
        settings = []
        for values, members in groups.items():
            done = [i for i in members if self.runs[i].status == DONE]
            scored = [i for i in done if self.metric in self.scores[i].values]
            kinds = Counter(str(protocols[i]) for i in scored)
            used = [i for i in scored if str(protocols[i]) == kinds.most_common(1)[0][0]]
            counts = Counter(self.runs[i].status for i in members if self.runs[i].status != DONE)
            counts["without a finite value"] = len(done) - len(scored)
            counts["not comparable"] = len(scored) - len(used)
            left_out = [f"{count} {what}" for what, count in counts.items() if count]
            stats = {name: one for name in self.metrics if (one := summary(self._values(used, name))) is not None}
            comparable = bool(used) and not self.flags[used[0]]
            settings.append(RunGroup(values, members, used, left_out, comparable, stats))
        return settings

    def _rank(self, setting: RunGroup) -> tuple[bool, bool, float, list[tuple[int, float, str]]]:
        mean = setting.stats[self.metric].mean if self.metric in setting.stats else 0.0
        order = [sort_key(value) for value in setting.values]
        return (
            self.metric not in setting.stats,
            not setting.comparable,
            -mean if self.greater[self.metric] else mean,
            order,
        )

    def _effects(self, values: Mapping[int, float]) -> list[Effect]:
        """Return the effect of each shown key, averaged over the other keys except those below it."""
        effects = []
        for column in (column for column in self.factors if column in self.shown):
            others = [other for other in self.factors if not below(other.key, (column.key,))]
            cells = [tuple(other.values[i] for other in others) for i in values]
            effects.append(effect(column.key, [column.values[i] for i in values], cells, list(values.values())))
        return sorted(
            (e for e in effects if e is not None), key=lambda e: -(e.spread if e.spread is not None else -1.0)
        )

    def _notes(self) -> list[str]:
        versions = Counter(run.version for run in self.runs if run.version).most_common(1)
        notes = []
        for run, score, reasons in zip(self.runs, self.scores, self.flags, strict=True):
            if run.version and run.version != versions[0][0]:
                most = f"run with vexp {run.version}, but most with {versions[0][0]}"
                run.notes.append(f"{most}: metrics may not be comparable")
            if self.metric in run.series or run.status != DONE:
                notes += [f"{run.name}: not comparable: {reason}" for reason in reasons]
            notes += [f"{run.name}: {note}" for note in run.notes]
            if run.status != DONE:
                notes.append(f"{run.name}: {run.status}, not in any mean: {run.why}")
            elif self.metric in score.absent:
                notes.append(f"{run.name}: not in any mean: {score.absent[self.metric]}")
        if hidden := [column.key for column in self.columns if column not in self.shown]:
            notes.append(f"keys= hides other keys that vary: {', '.join(hidden)}; they still distinguish settings")
        return notes


def _metric(runs: Sequence[Run], wanted: str) -> str:
    names = list(dict.fromkeys(name for run in runs for name in run.series))
    if wanted == "auto":
        kept = Counter(f"val/{run.best_metric}" for run in runs if run.best_metric)
        first = [name for name in names if name.startswith("val/")] or [name for name in names if name == "train/loss"]
        if not (kept or first):
            raise NothingYetError("no run has recorded a metric yet (metrics.jsonl)")
        return kept.most_common(1)[0][0] if kept else first[0]
    for name in (wanted, f"val/{wanted}"):
        if name in names:
            return name
    rule = f"is not recorded by any run; recorded metrics: {', '.join(names) or 'none'}"
    raise ConfigError(rule, key="metric", value=wanted)


def _score(run: Run, metric: str, greater: bool, at: str) -> Score:
    """Return the values of one record; of equal scores the earlier, as for best.pth.

    A run that does not have the metric, because it is of another task, is shown with its own best or last evaluation.
    """
    series = run.series.get(metric)
    if series is None:
        metric = f"val/{run.best_metric}"
        series, own = run.series.get(metric), greater_by_name(metric)
        if series is None or own is None:
            return Score()
        greater = own
    finite, chosen = np.isfinite(series.values), -1
    if at == "best" and finite.any():
        values = np.where(finite, series.values, -math.inf if greater else math.inf)
        chosen = int(values.argmax() if greater else values.argmin())
    score = Score(int(series.steps[chosen]))
    for name, other in run.series.items():
        where = np.flatnonzero(other.steps == score.step)
        if name.partition("/")[0] == metric.partition("/")[0] and len(where):
            value = float(other.values[where[-1]])
            if math.isfinite(value):
                score.values[name] = value
            else:
                score.absent[name] = f"{value} at step {score.step}"
    return score


def _best(values: Mapping[int, float], greater: bool | None) -> set[int]:
    if not values or greater is None:
        return set()
    best = max(values.values()) if greater else min(values.values())
    return {i for i, value in values.items() if value == best}
