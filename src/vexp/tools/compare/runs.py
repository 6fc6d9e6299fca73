"""Read run folders, whatever state the runs are in."""

from __future__ import annotations

import csv
import json
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from vexp.config.option_types import upgrade_saved
from vexp.core.errors import UserError, format_value
from vexp.tracking.backends import INDEX_FIELDS, Record, read_records

DONE = "done"
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # with libyaml, loading is ten times faster


@dataclass(frozen=True, slots=True)
class Series:
    """Values of a metric, float64 (n,), after ``steps`` optimizer steps, int64 (n,)."""

    steps: NDArray[np.int64]
    values: NDArray[np.float64]


@dataclass(slots=True)
class Run:
    """One run folder; ``config`` and ``overrides`` map dotted keys to values, formatted as on the command line."""

    folder: Path
    name: str  # in tables
    config: dict[str, str]
    overrides: dict[str, str] = field(default_factory=dict)
    status: str = DONE  # or "interrupted", "failed", "unfinished"
    why: str = ""  # reason, if the status is not "done"
    series: dict[str, Series] = field(default_factory=dict)  # metrics over steps by name, such as "val/top1_acc"
    report: dict[str, Any] = field(default_factory=dict)  # content of eval/report.json
    classes: list[str] = field(default_factory=list)
    best_metric: str | None = None  # of the best checkpoint
    steps_per_epoch: float | None = None
    seconds: float | None = None
    version: str | None = None  # of vexp
    notes: list[str] = field(default_factory=list)


def find_runs(places: Sequence[Path]) -> list[Path]:
    """Return the sorted run folders among and below ``places``.

    A run folder contains a config.yaml, or the result.json of a job that failed at its start. Hidden folders and
    folders inside a run folder are skipped.

    Raises:
        UserError: If a place is not a folder, or there is no run folder.
    """
    folders: dict[Path, None] = {}
    for place in places:
        if not place.is_dir():
            raise UserError(f"{place}: no such folder; specify run folders, or a folder that contains them")
        folders |= dict.fromkeys(sorted(_below(place.resolve())))
    if not folders:
        raise UserError(f"{', '.join(map(str, places))}: contains no run folder (a folder with config.yaml)")
    return list(folders)


def _below(place: Path) -> Iterator[Path]:
    for folder, inner, files in os.walk(place):
        if {"config.yaml", "result.json"} & set(files):
            yield Path(folder)
            inner.clear()
        inner[:] = [name for name in inner if not name.startswith(".")]


def read_runs(folders: Sequence[Path]) -> tuple[list[Run], list[str]]:
    """Return the runs, and the errors of those that cannot be read."""
    runs, faults = [], []
    parent = Path(os.path.commonpath([folder.parent for folder in folders]))
    for folder in folders:
        if not (folder / "config.yaml").exists():
            why = str(_json(folder / "result.json").get("error", "it has no config.yaml")).splitlines()[0]
            faults.append(f"{printable(folder)}: left out, because it failed at its start: {why}")
            continue
        try:
            runs.append(read_run(folder, printable(folder.relative_to(parent))))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            message = " ".join(str(error).split())
            faults.append(f"{printable(folder)}: left out, because its config.yaml cannot be read: {message}")
    return runs, faults


def printable(path: Path) -> str:
    """Return a path as text, with question marks for bytes that are not UTF-8."""
    return str(path).encode("utf-8", "replace").decode("utf-8")


def read_run(folder: Path, name: str) -> Run:
    """Read a run folder of any version of vexp; only its config.yaml must be intact.

    Raises:
        OSError, UnicodeDecodeError, YAMLError: If config.yaml cannot be read.
    """
    config = yaml.load((folder / "config.yaml").read_text(encoding="utf-8"), _Loader)
    if not isinstance(config, dict):
        raise yaml.YAMLError("it is not a mapping")
    run = Run(folder, name, flatten(upgrade_saved(config)), _overrides(folder / "overrides.yaml"))
    damaged: list[int] = []
    records = read_records(folder / "metrics.jsonl", damaged)
    records = [record for record in records if isinstance(record, dict) and record.keys() >= {*INDEX_FIELDS}]
    if damaged:
        run.notes.append(f"metrics.jsonl: line {', '.join(map(str, damaged))} is incomplete and left out")
    run.series = _series(records)
    ratios = [(record["mode"], record["step"] / record["epoch"]) for record in records if record["epoch"]]
    ends = [ratio for mode, ratio in ratios if mode == "val"]  # evaluations, usually at the end of an epoch
    run.steps_per_epoch = ends[-1] if ends else max((ratio for _, ratio in ratios), default=None)
    _read_result(run)
    run.report = _json(folder / "eval" / "report.json")
    with (
        suppress(OSError, UnicodeDecodeError, csv.Error),
        (folder / "eval" / "per_class.csv").open(encoding="utf-8", newline="") as file,
    ):
        run.classes = [row[0] for row in csv.reader(file) if row][1:]
    run.version = (_json(folder / "env.json").get("packages") or {}).get("vexp")
    return run


def _read_result(run: Run) -> None:
    result = _json(run.folder / "result.json")
    run.status, step = str(result.get("status", "unfinished")), result.get("step")
    last_step = max((int(series.steps[-1]) for series in run.series.values()), default=0)
    if not result:
        run.why = f"no result.json: the run is still running or was killed after step {last_step}"
    elif isinstance(step, int) and last_step > step:
        run.status = "unfinished"
        run.why = f"result.json is from step {step}, but the run continued to step {last_step}"
    elif run.status != DONE:
        run.why = str(result.get("error") or f"{run.status} after step {last_step}").splitlines()[0]
    best = result.get("best") or _json(run.folder / "checkpoints" / "best.json")
    run.best_metric, run.seconds = best.get("metric"), result.get("seconds")


def flatten(config: dict[str, Any], path: str = "") -> dict[str, str]:
    """Flatten to dotted keys with values formatted as on the command line; lists are values."""
    flat: dict[str, str] = {}
    for key, value in config.items():
        where = f"{path}.{key}" if path else str(key)
        if isinstance(value, dict) and value:
            flat |= flatten(value, where)
        else:
            flat[where] = "{}" if value == {} else format_value(value)
    return flat


def _overrides(path: Path) -> dict[str, str]:
    """Return the overridden keys and values; a removed node (``~pipeline.train.flip``) has the value "removed"."""
    content: Any = None
    with suppress(OSError, UnicodeDecodeError, yaml.YAMLError):
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    overrides = {}
    for override in content if isinstance(content, list) else []:
        key, _, value = str(override).partition("=")
        overrides[key.lstrip("+~").rpartition("@")[2]] = "removed" if key.startswith("~") else value
    return overrides


def _series(records: list[Record]) -> dict[str, Series]:
    """Return the metrics without timings and rates of parameter groups, whose names contain a slash."""
    points: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for record in records:
        for name, value in record.items():
            if name not in INDEX_FIELDS and "/" not in name and isinstance(value, int | float):
                points[f"{record['mode']}/{name}"].append((record["step"], value))
    return {
        name: Series(
            np.array([step for step, _ in pairs], np.int64), np.array([value for _, value in pairs], np.float64)
        )
        for name, pairs in points.items()
    }


def _json(path: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        content = json.loads(path.read_text(encoding="utf-8"))
        return content if isinstance(content, dict) else {}
    return {}
