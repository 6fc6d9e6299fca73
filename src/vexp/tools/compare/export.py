"""The comparison for programs: a JSON document (assets/comparison.schema.json), and a SQLite file with every value."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any

from vexp.core.files import atomic_write
from vexp.tools.compare.comparison import Comparison
from vexp.tools.compare.conclusion import conclusion
from vexp.tools.compare.runs import printable

#: Version of the document and of the tables: larger if a field is removed or has another meaning, not if one is added.
FORMAT = 1

_TABLES = """
CREATE TABLE runs (
    run INTEGER PRIMARY KEY, name TEXT NOT NULL, folder TEXT NOT NULL, status TEXT NOT NULL, reason TEXT NOT NULL,
    setting INTEGER NOT NULL, comparable INTEGER NOT NULL, step INTEGER, seconds REAL, steps_per_epoch REAL,
    version TEXT
);
CREATE TABLE configs (
    run INTEGER NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (run, key)
) WITHOUT ROWID;
CREATE TABLE metrics (
    run INTEGER NOT NULL, step INTEGER NOT NULL, epoch INTEGER NOT NULL, key TEXT NOT NULL, value REAL
);
CREATE TABLE results (
    run INTEGER NOT NULL, key TEXT NOT NULL, value REAL NOT NULL, PRIMARY KEY (run, key)
) WITHOUT ROWID;
"""
_INDEX = "CREATE INDEX metrics_by_key ON metrics (key, run, step)"  # after the rows, which is faster


def schema() -> dict[str, Any]:
    """Return the JSON schema of ``document``."""
    text = (files(__package__) / "assets" / "comparison.schema.json").read_text(encoding="utf-8")
    content: dict[str, Any] = json.loads(text)
    return content


def document(comparison: Comparison) -> dict[str, Any]:
    """Return the comparison as plain values without NaN; ``docs/howto/compare.md`` explains the fields."""
    rules = {True: "greater", False: "less", None: None}
    varying = _varying(comparison)
    first = comparison.runs[0].config
    return {
        "format": FORMAT,
        "metric": comparison.metric,
        "at": comparison.options.at,
        "over": comparison.options.over,
        "metrics": [
            {"name": name, "rule": rules[comparison.greater[name]], "noise": comparison.noise[name]}
            for name in comparison.metrics
        ],
        "keys": [column.key for column in comparison.columns],
        "config": {key: value for key, value in first.items() if key not in varying},
        "runs": [_run(comparison, i, setting, varying) for i, setting in enumerate(_settings_of_runs(comparison))],
        "settings": [
            {
                "values": {c.key: value for c, value in zip(comparison.factors, setting.values, strict=True)},
                "runs": setting.runs,
                "used": setting.used,
                "left_out": setting.left_out,
                "comparable": setting.comparable,
                "results": {name: asdict(stats) for name, stats in setting.stats.items()},
            }
            for setting in comparison.settings
        ],
        "effects": [
            {"metric": metric, "spread": effect.spread} | asdict(effect)
            for metric, effects in comparison.effects.items()
            for effect in effects
        ],
        "conclusion": conclusion(comparison),
        "notes": comparison.notes,
    }


def _run(comparison: Comparison, i: int, setting: int, varying: dict[str, None]) -> dict[str, Any]:
    run, score = comparison.runs[i], comparison.scores[i]
    return {
        "name": run.name,
        "folder": printable(run.folder),
        "status": run.status,
        "reason": run.why,
        "setting": setting,
        "comparable": not comparison.flags[i],
        "differences": comparison.flags[i],
        "step": score.step,
        "results": score.values,
        "missing": score.absent,
        "seconds": run.seconds,
        "steps_per_epoch": run.steps_per_epoch,
        "version": run.version,
        "notes": run.notes,
        "config": {key: value for key, value in run.config.items() if key in varying},
    }


def _varying(comparison: Comparison) -> dict[str, None]:
    """Return the keys that the config of some run does not have, or has with another value."""
    first, runs = comparison.runs[0].config, comparison.runs
    keys = dict.fromkeys(key for run in runs for key in run.config)
    return {key: None for key in keys if any(run.config.get(key) != first.get(key) for run in runs)}


def _settings_of_runs(comparison: Comparison) -> list[int]:
    """Return the index of the setting of each run."""
    found = {i: number for number, setting in enumerate(comparison.settings) for i in setting.runs}
    return [found[i] for i in range(len(comparison.runs))]


def write_sql(path: Path, comparison: Comparison) -> None:
    """Write the SQLite file, atomically: a program that has it open keeps reading the previous one.

    Raises:
        OSError: If it cannot be written.
    """
    with atomic_write(path) as temporary:
        connection = sqlite3.connect(temporary, isolation_level=None)
        try:
            connection.executescript(f"PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; {_TABLES}")
            connection.execute(f"PRAGMA user_version = {FORMAT}")
            connection.execute("BEGIN")
            connection.executemany(f"INSERT INTO runs VALUES ({', '.join('?' * 11)})", _run_rows(comparison))
            connection.executemany("INSERT INTO configs VALUES (?, ?, ?)", _config_rows(comparison))
            connection.executemany("INSERT INTO metrics VALUES (?, ?, ?, ?, ?)", _metric_rows(comparison))
            results = ((i, *item) for i, score in enumerate(comparison.scores) for item in score.values.items())
            connection.executemany("INSERT INTO results VALUES (?, ?, ?)", results)
            connection.execute("COMMIT")
            connection.execute(_INDEX)
        except sqlite3.Error as error:  # a full disk
            raise OSError(None, str(error), str(path)) from None
        finally:
            connection.close()


def _run_rows(comparison: Comparison) -> Iterator[tuple[Any, ...]]:
    for i, setting in enumerate(_settings_of_runs(comparison)):
        run, step, comparable = comparison.runs[i], comparison.scores[i].step, not comparison.flags[i]
        names = (_text(run.name), printable(run.folder), run.status, _text(run.why))
        yield (i, *names, setting, comparable, step, run.seconds, run.steps_per_epoch, run.version)


def _config_rows(comparison: Comparison) -> Iterator[tuple[int, str, str]]:
    for i, run in enumerate(comparison.runs):
        for key, value in run.config.items():
            yield i, _text(key), _text(value)


def _metric_rows(comparison: Comparison) -> Iterator[tuple[int, int, int, str, float]]:
    """Yield the values of metrics.jsonl; SQLite stores NaN as NULL."""
    for i, run in enumerate(comparison.runs):
        for key, series in run.series.items():
            assert series.epochs is not None
            columns = (series.steps.tolist(), series.epochs.tolist(), series.values.tolist())
            for step, epoch, value in zip(*columns, strict=True):
                yield i, step, epoch, _text(key), value


def _text(value: str) -> str:
    """Return a text that SQLite stores: with question marks for halves of surrogate pairs."""
    return value.encode("utf-8", "replace").decode("utf-8")
