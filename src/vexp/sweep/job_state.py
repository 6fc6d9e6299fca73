"""A job of a sweep: its folder, its state from earlier invocations, and its objective."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vexp.config.diff import diff_configs
from vexp.config.instantiate import to_dict
from vexp.config.schema import Config
from vexp.core.documents import read_yaml
from vexp.core.errors import UserError
from vexp.experiment.result import read_result
from vexp.experiment.run_dir import checkpoint_folder, is_locked

logger = logging.getLogger(__name__)

NEW, INCOMPLETE, DONE, FAILED, CHANGED, RUNNING = "new", "incomplete", "done", "failed", "changed", "running"
INTERRUPTED = "interrupted"  # by a signal, with a checkpoint; as incomplete as a job that was killed
#: Keys that define where a job runs and how it resumes, not what it computes.
_NON_RESULT_KEYS = ("resume", "out_root", "run_name", "sweep", "plugins")


@dataclass(slots=True)
class Job:
    """A job of a sweep."""

    overrides: list[str]
    label: str  # the swept overrides, as typed
    folder: Path  # the run folder
    config: Config
    state: str = NEW  # what ``refresh`` found in the folder
    ran: bool = False  # whether this invocation launched the job
    differences: list[str] = field(default_factory=list)  # for CHANGED: the keys that differ from the saved config

    @property
    def is_pending(self) -> bool:
        """Whether this invocation runs the job: it is new, to resume, to retry, or to run from the beginning."""
        rerun = self.state == CHANGED and self.config.sweep.changed == "rerun"
        return rerun or self.state in (NEW, INCOMPLETE, FAILED)

    def refresh(self) -> None:
        """Update ``state``, and for CHANGED ``differences``, from the folder."""
        self.differences = []
        if not (self.folder / "config.yaml").is_file():
            self.state = NEW
        elif is_locked(self.folder):
            self.state = RUNNING
        else:
            status = self.result().get("status")
            self.state = status if status in (DONE, FAILED) else INCOMPLETE
            # A job that failed before its first checkpoint has no results that other settings would mix with.
            has_results = status == DONE or any(checkpoint_folder(self.config, self.folder).glob("*.pth"))
            if self.config.sweep.changed != "keep" and has_results:
                current = to_dict(self.config, types=True)
                self.differences = diff_configs(_saved(self.folder), current, leave_out=_NON_RESULT_KEYS)
                self.state = CHANGED if self.differences else self.state

    def result(self) -> dict[str, Any]:
        """Read ``result.json``; empty if no run has ended."""
        try:
            return read_result(self.folder) or {}
        except UserError as error:
            logger.warning("%s: the job counts as unfinished", error)
            return {}

    def objective(self) -> float:
        """Return the stored value by which the sweep ranks its jobs; NaN if there is none."""
        return Objective.of(self.config).value(self.result())

    def archive(self) -> None:
        """Move the folder to ``.replaced`` in the sweep's folder, so that the job starts from the beginning."""
        archive = self.folder.parent / ".replaced"
        archive.mkdir(exist_ok=True)
        number = next(n for n in range(1, 10_000) if not (archive / f"{self.folder.name}.{n}").exists())
        self.folder.rename(archive / f"{self.folder.name}.{number}")
        self.state = NEW


@dataclass(frozen=True, slots=True)
class Objective:
    """The metric by which jobs are ranked, without ``val/``, and its direction."""

    metric: str
    greater: bool

    @classmethod
    def of(cls, config: Config) -> Objective:
        """Take ``sweep.objective``, else the metric of ``eval.save_best``, else the loss."""
        name = config.sweep.objective
        metric = name.removeprefix("val/") if name is not None else config.eval.best_metric(config.data.task) or "loss"
        return cls(metric, config.eval.greater_is_better(metric, config.data.task))

    @property
    def name(self) -> str:
        return f"val/{self.metric}"

    def value(self, result: dict[str, Any]) -> float:
        """Return the best score of the run if it was kept, else its last one; NaN if there is none."""
        best, metrics = result.get("best") or {}, result.get("metrics") or {}
        score = best.get("score") if best.get("metric") == self.metric else metrics.get(self.name)
        return math.nan if score is None else float(score)


def _saved(folder: Path) -> dict[str, Any]:
    try:
        saved: dict[str, Any] = read_yaml(folder / "config.yaml", {str: object})
    except (UserError, FileNotFoundError):
        return {}
    return saved
