"""Read run folders, whatever state the runs are in."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vexp.core.documents import read_json, read_yaml
from vexp.core.errors import UserError
from vexp.experiment.result import read_result
from vexp.tools.compare.config_blocks import flatten, read_config
from vexp.tools.compare.metrics_file import MetricsFile, Series, signature

__all__ = ["DONE", "NothingYetError", "Run", "RunReader", "find_runs", "flatten", "printable", "read_run", "read_runs"]

DONE = "done"

#: What is read of a run folder besides metrics.jsonl; eval/predictions.csv is read for the best run only.
_FILES = ("config.yaml", "overrides.yaml", "result.json", "env.json", "checkpoints/best.json",
          "eval/report.json", "eval/per_class.csv", "eval/predictions.csv", "eval/boxes.csv",
          "eval/proposals.json")  # fmt: skip


class NothingYetError(UserError):
    """There is nothing to compare, which may change while runs are started."""


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
    revision: int = 0  # is increased when the folder is read again and has changed
    notes: list[str] = field(default_factory=list)


def find_runs(places: Sequence[Path]) -> list[Path]:
    """Return the sorted run folders among and below ``places``.

    A run folder contains a config.yaml, or the result.json of a job that failed at its start. Hidden folders and
    folders inside a run folder are skipped.

    Raises:
        UserError: If a place is not a folder.
        NothingYetError: If there is no run folder.
    """
    folders: dict[Path, None] = {}
    for place in places:
        if not place.is_dir():
            raise UserError(f"{place}: no such folder; specify run folders, or a folder that contains them")
        folders |= dict.fromkeys(sorted(_below(place.resolve())))
    if not folders:
        raise NothingYetError(f"{', '.join(map(str, places))}: contains no run folder (a folder with config.yaml)")
    return list(folders)


def _below(place: Path) -> Iterator[Path]:
    for folder, inner, files in os.walk(place):
        if {"config.yaml", "result.json"} & set(files):
            yield Path(folder)
            inner.clear()
        inner[:] = [name for name in inner if not name.startswith(".")]


def read_runs(folders: Sequence[Path], readers: dict[Path, RunReader] | None = None) -> tuple[list[Run], list[str]]:
    """Return the runs, and the errors of those that cannot be read.

    The ``readers`` of folders are used and added; with those of the last call, only what has changed is read.
    """
    runs, faults, readers = [], [], {} if readers is None else readers
    parent = Path(os.path.commonpath([folder.parent for folder in folders]))
    for folder in folders:
        if not (folder / "config.yaml").exists():
            why = _error_line(_result(folder, [])) or "it has no config.yaml"
            faults.append(f"{printable(folder)}: left out, because it failed at its start: {why}")
            continue
        try:
            reader = readers.setdefault(folder, RunReader(folder))
            runs.append(reader.read(printable(folder.relative_to(parent))))
        except (UserError, FileNotFoundError) as error:
            message = " ".join(str(error).split())
            faults.append(f"{printable(folder)}: left out, because its config.yaml cannot be read: {message}")
    return runs, faults


def printable(path: Path) -> str:
    """Return a path as text, with question marks for bytes that are not UTF-8."""
    return str(path).encode("utf-8", "replace").decode("utf-8")


def read_run(folder: Path, name: str) -> Run:
    """Read a run folder of any version of vexp; only its config.yaml must be intact.

    Raises:
        UserError, FileNotFoundError: If config.yaml cannot be read.
    """
    return RunReader(folder).read(name)


class RunReader:
    """Reads a run folder again and again: the appended lines of metrics.jsonl, and other files if any has changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._metrics = MetricsFile(folder / "metrics.jsonl")
        self._signatures: dict[str, Any] = {}
        self._run: Run | None = None
        self._revision = 0

    def read(self, name: str) -> Run:
        """Return the run as it is now, with ``name``; its notes may be added to.

        Raises:
            UserError, FileNotFoundError: If config.yaml cannot be read.
        """
        signatures = {file: signature(self.folder / file) for file in _FILES}
        has_grown = self._metrics.read()
        if self._run is None or has_grown or signatures != self._signatures:
            known, self._run = self._run, None
            if known is None or signatures["config.yaml"] != self._signatures["config.yaml"]:
                config = read_config(self.folder / "config.yaml")
            else:
                config = known.config
            self._revision += 1
            self._run = self._read(config)
            self._signatures = signatures
        return replace(self._run, name=name, notes=[*self._run.notes])

    def _read(self, config: dict[str, str]) -> Run:
        run = Run(self.folder, "", config, _overrides(self.folder / "overrides.yaml"), revision=self._revision)
        run.series, run.steps_per_epoch = dict(self._metrics.series), self._metrics.steps_per_epoch
        if damaged := self._metrics.damaged:
            run.notes.append(f"metrics.jsonl: line {', '.join(map(str, damaged))} is damaged and left out")
        _read_result(run)
        run.report = _read(self.folder / "eval" / "report.json", {str: object}, run.notes)
        with (
            suppress(OSError, UnicodeDecodeError, csv.Error),
            (self.folder / "eval" / "per_class.csv").open(encoding="utf-8", newline="") as file,
        ):
            run.classes = [row[0] for row in csv.reader(file) if row][1:]
        packages = _read(self.folder / "env.json", {"packages?": {str: object}}, run.notes).get("packages") or {}
        run.version = packages.get("vexp")
        return run


def _read_result(run: Run) -> None:
    result = _result(run.folder, run.notes)
    run.status, step = str(result.get("status", "unfinished")), result.get("step")
    last_step = max((int(series.steps[-1]) for series in run.series.values()), default=0)
    if not result:
        run.why = f"no result.json: the run is still running or was killed after step {last_step}"
    elif step is not None and last_step > step:
        run.status = "unfinished"
        run.why = f"result.json is from step {step}, but the run continued to step {last_step}"
    elif run.status != DONE:
        run.why = _error_line(result) or f"{run.status} after step {last_step}"
    best = result.get("best") or _read(run.folder / "checkpoints" / "best.json", {"metric": str}, run.notes)
    seconds = result.get("seconds")
    run.best_metric = best.get("metric")
    run.seconds = seconds if seconds is not None and math.isfinite(seconds) else None


def _result(folder: Path, notes: list[str]) -> dict[str, Any]:
    try:
        return read_result(folder) or {}
    except UserError as error:
        notes.append(str(error))
        return {}


def _error_line(result: dict[str, Any]) -> str:
    return (str(result.get("error") or "").splitlines() or [""])[0]


def _overrides(path: Path) -> dict[str, str]:
    """Return the overridden keys and values; a removed node (``~pipeline.train.flip``) has the value "removed"."""
    overrides: dict[str, str] = {}
    content: list[str] = []
    with suppress(UserError, FileNotFoundError):
        content = read_yaml(path, [str])
    for override in content:
        key, _, value = override.partition("=")
        overrides[key.lstrip("+~").rpartition("@")[2]] = "removed" if key.startswith("~") else value
    return overrides


def _read(path: Path, schema: Any, notes: list[str]) -> dict[str, Any]:
    """Return the content of a JSON file; empty if there is none, or if it is damaged, which is noted."""
    try:
        content: dict[str, Any] = read_json(path, schema)
    except FileNotFoundError:
        return {}
    except UserError as error:
        notes.append(str(error))
        return {}
    return content
