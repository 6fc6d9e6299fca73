"""Run folders as they are found, whatever state a run is in."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from vexp.core.errors import UserError, format_value
from vexp.tracking.backends import INDEX_FIELDS, Record, read_records

DONE = "done"
_NO_RESULT = "no result.json: it is still running, or was killed"
Config = dict[str, Any]
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast where PyYAML has libyaml


@dataclass(frozen=True, slots=True)
class Series:
    """One value over a run: ``steps`` int64 (n,) completed optimizer steps, ``values`` float64 (n,)."""

    steps: NDArray[np.int64]
    values: NDArray[np.float64]


@dataclass(slots=True)
class Run:
    """One run folder.

    ``config``: dotted key -> value as the command line writes it; ``words``: the overrides that were typed, the same
    way; ``status``: done, interrupted, failed or unfinished, and ``why`` where it is not done; ``series``:
    ``val/top1_acc`` ... over the steps; ``report``: eval/report.json; ``classes``: the names of its classes;
    ``steps_per_epoch``: None where no record tells; ``notes``: what else is to be known.
    """

    folder: Path
    name: str
    config: dict[str, str]
    words: dict[str, str] = field(default_factory=dict)
    status: str = DONE
    why: str = ""
    series: dict[str, Series] = field(default_factory=dict)
    report: dict[str, Any] = field(default_factory=dict)
    classes: list[str] = field(default_factory=list)
    best_metric: str | None = None
    steps_per_epoch: float | None = None
    seconds: float | None = None
    version: str | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def last_step(self) -> int:
        return max((int(series.steps[-1]) for series in self.series.values()), default=0)


def find_runs(places: Sequence[Path]) -> list[Path]:
    """The run folders among and below ``places``, each once, by name. A run folder holds a config.yaml, or at least the
    result.json of a job that failed at once; what lies below one (a logger's copies) and hidden folders (Hydra's) are
    not looked at.

    Raises:
        UserError: a place is no folder, or none holds a run.
    """
    found: dict[Path, None] = {}
    for place in places:
        if not place.is_dir():
            raise UserError(f"{place}: no such folder; name run folders, or a folder that holds them")
        found |= dict.fromkeys(sorted(_below(place.resolve())))
    if not found:
        raise UserError(f"{', '.join(map(str, places))}: no run folder there (one holds a config.yaml)")
    return list(found)


def _below(place: Path) -> Iterator[Path]:
    for folder, inner, files in os.walk(place):
        if {"config.yaml", "result.json"} & set(files):
            yield Path(folder)
            inner.clear()
        inner[:] = [name for name in inner if not name.startswith(".")]


def read_runs(
    folders: Sequence[Path], adapted: Callable[[Config], Config] = lambda config: config
) -> tuple[list[Run], list[str]]:
    """(the runs, why others could not be read). ``adapted`` rewrites configs that earlier versions have saved."""
    runs, faults = [], []
    parent = Path(os.path.commonpath([folder.parent for folder in folders]))
    for folder in folders:
        if not (folder / "config.yaml").exists():
            why = str(_json(folder / "result.json").get("error", "it has no config.yaml")).splitlines()[0]
            faults.append(f"{printable(folder)}: left out, it failed before it began: {why}")
            continue
        try:
            runs.append(read_run(folder, printable(folder.relative_to(parent)), adapted))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            faults.append(
                f"{printable(folder)}: left out, its config.yaml cannot be read: {' '.join(str(error).split())}"
            )
    return runs, faults


def printable(path: Path) -> str:
    """A name that is not UTF-8 with question marks in it."""
    return str(path).encode("utf-8", "replace").decode("utf-8")


def read_run(folder: Path, name: str, adapted: Callable[[Config], Config] = lambda config: config) -> Run:
    """One run folder; only its config.yaml has to be whole.

    Raises:
        OSError, UnicodeDecodeError, YAMLError: config.yaml cannot be read.
    """
    config = yaml.load((folder / "config.yaml").read_text(encoding="utf-8"), _Loader)
    if not isinstance(config, dict):
        raise yaml.YAMLError("it holds no mapping")
    run = Run(folder=folder, name=name, config=flatten(adapted(config)), words=_words(folder / "overrides.yaml"))
    damaged: list[int] = []
    records = [
        r
        for r in read_records(folder / "metrics.jsonl", damaged)
        if isinstance(r, dict) and r.keys() >= {*INDEX_FIELDS}
    ]
    if damaged:
        run.notes.append(f"metrics.jsonl: line {', '.join(map(str, damaged))} cannot be read (torn) and is left out")
    run.series = _series(records)
    run.steps_per_epoch = _steps_per_epoch(records)
    _read_result(run)
    run.report = _json(folder / "eval" / "report.json")
    run.classes = _classes(folder / "eval" / "per_class.csv")
    run.version = (_json(folder / "env.json").get("packages") or {}).get("vexp")
    return run


def _read_result(run: Run) -> None:
    result = _json(run.folder / "result.json")
    run.status = str(result.get("status", "unfinished"))
    step = result.get("step")
    if not result:
        run.why = f"{_NO_RESULT} after step {run.last_step}"
    elif isinstance(step, int) and run.last_step > step:
        run.status, run.why = "unfinished", f"result.json is of step {step}, but it went on to step {run.last_step}"
    elif run.status != DONE:
        run.why = str(result.get("error") or f"{run.status} after step {run.last_step}").splitlines()[0]
    best = result.get("best") or _json(run.folder / "checkpoints" / "best.json")
    run.best_metric = best.get("metric")
    run.seconds = result.get("seconds")


def flatten(config: dict[str, Any], path: str = "") -> dict[str, str]:
    """Dotted keys and their values in the words of the command line; lists are values."""
    flat: dict[str, str] = {}
    for key, value in config.items():
        where = f"{path}.{key}" if path else str(key)
        if isinstance(value, dict) and value:
            flat |= flatten(value, where)
        else:
            flat[where] = "{}" if value == {} else format_value(value)
    return flat


def _words(path: Path) -> dict[str, str]:
    """Typed key -> value; a removed node (``~pipeline.train.flip``) has the value "removed"."""
    words: Any = None
    with suppress(OSError, UnicodeDecodeError, yaml.YAMLError):
        words = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    typed = {}
    for word in words if isinstance(words, list) else []:
        key, _, value = str(word).partition("=")
        typed[key.lstrip("+~").rpartition("@")[2]] = "removed" if key.startswith("~") else value
    return typed


def _series(records: list[Record]) -> dict[str, Series]:
    """Timings and the rates of parameter groups, which have a "/" in their names, are left out."""
    points: dict[str, list[tuple[int, float]]] = {}
    for record in records:
        for name, value in record.items():
            if name not in INDEX_FIELDS and "/" not in name and isinstance(value, int | float):
                points.setdefault(f"{record['mode']}/{name}", []).append((record["step"], value))
    made = {}
    for name, pairs in points.items():
        steps, values = zip(*pairs, strict=True)
        made[name] = Series(np.array(steps, np.int64), np.array(values, np.float64))
    return made


def _steps_per_epoch(records: list[Record]) -> float | None:
    """From the latest evaluation: most come at the end of an epoch."""
    ends = (r["step"] / r["epoch"] for r in reversed(records) if r["mode"] == "val" and r["epoch"])
    last = max((r["step"] / r["epoch"] for r in records if r["epoch"]), default=None)
    return next(ends, last)


def _classes(path: Path) -> list[str]:
    with suppress(OSError, UnicodeDecodeError, csv.Error), path.open(encoding="utf-8", newline="") as file:
        return [row[0] for row in csv.reader(file) if row][1:]
    return []


def _json(path: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        content = json.loads(path.read_text(encoding="utf-8"))
        return content if isinstance(content, dict) else {}
    return {}
