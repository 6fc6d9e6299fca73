"""The comparison as tables for a terminal, Markdown and CSV."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator

from rich.table import Column, Table

from vexp.tools.compare.comparison import Comparison
from vexp.tools.compare.conclusion import conclusion, format_metric, format_stats
from vexp.tools.compare.runs import DONE, printable

_MAX_ROWS = 20  # of a table on a terminal and in Markdown; the CSV files have all
ABSENT = "–"


def status_counts(comparison: Comparison) -> str:
    """Return the number of runs by status: ``24 runs: 22 done, 1 failed, 1 interrupted``."""
    counts = Counter(run.status for run in comparison.runs)
    return f"{len(comparison.runs)} runs: " + ", ".join(f"{count} {status}" for status, count in counts.most_common())


def explanation(comparison: Comparison) -> str:
    """Return which values the tables contain, and the values that they leave out."""
    usual = (
        ", ".join(f"{column.key}={comparison.usual[column.key]}" for column in comparison.shown)
        if comparison.crowded
        else ""
    )
    which = f"best evaluation by {comparison.metric}" if comparison.options.at == "best" else "last evaluation"
    return (
        f"values of each run's {which}; mean ± sample standard deviation over {', '.join(comparison.options.over)}; "
        "only finished runs are averaged" + (f"; most common values: {usual}" if usual else "")
    )


def console_tables(comparison: Comparison) -> list[Table]:
    """Return the tables of settings, runs and effects; long texts are wrapped."""
    tables = []
    for title, (header, rows) in _tables(comparison).items():
        columns = (Column(name, overflow="fold") for name in header)
        table = Table(*columns, title=title, title_justify="left", title_style="bold", box=None)
        for row in rows[:_MAX_ROWS]:
            table.add_row(*row)
        if len(rows) > _MAX_ROWS:
            table.caption = f"{len(rows) - _MAX_ROWS} more in the files"
        tables.append(table)
    return tables


def markdown(comparison: Comparison) -> str:
    """Return the content of comparison.md."""
    parts = [f"# {status_counts(comparison)}", " ".join(conclusion(comparison)), explanation(comparison)]
    for title, (header, rows) in _tables(comparison).items():
        more = [f"{len(rows) - _MAX_ROWS} more in the CSV files"] if len(rows) > _MAX_ROWS else []
        lines = [header, ["---"] * len(header), *rows[:_MAX_ROWS]]
        table = "\n".join("| " + " | ".join(_cell(text) for text in line) + " |" for line in lines)
        parts += [f"## {title}", table, *more]
    parts.append("\n".join(f"- {_cell(line)}" for line in effect_statements(comparison)))
    if comparison.notes:
        parts += ["## Notes", "\n".join(f"- {_cell(note)}" for note in comparison.notes)]
    return "\n\n".join(parts) + "\n"


def runs_csv(comparison: Comparison) -> str:
    """Return runs.csv: a row per run with values in full precision and the reasons for missing ones."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [column.key for column in comparison.columns]
    writer.writerow(
        ["run", "status", *names, "step", *comparison.metrics, "seconds", "comparable", "remarks", "folder"]
    )
    for i, run in enumerate(comparison.runs):
        score = comparison.scores[i]
        why = [f"{name}: {reason}" for name, reason in score.absent.items()]
        remarks = [*([run.why] if run.why else []), *comparison.flags[i], *run.notes, *why]
        keys = [_or_empty(column.values[i]) for column in comparison.columns]
        values = [repr(score.values[name]) if name in score.values else "" for name in comparison.metrics]
        last = [_or_empty(run.seconds), str(not comparison.flags[i]).lower(), "; ".join(remarks), printable(run.folder)]
        writer.writerow([run.name, run.status, *keys, _or_empty(score.step), *values, *last])
    return text.getvalue()


def settings_csv(comparison: Comparison) -> str:
    """Return settings.csv: a row per setting with n, mean and std of every metric."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    keys = [column.key for column in comparison.columns if column.key not in comparison.options.over]
    heads = [f"{name} {what}" for name in comparison.metrics for what in ("n", "mean", "std")]
    writer.writerow([*keys, "runs", *heads, "comparable", "left_out"])
    for setting in comparison.settings:
        numbers: list[object] = []
        for name in comparison.metrics:
            stats = setting.stats.get(name)
            numbers += [stats.n, repr(stats.mean), _or_empty(stats.std)] if stats else [0, "", ""]
        comparable = str(setting.comparable).lower()
        values = [_or_empty(value) for value in setting.values]
        writer.writerow([*values, len(setting.runs), *numbers, comparable, ", ".join(setting.left_out)])
    return text.getvalue()


def effect_statements(comparison: Comparison) -> list[str]:
    """Return, for each key, a description of how comparable its means are."""
    return [f"{effect.key}: {effect.statement}" for effect in comparison.effects[comparison.metric]]


def _tables(comparison: Comparison) -> dict[str, tuple[list[str], list[list[str]]]]:
    """Return header and rows of each nonempty table by its title."""
    effects = (["key", "value", "mean", "matched mean", "runs", "cells"], list(_levels(comparison)))
    tables = {
        "Settings": _settings(comparison),
        "Runs": _runs(comparison),
        f"Effect of each key on {comparison.metric}": effects,
    }
    return {title: (header, rows) for title, (header, rows) in tables.items() if rows}


def _or_empty(value: object) -> object:
    return "" if value is None else value


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _settings(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """Return the table of settings; empty if every setting has one run, as in the table of runs."""
    if all(len(setting.runs) == 1 for setting in comparison.settings):
        return [], []
    keys = _heads(comparison, [column.key for column in comparison.shown if column.key not in comparison.options.over])
    leader = next((s for s in comparison.settings if s.comparable and comparison.metric in s.stats), None)
    rows = []
    for setting in comparison.settings:
        cells = _values(comparison, comparison.shown_of(setting))
        stats = [setting.stats.get(name) for name in comparison.metrics]
        numbers = [format_stats(one) if one is not None else ABSENT for one in stats]
        numbers[0] += "*" * (setting is leader)
        remarks = [*setting.left_out, *([] if setting.comparable or not setting.used else ["not comparable"])]
        rows.append([*cells, f"{len(setting.used)} of {len(setting.runs)}", *numbers, ", ".join(remarks)])
    return [*keys, "runs", *comparison.metrics, "left out"], rows


def _runs(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    rows = []
    for i in _order(comparison):
        run, score = comparison.runs[i], comparison.scores[i]
        cells = _values(comparison, {column.key: column.values[i] for column in comparison.shown})
        numbers = [
            format_metric(score.values[name]) + "*" * (i in comparison.best[name]) if name in score.values else ABSENT
            for name in comparison.metrics
        ]
        remarks = [*([run.status] if run.status != DONE else []), *(["not comparable"] if comparison.flags[i] else [])]
        rows.append(
            [
                *cells,
                *numbers,
                str(_or_empty(score.step)),
                ", ".join(remarks),
                *([] if comparison.shown else [run.name]),
            ]
        )
    keys = _heads(comparison, [column.key for column in comparison.shown])
    return [*keys, *comparison.metrics, "step", "state", *([] if comparison.shown else ["run"])], rows


def _heads(comparison: Comparison, keys: list[str]) -> list[str]:
    return ["uncommon values"] if comparison.crowded else keys


def _values(comparison: Comparison, values: dict[str, str | None]) -> list[str]:
    return [comparison.format_values(values)] if comparison.crowded else [value or ABSENT for value in values.values()]


def _order(comparison: Comparison) -> list[int]:
    """Return the runs by the metric, then those that are unfinished or not comparable, then those without a value."""
    sign = -1.0 if comparison.greater[comparison.metric] else 1.0

    def rank(i: int) -> tuple[bool, bool, float]:
        value = comparison.scores[i].values.get(comparison.metric)
        is_excluded = comparison.runs[i].status != DONE or bool(comparison.flags[i])
        return (value is None, is_excluded, sign * value if value is not None else 0.0)

    return sorted(range(len(comparison.runs)), key=rank)


def _levels(comparison: Comparison) -> Iterator[list[str]]:
    for effect in comparison.effects[comparison.metric]:
        for number, level in enumerate([] if effect.scattered else effect.levels):
            matched = format_metric(level.matched) if level.matched is not None else ABSENT
            counts = [str(level.runs), str(level.cells)]
            yield [effect.key if number == 0 else "", level.value, format_metric(level.mean), matched, *counts]
