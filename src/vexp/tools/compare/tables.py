"""The comparison as tables for a terminal, Markdown and CSV."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple

from rich.table import Column, Table

from vexp.tools.compare.comparison import Comparison
from vexp.tools.compare.conclusion import conclusion, format_metric, format_stats
from vexp.tools.compare.runs import DONE, printable

_MAX_ROWS = 20  # of a table on a terminal and in Markdown; the CSV files have all
_MAX_METRICS = 8  # of a table on a terminal and in Markdown
_THRESHOLD = re.compile(r"/mAP@[\d.]+$")  # one of the thresholds of which there is a mean
ABSENT = "–"
_UNCOMMON = "uncommon values"
_NAME_WIDTH = {_UNCOMMON: 28}  # characters that the other columns leave to this one on a terminal
Row = dict[str, str]  # cells by the heads of their columns


def status_counts(comparison: Comparison) -> str:
    """Return the number of runs by status: ``24 runs: 22 done, 1 failed, 1 interrupted``."""
    counts = Counter(run.status for run in comparison.runs)
    return f"{len(comparison.runs)} runs: " + ", ".join(f"{count} {status}" for status, count in counts.most_common())


def explanation(comparison: Comparison) -> str:
    """Return which values the tables contain, and the values that they leave out."""
    which = f"best evaluation by {comparison.metric}" if comparison.options.at == "best" else "last evaluation"
    text = f"values of each run's {which}; mean ± sample standard deviation over {', '.join(comparison.options.over)}; "
    text += "only finished runs are averaged"
    if comparison.crowded:
        usual = ((column.key, comparison.usual[column.key]) for column in comparison.shown)
        text += f"; most common values: {', '.join(f'{key}={value}' for key, value in usual if value is not None)}"
    return text


def console_tables(comparison: Comparison) -> list[Table]:
    """Return the tables of settings, runs and effects; long texts are wrapped."""
    tables = []
    for title, rows in _tables(comparison).items():
        columns = (Column(head, overflow="fold", min_width=_NAME_WIDTH.get(head)) for head in rows[0])
        table = Table(*columns, title=title, title_justify="left", title_style="bold", box=None)
        for row in rows[:_MAX_ROWS]:
            table.add_row(*row.values())
        if len(rows) > _MAX_ROWS:
            table.caption = f"{len(rows) - _MAX_ROWS} more in the files"
        tables.append(table)
    return tables


def markdown(comparison: Comparison) -> str:
    """Return the content of comparison.md."""
    parts = [f"# {status_counts(comparison)}", " ".join(conclusion(comparison)), explanation(comparison)]
    for title, rows in _tables(comparison).items():
        lines = [rows[0], ["---"] * len(rows[0]), *(row.values() for row in rows[:_MAX_ROWS])]
        parts += [f"## {title}", "\n".join("| " + " | ".join(map(_one_line, line)) + " |" for line in lines)]
        if len(rows) > _MAX_ROWS:
            parts.append(f"{len(rows) - _MAX_ROWS} more in the CSV files")
    parts.append("\n".join(f"- {_one_line(line)}" for line in effect_statements(comparison)))
    if comparison.notes:
        parts += ["## Notes", "\n".join(f"- {_one_line(note)}" for note in comparison.notes)]
    return "\n\n".join(parts) + "\n"


def runs_csv(comparison: Comparison) -> str:
    """Return runs.csv: a row per run with values in full precision and the reasons for missing ones."""
    rows: list[dict[str, object]] = []
    for i, (run, score) in enumerate(zip(comparison.runs, comparison.scores, strict=True)):
        absent = [f"{name}: {reason}" for name, reason in score.absent.items()]
        remarks = [*([run.why] if run.why else []), *comparison.flags[i], *run.notes, *absent]
        row: dict[str, object] = {"run": run.name, "status": run.status}
        row |= {column.key: column.values[i] for column in comparison.columns} | {"step": score.step}
        row |= {name: score.values.get(name) for name in comparison.metrics} | {"seconds": run.seconds}
        row |= {"comparable": str(not comparison.flags[i]).lower(), "remarks": "; ".join(remarks)}
        rows.append(row | {"folder": printable(run.folder)})
    return _csv(rows)


def settings_csv(comparison: Comparison) -> str:
    """Return settings.csv: a row per setting with n, mean and std of every metric."""
    rows: list[dict[str, object]] = []
    for setting in comparison.settings:
        row: dict[str, object] = {c.key: value for c, value in zip(comparison.factors, setting.values, strict=True)}
        row["runs"] = len(setting.runs)
        for name in comparison.metrics:
            numbers = astuple(setting.stats[name]) if name in setting.stats else (0, None, None)
            row |= {f"{name} {what}": number for what, number in zip(("n", "mean", "std"), numbers, strict=True)}
        rows.append(row | {"comparable": str(setting.comparable).lower(), "left_out": ", ".join(setting.left_out)})
    return _csv(rows)


def _csv(rows: Sequence[Mapping[str, object]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def effect_statements(comparison: Comparison) -> list[str]:
    """Return, for each key, a description of how comparable its means are."""
    return [f"{effect.key}: {effect.statement}" for effect in comparison.effects[comparison.metric]]


def _tables(comparison: Comparison) -> dict[str, list[Row]]:
    """Return the rows of each nonempty table by its title."""
    effects = f"Effect of each key on {comparison.metric}"
    tables = {"Settings": _settings, "Runs": _runs, effects: _levels}
    return {title: rows for title, table in tables.items() if (rows := list(table(comparison)))}


def _metrics(comparison: Comparison) -> list[str]:
    """Return the metrics of the tables; of many, those at single thresholds are in the CSV files only."""
    names = comparison.metrics
    if len(names) <= _MAX_METRICS:
        return names
    return [name for name in names if name == comparison.metric or not _THRESHOLD.search(name)]


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _keys(comparison: Comparison, values: Mapping[str, str | None]) -> Row:
    """Return the cells of the shown keys."""
    if comparison.crowded:
        return {_UNCOMMON: comparison.format_values(values)}
    return {key: value or ABSENT for key, value in values.items()}


def _settings(comparison: Comparison) -> Iterator[Row]:
    """Yield the rows of settings; none if every setting has one run, as in the table of runs."""
    if all(len(setting.runs) == 1 for setting in comparison.settings):
        return
    names = [name for name in _metrics(comparison) if any(name in setting.stats for setting in comparison.settings)]
    leader = next((s for s in comparison.settings if s.comparable and comparison.metric in s.stats), None)
    for setting in comparison.settings:
        stats = {name: setting.stats.get(name) for name in dict.fromkeys([comparison.metric, *names])}
        numbers = {name: ABSENT if one is None else format_stats(one) for name, one in stats.items()}
        numbers[comparison.metric] += "*" * (setting is leader)
        remarks = [*setting.left_out, *([] if setting.comparable or not setting.used else ["not comparable"])]
        row = _keys(comparison, comparison.shown_of(setting)) | {"runs": f"{len(setting.used)} of {len(setting.runs)}"}
        yield row | numbers | {"left out": ", ".join(remarks)}


def _runs(comparison: Comparison) -> Iterator[Row]:
    """Yield the runs by the metric, then those that are unfinished or not comparable, then those without a value."""
    sign = -1.0 if comparison.greater[comparison.metric] else 1.0

    def rank(i: int) -> tuple[bool, bool, float]:
        value = comparison.scores[i].values.get(comparison.metric)
        is_excluded = comparison.runs[i].status != DONE or bool(comparison.flags[i])
        return (value is None, is_excluded, sign * value if value is not None else 0.0)

    for i in sorted(range(len(comparison.runs)), key=rank):
        run, score = comparison.runs[i], comparison.scores[i]
        row = _keys(comparison, {column.key: column.values[i] for column in comparison.shown})
        for name in _metrics(comparison):
            value = score.values.get(name)
            row[name] = ABSENT if value is None else format_metric(value) + "*" * (i in comparison.best[name])
        remarks = [*([run.status] if run.status != DONE else []), *(["not comparable"] if comparison.flags[i] else [])]
        row |= {"step": "" if score.step is None else str(score.step), "state": ", ".join(remarks)}
        yield row if comparison.shown else row | {"run": run.name}


def _levels(comparison: Comparison) -> Iterator[Row]:
    for effect in comparison.effects[comparison.metric]:
        for number, level in enumerate([] if effect.scattered else effect.levels):
            matched = format_metric(level.matched) if level.matched is not None else ABSENT
            row = {"key": effect.key if number == 0 else "", "value": level.value, "mean": format_metric(level.mean)}
            yield row | {"matched mean": matched, "runs": str(level.runs), "cells": str(level.cells)}
