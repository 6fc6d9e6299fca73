"""One cell of a sweep: its folder, what an earlier invocation left there, and what is still to be done."""

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

NEW, INCOMPLETE, DONE, FAILED, CHANGED, RUNNING = "new", "half-done", "done", "failed", "changed", "running"
INTERRUPTED = "interrupted"  # with a checkpoint, by a signal: as half-done as one that was killed
#: Settings that say where a job runs and how it goes on, not what it computes.
_NOT_OF_THE_RESULT = ("resume", "out_root", "run_name", "sweep", "plugins")


@dataclass(slots=True)
class Job:
    """A job of a sweep. ``words``: its overrides; ``label``: those that are swept; ``ran``: it was launched now."""

    words: list[str]
    label: str
    folder: Path
    config: Config
    state: str = NEW
    ran: bool = False
    differences: list[str] = field(default_factory=list)

    def look(self) -> None:
        """Read from the folder what there is to be done: ``state``, and with CHANGED the ``differences``."""
        self.differences = []
        self.state = self._state()
        if self.state in (DONE, INCOMPLETE, FAILED) and self.config.sweep.changed != "keep" and self._counts():
            now = to_dict(self.config, types=True)
            self.differences = diff_configs(_saved(self.folder), now, leave_out=_NOT_OF_THE_RESULT)
            if self.differences:
                self.state = CHANGED

    def _state(self) -> str:
        if not (self.folder / "config.yaml").is_file():
            return NEW
        if is_locked(self.folder):
            return RUNNING
        status = self.result().get("status")
        return status if status in (DONE, FAILED) else INCOMPLETE

    def _counts(self) -> bool:
        """Whether anything is there that other settings have made: a job that failed at once may simply be mended."""
        done = self.result().get("status") == DONE
        return done or any(checkpoint_folder(self.config, self.folder).glob("*.pth"))

    def result(self) -> dict[str, Any]:
        """``result.json``; empty where no run has come to an end."""
        try:
            return dict(json.loads((self.folder / "result.json").read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return {}

    def objective(self) -> float:
        """The stored value of what the sweep ranks by; NaN without one."""
        return Objective.of(self.config).value(self.result())

    def archive(self) -> None:
        """Move the folder away, to ``.replaced`` in the sweep's folder: the job begins anew."""
        place = self.folder.parent / ".replaced"
        place.mkdir(exist_ok=True)
        number = next(n for n in range(1, 10_000) if not (place / f"{self.folder.name}.{n}").exists())
        self.folder.rename(place / f"{self.folder.name}.{number}")
        self.state = NEW


@dataclass(frozen=True, slots=True)
class Objective:
    """What jobs are ranked by. ``metric``: a result of the evaluation, without ``val/``."""

    metric: str
    greater: bool

    @classmethod
    def of(cls, config: Config) -> Objective:
        """``sweep.objective``, else the metric of ``eval.save_best``, else the loss."""
        named = config.sweep.objective
        metric = named.removeprefix("val/") if named is not None else config.eval.best_metric() or "loss"
        return cls(metric, config.eval.greater_is_better(metric))

    @property
    def name(self) -> str:
        return f"val/{self.metric}"

    def value(self, result: dict[str, Any]) -> float:
        """The best score of the run where that was kept, else its last; NaN without one."""
        best = result.get("best", {})
        found = best.get("score") if best.get("metric") == self.metric else result.get("metrics", {}).get(self.name)
        return math.nan if found is None else float(found)


def _saved(folder: Path) -> dict[str, Any]:
    try:
        saved = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):
        saved = None
    return saved if isinstance(saved, dict) else {}
