"""index.html: the comparison as one page that needs neither a server nor network access.

The styles, scripts and data (as JSON) are inserted into assets/page.html. charts.js draws the charts, because a
plotting library would be larger than the data of fifty runs.
"""

from __future__ import annotations

import csv
import json
import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from vexp.tools.compare.columns import NON_RESULT_KEYS, below
from vexp.tools.compare.comparison import Comparison, RunGroup
from vexp.tools.compare.conclusion import conclusion
from vexp.tools.compare.curves import COLORS, COLORS_ON_DARK, band, curve_names, thin
from vexp.tools.compare.metrics_file import Series
from vexp.tools.compare.runs import Run
from vexp.tools.compare.tables import explanation, status_counts

_PARTS = ("page.css", "parts.js", "charts.js", "tables.js", "runs.js", "page.js", "live.js")
_POINTS = 240_000  # of all curves together, about 2 MB
_MAX_POINTS, _MIN_POINTS = 600, 24  # of one curve
_LIVE_SOURCES = "'self' file:"  # the two scripts of --watch beside the page


def page(comparison: Comparison, folder: Path, *, videos: Mapping[str, Any] | None = None) -> str:
    """Return the page of ``folder``; the arguments are those of ``content``."""
    return render(content(comparison, folder, videos=videos))


def render(data: dict[str, Any]) -> str:
    """Return the page with its ``content``."""
    assets = files(__package__) / "assets"
    text = (assets / "page.html").read_text(encoding="utf-8")
    for name in _PARTS:
        text = text.replace(f"/* {name} */", (assets / name).read_text(encoding="utf-8"))
    if data["live"] is not None:
        text = text.replace("script-src 'unsafe-inline'", f"script-src 'unsafe-inline' {_LIVE_SOURCES}")
    return text.replace("/* data */", as_json(data))


def as_json(value: Any) -> str:
    """Encode as JSON that is safe in a script element: it can neither end the element nor start a comment."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def content(
    comparison: Comparison,
    folder: Path,
    *,
    videos: Mapping[str, Any] | None = None,
    live: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the data of the page.

    Args:
        comparison: The comparison.
        folder: Folder of the page, to which its links to run folders are relative.
        videos: Videos of the best run (``vexp.tools.compare.thumbnails``).
        live: With --watch, which refresh this is (``vexp.tools.compare.watch``).
    """
    metrics, over = comparison.metrics, comparison.options.over
    return {
        "title": status_counts(comparison),
        "conclusion": conclusion(comparison),
        "explanation": explanation(comparison),
        "notes": comparison.notes,
        "colors": {"light": COLORS, "dark": COLORS_ON_DARK},
        "metrics": [{"name": m, "greater": comparison.greater[m], "best": sorted(comparison.best[m])} for m in metrics],
        "columns": [
            {"key": column.key, "over": column.key in over, "usual": comparison.usual[column.key]}
            for column in comparison.shown
        ],
        "crowded": comparison.crowded,
        "runs": _runs(comparison, folder),
        "settings": _settings(comparison),
        "effects": [_effects(comparison, metric) for metric in metrics],
        "noise": [comparison.noise[metric] for metric in metrics],
        "config": _configs(comparison.runs),
        "curves": _curves(comparison),
        "confusion": _confusion(comparison),
        "videos": videos,
        "live": live,
    }


def _runs(comparison: Comparison, folder: Path) -> list[dict[str, Any]]:
    setting_of = {i: number for number, setting in enumerate(comparison.settings) for i in setting.runs}
    names = ("name", "status", "why", "notes", "seconds", "steps_per_epoch")
    return [
        {name: getattr(run, name) for name in names}
        | {"flags": comparison.flags[i], "step": score.step, "setting": setting_of[i]}
        | {
            "href": quote(os.fsencode(Path(os.path.relpath(run.folder, folder)).as_posix())) + "/",
            "values": [column.values[i] for column in comparison.shown],
            "scores": [score.values.get(metric) for metric in comparison.metrics],
            "absent": [score.absent.get(metric) for metric in comparison.metrics],
        }
        for i, (run, score) in enumerate(zip(comparison.runs, comparison.scores, strict=True))
    ]


def _settings(comparison: Comparison) -> list[dict[str, Any]]:
    settings = []
    for setting in comparison.settings:
        stats = [asdict(setting.stats[m]) if m in setting.stats else None for m in comparison.metrics]
        shown = {"values": list(comparison.shown_of(setting).values()), "stats": stats}
        settings.append(asdict(setting) | {"name": comparison.name_of(setting)} | shown)
    return settings


def _effects(comparison: Comparison, metric: str) -> list[dict[str, Any]]:
    names = ("spread", "crossed", "scattered", "statement")
    return [asdict(e) | {name: getattr(e, name) for name in names} for e in comparison.effects[metric]]


def _configs(runs: Sequence[Run]) -> dict[str, Any]:
    """Return the common values, and for the varying keys the distinct values and each run's indices into them.

    ``aside`` holds the varying keys that do not affect results; they are shown only among all keys.
    """
    keys = list(dict.fromkeys(key for run in runs for key in run.config))
    varying = [key for key in keys if len({run.config.get(key) for run in runs}) > 1]
    common = {key: runs[0].config[key] for key in keys if key not in set(varying)}
    indices: dict[str | None, int] = {None: 0}
    rows = [[indices.setdefault(run.config.get(key), len(indices)) for key in varying] for run in runs]
    aside = [key for key in varying if below(key, NON_RESULT_KEYS)]
    return {"common": common, "varying": varying, "aside": aside, "values": list(indices), "rows": rows}


def _curves(comparison: Comparison) -> dict[str, Any]:
    """Return the curves as JSON texts, which the page parses when it draws them: ``steps``, and ``parts`` by name.

    A part holds for each run ``[index in steps, values]`` or null, and for each setting of several runs ``[index in
    steps, mean, lowest, highest, standard deviation, number of runs]`` or null.
    """
    names = curve_names(comparison)
    limit = min(_MAX_POINTS, max(_MIN_POINTS, _POINTS // max(1, len(comparison.runs) * len(names))))
    steps: dict[tuple[int, ...], int] = {}

    def index(values: NDArray[np.int64]) -> int:
        return steps.setdefault(tuple(values.tolist()), len(steps))

    def of_run(series: Series | None) -> list[Any] | None:
        if series is None:
            return None
        points = thin(series, limit)
        return [index(points.steps), _rounded(points.values)]

    def of_setting(setting: RunGroup, name: str) -> list[Any] | None:
        runs = [series for i in setting.runs if (series := comparison.runs[i].series.get(name)) is not None]
        if len(runs) < 2:
            return None
        found = band(runs, limit)
        return [
            index(found.steps),
            *map(_rounded, (found.mean, found.low, found.high, found.std)),
            found.count.tolist(),
        ]

    parts = [
        as_json(
            {
                "runs": [of_run(run.series.get(name)) for run in comparison.runs],
                "settings": [of_setting(setting, name) for setting in comparison.settings],
            }
        )
        for name in names
    ]
    thinned = any(len(series.steps) > limit for run in comparison.runs for series in run.series.values())
    listed = as_json([list(key) for key in steps])
    return {"names": names, "steps": listed, "parts": parts, "limit": limit if thinned else None}


def _rounded(values: NDArray[np.float64]) -> list[float | None]:
    """Return five significant digits, which are more than a screen can show, and None for values without any."""
    return [float(f"{value:.5g}") if math.isfinite(value) else None for value in values.tolist()]


def _confusion(comparison: Comparison) -> dict[str, Any] | None:
    """Return the nonzero cells [label, predicted, count] of the best run's confusion matrix."""
    best = next((i for i in sorted(comparison.best[comparison.metric]) if comparison.runs[i].classes), None)
    if best is None:
        return None
    run, step = comparison.runs[best], comparison.runs[best].report.get("step")
    index = {name: position for position, name in enumerate(run.classes)}
    counts: Counter[tuple[int, int]] = Counter()
    with (
        suppress(OSError, UnicodeDecodeError, csv.Error, KeyError),
        (run.folder / "eval" / "predictions.csv").open(encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        for row in csv.DictReader(file):
            if row["label"] in index and row["predicted"] in index:  # one label, and scored
                counts[index[row["label"]], index[row["predicted"]]] += 1
    if not counts:
        return None
    cells = [[*cell, count] for cell, count in sorted(counts.items())]
    is_other_step = step != comparison.scores[best].step
    note = f"from the evaluation after step {step} (eval.save_best)" if is_other_step else ""
    return {"run": best, "classes": run.classes, "cells": cells, "note": note}
