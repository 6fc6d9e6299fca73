"""A job of a sweep: its folder, its state from earlier invocations, and its objective."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from vexp.config.diff import diff_configs
from vexp.config.instantiate import to_dict
from vexp.config.schema import Config
from vexp.experiment.run_dir import checkpoint_folder, is_locked

NEW, INCOMPLETE, DONE, FAILED, CHANGED, RUNNING = "new", "incomplete", "done", "failed", "changed", "running"
INTERRUPTED = "interrupted"  # by a signal, with a checkpoint; as incomplete as a job that was killed
#: Keys that define where a job runs and how it resumes, not what it computes.
_NON_RESULT_KEYS = ("resume", "out_root", "run_name", "sweep", "plugins")


@dataclass(slots=True)
class Job:
    """A job of a sweep.

    Attributes:
        overrides: All overrides of the job.
        label: The swept overrides, as typed.
        folder: The job's run folder.
        config: The composed config.
        state: What ``refresh`` found in the folder.
        ran: Whether this invocation launched the job.
        differences: For CHANGED, the keys whose values differ from the saved config.
    """

    overrides: list[str]
    label: str
    folder: Path
    config: Config
    state: str = NEW
    ran: bool = False
    differences: list[str] = field(default_factory=list)

    def refresh(self) -> None:
        """Update ``state``, and for CHANGED ``differences``, from the folder."""
        self.differences = []
        self.state = self._state()
        if self.state in (DONE, INCOMPLETE, FAILED) and self.config.sweep.changed != "keep" and self._has_results():
            current = to_dict(self.config, types=True)
            self.differences = diff_configs(_saved(self.folder), current, leave_out=_NON_RESULT_KEYS)
            if self.differences:
                self.state = CHANGED

    def _state(self) -> str:
        if not (self.folder / "config.yaml").is_file():
            return NEW
        if is_locked(self.folder):
            return RUNNING
        status = self.result().get("status")
        return status if status in (DONE, FAILED) else INCOMPLETE

    def _has_results(self) -> bool:
        """Whether the folder has results of its settings; a job that failed before its first checkpoint has none."""
        done = self.result().get("status") == DONE
        return done or any(checkpoint_folder(self.config, self.folder).glob("*.pth"))

    def result(self) -> dict[str, Any]:
        """Read ``result.json``; empty if no run has ended."""
        try:
            return dict(json.loads((self.folder / "result.json").read_text(encoding="utf-8")))
        except (OSError, ValueError):
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
        metric = name.removeprefix("val/") if name is not None else config.eval.best_metric() or "loss"
        return cls(metric, config.eval.greater_is_better(metric))

    @property
    def name(self) -> str:
        return f"val/{self.metric}"

    def value(self, result: dict[str, Any]) -> float:
        """Return the best score of the run if it was kept, else its last one; NaN if there is none."""
        best = result.get("best", {})
        score = best.get("score") if best.get("metric") == self.metric else result.get("metrics", {}).get(self.name)
        return math.nan if score is None else float(score)


def _saved(folder: Path) -> dict[str, Any]:
    try:
        saved = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):
        saved = None
    return saved if isinstance(saved, dict) else {}
