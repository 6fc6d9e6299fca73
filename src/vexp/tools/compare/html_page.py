"""index.html: the comparison as one page that needs no server and no network.

page.html, its styles and scripts beside this file are put into each other, with the numbers as JSON between them. The
charts are drawn by charts.js itself: a plotting library would add more to every page than the numbers of fifty runs.
"""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Iterable
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

from vexp.tools.compare.columns import BOOKKEEPING, below
from vexp.tools.compare.comparison import Comparison
from vexp.tools.compare.conclusion import verdict
from vexp.tools.compare.curves import COLOURS, COLOURS_ON_DARK, names_of_curves, thin
from vexp.tools.compare.runs import Run
from vexp.tools.compare.statistics import Effect, Summary
from vexp.tools.compare.tables import explanation, states

_PARTS = ("page.css", "parts.js", "charts.js", "tables.js", "page.js")
_POINTS = 240_000  # of all curves together: about 2 MB
_MOST_POINTS, _FEWEST_POINTS = 600, 40  # of one curve


def page(made: Comparison, folder: Path) -> str:
    """The whole page; its links to run folders are relative to ``folder``."""
    text = _part("page.html")
    for name in _PARTS:
        text = text.replace(f"/* {name} */", _part(name))
    return text.replace("/* data */", as_json(content(made, folder)))


def _part(name: str) -> str:
    return (files(__package__) / "assets" / name).read_text(encoding="utf-8")


def as_json(value: Any) -> str:
    """JSON that can stand in a script element: no text in it can end the element or begin a comment."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def content(made: Comparison, folder: Path) -> dict[str, Any]:
    """Everything that page.js shows."""
    setting_of = {i: number for number, setting in enumerate(made.settings) for i in setting.runs}
    over = made.options.over
    return {
        "title": states(made),
        "verdict": verdict(made),
        "explanation": explanation(made),
        "notes": made.notes,
        "colours": {"light": COLOURS, "dark": COLOURS_ON_DARK},
        "metrics": [{"name": m, "greater": made.greater[m], "best": sorted(made.best[m])} for m in made.metrics],
        "columns": [{"key": column.key, "over": column.key in over} for column in made.shown],
        "runs": [_run(made, i, folder) | {"setting": setting_of[i]} for i in range(len(made.runs))],
        "settings": [
            {
                "name": made.name_of(setting), "values": list(made.shown_of(setting).values()),
                "runs": setting.runs, "used": setting.used, "leftOut": setting.left_out,
                "comparable": setting.comparable, "stats": [_stats(setting.stats.get(m)) for m in made.metrics],
            }
            for setting in made.settings
        ],
        "effects": [[_effect(effect) for effect in made.effects[metric]] for metric in made.metrics],
        "noise": [made.noise[metric] for metric in made.metrics],
        "config": _configs(made.runs),
        "curves": _curves(made),
        "confusion": _confusion(made),
    }  # fmt: skip


def _run(made: Comparison, i: int, folder: Path) -> dict[str, Any]:
    run, score = made.runs[i], made.scores[i]
    href = quote(os.fsencode(Path(os.path.relpath(run.folder, folder)).as_posix())) + "/"
    return {
        "name": run.name,
        "href": href,
        "status": run.status,
        "why": run.why,
        "flags": made.flags[i],
        "notes": run.notes,
        "values": [column.values[i] for column in made.shown],
        "scores": [score.values.get(name) for name in made.metrics],
        "absent": [score.absent.get(name) for name in made.metrics],
        "step": score.step,
        "seconds": run.seconds,
        "stepsPerEpoch": run.steps_per_epoch,
    }


def _stats(stats: Summary | None) -> dict[str, Any] | None:
    return None if stats is None else {"n": stats.n, "mean": stats.mean, "std": stats.std}


def _effect(effect: Effect) -> dict[str, Any]:
    levels = [
        {name: getattr(level, name) for name in ("value", "runs", "cells", "mean", "matched")}
        for level in effect.levels
    ]
    return {
        "key": effect.key, "levels": levels, "spread": effect.spread, "balanced": effect.balanced,
        "crossed": effect.crossed, "scattered": effect.scattered, "statement": effect.statement,
    }  # fmt: skip


def _configs(runs: Iterable[Run]) -> dict[str, Any]:
    """What all runs share once, and of the rest a list of values and for each run their numbers in it; ``aside``: keys
    that say where a run writes, shown among all keys alone."""
    runs = list(runs)
    keys = list(dict.fromkeys(key for run in runs for key in run.config))
    varying = [key for key in keys if len({run.config.get(key) for run in runs}) > 1]
    common = {key: runs[0].config[key] for key in keys if key not in set(varying)}
    numbers: dict[str | None, int] = {None: 0}
    rows = [[numbers.setdefault(run.config.get(key), len(numbers)) for key in varying] for run in runs]
    aside = [key for key in varying if below(key, BOOKKEEPING)]
    return {"common": common, "varying": varying, "aside": aside, "values": list(numbers), "rows": rows}


def _curves(made: Comparison) -> dict[str, Any]:
    """``runs``: for each run and each of ``names`` the number of its steps in ``steps`` and its values, or null."""
    names = names_of_curves(made)
    most = min(_MOST_POINTS, max(_FEWEST_POINTS, _POINTS // max(1, len(made.runs) * len(names))))
    steps: dict[tuple[int, ...], int] = {}
    rows, thinned = [], False
    for run in made.runs:
        row: list[Any] = []
        for name in names:
            series = run.series.get(name)
            if series is None:
                row.append(None)
                continue
            points = thin(series, most)
            thinned = thinned or len(points.steps) < len(series.steps)
            number = steps.setdefault(tuple(points.steps.tolist()), len(steps))
            row.append([number, [_short(value) for value in points.values.tolist()]])
        rows.append(row)
    return {"names": names, "steps": [list(key) for key in steps], "runs": rows, "most": most if thinned else None}


def _short(value: float) -> float | None:
    """Five significant digits are more than a screen shows."""
    return float(f"{value:.5g}") if math.isfinite(value) else None


def _confusion(made: Comparison) -> dict[str, Any] | None:
    """Of the best run that has one: [label, predicted, videos] where there are any."""
    best = next((i for i in sorted(made.best[made.metric]) if made.runs[i].classes), None)
    if best is None:
        return None
    run = made.runs[best]
    number = {name: place for place, name in enumerate(run.classes)}
    counts: dict[tuple[int, int], int] = {}
    with (
        suppress(OSError, UnicodeDecodeError, csv.Error, KeyError),
        (run.folder / "eval" / "predictions.csv").open(encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        for row in csv.DictReader(file):
            if row["label"] in number and row["predicted"] in number:  # not of several labels, not unscored
                cell = (number[row["label"]], number[row["predicted"]])
                counts[cell] = counts.get(cell, 0) + 1
    if not counts:
        return None
    step = run.report.get("step")
    same = step == made.scores[best].step
    return {
        "run": best,
        "classes": run.classes,
        "cells": [[label, predicted, count] for (label, predicted), count in sorted(counts.items())],
        "note": "" if same else f"of the evaluation after step {step}, which eval.save_best chose",
    }
