"""The comparison on a terminal, as Markdown and as CSV."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator

from rich.table import Column, Table

from vexp.tools.compare.comparison import Comparison
from vexp.tools.compare.conclusion import spread_text, value_text, verdict
from vexp.tools.compare.runs import DONE, printable

_SHOWN = 20  # rows on a terminal and in the Markdown of a table of runs; runs.csv has all
ABSENT = "–"


def states(made: Comparison) -> str:
    """``24 runs: 22 done, 1 failed, 1 interrupted``."""
    counts = Counter(run.status for run in made.runs)
    return f"{len(made.runs)} runs: " + ", ".join(f"{count} {status}" for status, count in counts.most_common())


def explanation(made: Comparison) -> str:
    """Which values the tables hold, and what their rows do not say."""
    usual = ", ".join(f"{column.key}={made.usual[column.key]}" for column in made.shown) if made.crowded else ""
    which = f"best evaluation by {made.metric}" if made.options.at == "best" else "last evaluation"
    return (
        f"values of each run's {which}; mean ± sample standard deviation over {', '.join(made.options.over)}; "
        "only finished runs are averaged" + (f"; the usual values: {usual}" if usual else "")
    )


def console_tables(made: Comparison) -> list[Table]:
    """What differs and what was reached: settings, runs, effects. Nothing is cut: long texts fold."""
    tables = []
    for title, (header, rows) in _tables(made).items():
        columns = (Column(name, overflow="fold") for name in header)
        table = Table(*columns, title=title, title_justify="left", title_style="bold", box=None)
        for row in rows[:_SHOWN]:
            table.add_row(*row)
        if len(rows) > _SHOWN:
            table.caption = f"{len(rows) - _SHOWN} more in the files"
        tables.append(table)
    return tables


def markdown(made: Comparison) -> str:
    """comparison.md."""
    parts = [f"# {states(made)}", " ".join(verdict(made)), explanation(made)]
    for title, (header, rows) in _tables(made).items():
        more = [f"{len(rows) - _SHOWN} more in the CSV files"] if len(rows) > _SHOWN else []
        lines = [header, ["---"] * len(header), *rows[:_SHOWN]]
        table = "\n".join("| " + " | ".join(_cell(text) for text in line) + " |" for line in lines)
        parts += [f"## {title}", table, *more]
    parts.append("\n".join(f"- {_cell(line)}" for line in effect_statements(made)))
    if made.notes:
        parts += ["## Notes", "\n".join(f"- {_cell(note)}" for note in made.notes)]
    return "\n\n".join(parts) + "\n"


def runs_csv(made: Comparison) -> str:
    """runs.csv: a row a run, numbers in full precision, why a number is missing in the last column."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    keys = [column.key for column in made.columns]
    writer.writerow(["run", "status", *keys, "step", *made.metrics, "seconds", "comparable", "remarks", "folder"])
    for i, run in enumerate(made.runs):
        score = made.scores[i]
        why = [f"{name}: {reason}" for name, reason in score.absent.items()]
        remarks = [*([run.why] if run.why else []), *made.flags[i], *run.notes, *why]
        writer.writerow([
            run.name, run.status, *(_known(column.values[i]) for column in made.columns), _known(score.step),
            *(repr(score.values[name]) if name in score.values else "" for name in made.metrics),
            _known(run.seconds), str(not made.flags[i]).lower(), "; ".join(remarks),
            printable(run.folder),
        ])  # fmt: skip
    return text.getvalue()


def settings_csv(made: Comparison) -> str:
    """settings.csv: a row a setting with n, mean and std of every metric."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    keys = [column.key for column in made.columns if column.key not in made.options.over]
    heads = [f"{name} {what}" for name in made.metrics for what in ("n", "mean", "std")]
    writer.writerow([*keys, "runs", *heads, "comparable", "left_out"])
    for setting in made.settings:
        numbers: list[object] = []
        for name in made.metrics:
            stats = setting.stats.get(name)
            numbers += [stats.n, repr(stats.mean), _known(stats.std)] if stats else [0, "", ""]
        comparable = str(setting.comparable).lower()
        values = [_known(value) for value in setting.values]
        writer.writerow([*values, len(setting.runs), *numbers, comparable, ", ".join(setting.left_out)])
    return text.getvalue()


def effect_statements(made: Comparison) -> list[str]:
    """How far the means of each key can be trusted."""
    return [f"{found.key}: {found.statement}" for found in made.effects[made.metric]]


def _tables(made: Comparison) -> dict[str, tuple[list[str], list[list[str]]]]:
    """Title -> (header, rows) of the tables that have any."""
    effects = (["key", "value", "mean", "matched mean", "runs", "cells"], list(_levels(made)))
    tables = {"Settings": _settings(made), "Runs": _runs(made), f"Effect of each key on {made.metric}": effects}
    return {title: (header, rows) for title, (header, rows) in tables.items() if rows}


def _known(value: object) -> object:
    return "" if value is None else value


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _settings(made: Comparison) -> tuple[list[str], list[list[str]]]:
    """Empty where every setting has one run, which the table of runs shows as well."""
    if all(len(setting.runs) == 1 for setting in made.settings):
        return [], []
    keys = _heads(made, [column.key for column in made.shown if column.key not in made.options.over])
    leader = next((s for s in made.settings if s.comparable and made.metric in s.stats), None)
    rows = []
    for setting in made.settings:
        cells = _values(made, made.shown_of(setting))
        stats = [setting.stats.get(name) for name in made.metrics]
        numbers = [spread_text(found) if found is not None else ABSENT for found in stats]
        numbers[0] += "*" * (setting is leader)
        remarks = [*setting.left_out, *([] if setting.comparable or not setting.used else ["not comparable"])]
        rows.append([*cells, f"{len(setting.used)} of {len(setting.runs)}", *numbers, ", ".join(remarks)])
    return [*keys, "runs", *made.metrics, "left out"], rows


def _runs(made: Comparison) -> tuple[list[str], list[list[str]]]:
    rows = []
    for i in _order(made):
        run, score = made.runs[i], made.scores[i]
        cells = _values(made, {column.key: column.values[i] for column in made.shown})
        numbers = [
            value_text(score.values[name]) + "*" * (i in made.best[name]) if name in score.values else ABSENT
            for name in made.metrics
        ]
        remarks = [*([run.status] if run.status != DONE else []), *(["not comparable"] if made.flags[i] else [])]
        rows.append(
            [*cells, *numbers, str(_known(score.step)), ", ".join(remarks), *([] if made.shown else [run.name])]
        )
    keys = _heads(made, [column.key for column in made.shown])
    return [*keys, *made.metrics, "step", "state", *([] if made.shown else ["run"])], rows


def _heads(made: Comparison, keys: list[str]) -> list[str]:
    return ["other than usual"] if made.crowded else keys


def _values(made: Comparison, values: dict[str, str | None]) -> list[str]:
    return [made.in_words(values)] if made.crowded else [value or ABSENT for value in values.values()]


def _order(made: Comparison) -> list[int]:
    """Runs by the metric; then those that are not finished or not comparable, and those without a value."""
    sign = -1.0 if made.greater[made.metric] else 1.0

    def place(i: int) -> tuple[bool, bool, float]:
        value = made.scores[i].values.get(made.metric)
        apart = made.runs[i].status != DONE or bool(made.flags[i])
        return (value is None, apart, sign * value if value is not None else 0.0)

    return sorted(range(len(made.runs)), key=place)


def _levels(made: Comparison) -> Iterator[list[str]]:
    for found in made.effects[made.metric]:
        for number, level in enumerate([] if found.scattered else found.levels):
            matched = value_text(level.matched) if level.matched is not None else ABSENT
            counts = [str(level.runs), str(level.cells)]
            yield [found.key if number == 0 else "", level.value, value_text(level.mean), matched, *counts]
