"""Runs side by side: what each scored, what a setting reaches over its seeds, what each key does."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from vexp.core.errors import UserError
from vexp.evaluation.config import greater_by_name
from vexp.tools.compare.columns import Column, below, columns
from vexp.tools.compare.comparability import flags, other_versions, protocol
from vexp.tools.compare.config import Compare
from vexp.tools.compare.runs import DONE, Run, Series
from vexp.tools.compare.statistics import Effect, Summary, effect, in_order, pooled_std, summary

_SIDE_BY_SIDE = 6  # keys that a name or a table spells out


@dataclass(slots=True)
class Score:
    """What one run is compared by: finite ``values`` of the record of ``step``, and for the others why not."""

    step: int | None = None
    values: dict[str, float] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class RunGroup:
    """Runs that differ in nothing but ``over`` (seeds).

    ``values``: of the setting's columns; ``runs``: all of them, ``used``: those that ``stats`` are of, by number;
    ``left_out``: what became of the others; ``comparable``: measured on what most runs are measured on.
    """

    values: tuple[str | None, ...]
    runs: list[int]
    used: list[int]
    left_out: list[str]
    comparable: bool
    stats: dict[str, Summary]


@dataclass(slots=True)
class Comparison:
    """Everything that the tables and the page show. Lists over runs are in the order of ``runs``.

    ``metrics``: the one that is compared first; ``greater``: whether more of a metric is better, None where its name
    does not tell; ``columns``: all differences, ``shown``: those to show; ``usual``: of each of these the value that
    most runs have; ``best``: of each metric the runs that hold it; ``effects``: of each metric, the largest first;
    ``noise``: pooled std over seeds.
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
        """Shown key -> value."""
        keys = [column.key for column in self.columns if column.key not in self.options.over]
        values = dict(zip(keys, setting.values, strict=True))
        return {column.key: values[column.key] for column in self.shown if column.key in values}

    @property
    def crowded(self) -> bool:
        """Whether more keys differ than anybody reads side by side: what is usual is then said once for all."""
        return len(self.shown) > _SIDE_BY_SIDE

    def name_of(self, setting: RunGroup) -> str:
        """``optimizer=sgd lr_policy=step``."""
        return self.in_words(self.shown_of(setting))

    def in_words(self, values: Mapping[str, str | None]) -> str:
        """Shown key -> value on a line; where these are ``crowded``, those that are not the usual ones."""
        if not values:
            return "the one setting"
        said = [f"{k}={v}" for k, v in values.items() if v is not None and not (self.crowded and v == self.usual[k])]
        return " ".join(said) or "the usual values"


def compare(runs: Sequence[Run], options: Compare, notes: Sequence[str] = ()) -> Comparison:
    """Compare ``runs``; ``notes`` are passed on before its own.

    Raises:
        UserError: a metric or key that no run has, or a metric whose better side is not known.
    """
    known = {key for run in runs for key in run.config}
    for key in [*options.over, *options.keys]:
        if not any(below(other, (key,)) for other in known) and all(key not in run.words for run in runs):
            raise UserError(f"{key}: no run has this key (over, keys)")
    metric = _metric(runs, options.metric)
    greater: dict[str, bool | None] = {metric: _greater(metric, options.rule)}
    scores = [_score(run, metric, greater[metric] is not False, options.at) for run in runs]
    metrics = list(dict.fromkeys([metric, *(name for score in scores for name in (*score.values, *score.absent))]))
    greater |= {name: greater_by_name(name) for name in metrics[1:]}
    for score, run in zip(scores, runs, strict=True):
        for name in metrics:
            if name not in score.values:
                score.absent.setdefault(name, "not measured" if score.step is not None else _nothing(run, metric))

    differing = columns(runs)
    protocols = [protocol(run, options.over) for run in runs]
    flagged = flags(runs, protocols)
    settings = _settings(runs, differing, options, scores, protocols, flagged, metrics)
    ranked = [i for i, run in enumerate(runs) if run.status == DONE and not flagged[i]]
    made = Comparison(
        options=options, runs=list(runs), columns=differing,
        shown=_shown(differing, options),
        usual={column.key: Counter(column.values).most_common(1)[0][0] for column in differing},
        metrics=metrics, greater=greater, scores=scores, flags=flagged, settings=settings,
        best={name: _best(ranked, scores, name, greater[name]) for name in metrics},
        effects={}, noise={}, notes=list(notes),
    )  # fmt: skip
    for name in metrics:
        made.effects[name] = _effects(made, ranked, name)
        made.noise[name] = pooled_std(
            [[scores[i].values[name] for i in s.used if name in scores[i].values] for s in settings if s.comparable]
        )
    made.settings.sort(key=lambda setting: _rank(setting, metric, greater[metric]))
    made.notes += _notes(made)
    return made


def _shown(differing: Sequence[Column], options: Compare) -> list[Column]:
    """The columns that were asked for, those of repetitions last."""
    asked = [c for c in differing if not options.keys or below(c.key, options.keys) or c.key in options.over]
    return sorted(asked, key=lambda column: column.key in options.over)


def _metric(runs: Sequence[Run], wanted: str) -> str:
    names = list(dict.fromkeys(name for run in runs for name in run.series))
    if wanted == "auto":
        kept = Counter(f"val/{run.best_metric}" for run in runs if run.best_metric)
        first = [name for name in names if name.startswith("val/")] or [name for name in names if name == "train/loss"]
        if not (kept or first):
            raise UserError("no run has recorded a metric yet (metrics.jsonl)")
        return kept.most_common(1)[0][0] if kept else first[0]
    found = next((name for name in (wanted, f"val/{wanted}") if name in names), None)
    if found is None:
        raise UserError(f"metric={wanted}: no run has recorded it; recorded: {', '.join(names) or 'nothing'}")
    return found


def _greater(metric: str, rule: str | None) -> bool:
    greater = greater_by_name(metric) if rule is None else rule == "greater"
    if greater is None:
        raise UserError(f"metric={metric}: say rule=greater or rule=less, the name does not tell")
    return greater


def _score(run: Run, metric: str, greater: bool, at: str) -> Score:
    """The values of one record: of equal scores the earlier, as best.pth is kept."""
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


def _nothing(run: Run, metric: str) -> str:
    return f"{metric} has not been recorded" + ("" if run.status == DONE else f": {run.status}")


def _settings(
    runs: Sequence[Run], differing: Sequence[Column], options: Compare, scores: Sequence[Score],
    protocols: Sequence[dict[str, str]], flagged: Sequence[list[str]], metrics: Sequence[str],
) -> list[RunGroup]:  # fmt: skip
    groups: dict[tuple[str | None, ...], list[int]] = {}
    for i in range(len(runs)):
        groups.setdefault(tuple(c.values[i] for c in differing if c.key not in options.over), []).append(i)
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
                values=values, runs=members, used=used,
                left_out=[f"{count} {what}" for what, count in left_out.items() if count],
                comparable=bool(used) and not flagged[used[0]],
                stats={name: found for name, found in stats.items() if found is not None},
            )
        )  # fmt: skip
    return settings


def _rank(
    setting: RunGroup, metric: str, greater: bool | None
) -> tuple[bool, bool, float, list[tuple[int, float, str]]]:
    mean = setting.stats[metric].mean if metric in setting.stats else 0.0
    order = [in_order(value) for value in setting.values]
    return (metric not in setting.stats, not setting.comparable, -mean if greater else mean, order)


def _best(ranked: Sequence[int], scores: Sequence[Score], metric: str, greater: bool | None) -> set[int]:
    found = {i: scores[i].values[metric] for i in ranked if metric in scores[i].values}
    if not found or greater is None:
        return set()
    best = max(found.values()) if greater else min(found.values())
    return {i for i, value in found.items() if value == best}


def _effects(made: Comparison, ranked: Sequence[int], metric: str) -> list[Effect]:
    """Values below a key (``optimizer.momentum`` below ``optimizer``) are averaged over with its cells."""
    scored = [i for i in ranked if metric in made.scores[i].values]
    factors = [column for column in made.columns if column.key not in made.options.over]
    found = []
    for column in factors:
        if column not in made.shown:
            continue
        others = [other for other in factors if not below(other.key, (column.key,))]
        cells = [tuple(other.values[i] for other in others) for i in scored]
        scores = [made.scores[i].values[metric] for i in scored]
        found.append(effect(column.key, [column.values[i] for i in scored], cells, scores))
    return sorted((e for e in found if e is not None), key=lambda e: -(e.spread if e.spread is not None else -1.0))


def _notes(made: Comparison) -> list[str]:
    """What a reader must know before trusting a number."""
    notes = []
    for i, (run, other) in enumerate(zip(made.runs, other_versions(made.runs), strict=True)):
        run.notes += [other] if other else []
        notes += [f"{run.name}: not comparable: {flag}" for flag in made.flags[i]]
        notes += [f"{run.name}: {note}" for note in run.notes]
        if run.status != DONE:
            notes.append(f"{run.name}: {run.status}, in no mean: {run.why}")
        elif made.metric in made.scores[i].absent:
            notes.append(f"{run.name}: in no mean: {made.scores[i].absent[made.metric]}")
    hidden = [column.key for column in made.columns if column not in made.shown]
    if hidden:
        notes.append(f"keys= leaves out what differs, too: {', '.join(hidden)}; settings are told apart by it")
    return notes
