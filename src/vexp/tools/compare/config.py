"""Options of ``vexp compare``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vexp.core.fields import ValidatedConfig, option


def _keys_rule(keys: Any) -> str | None:
    return (
        None if all(isinstance(key, str) for key in keys) else "must be a list of keys, such as [seed,data.split_seed]"
    )


@dataclass(kw_only=True, slots=True)
class Compare(ValidatedConfig):
    """Options of a comparison of runs."""

    metric: str = option("auto", "Metric that ranks the runs (auto: the metric of most runs' best checkpoints).")
    rule: str | None = option(
        None, "Which values are better (null: from the metric's name).", choices=("greater", "less")
    )
    at: str = option(
        "best", "Evaluation of a run that is compared: the best by the metric, or the last.", choices=("best", "last")
    )
    over: list[str] = option(
        ["seed"], "Keys that distinguish repetitions of a setting; mean and std are over them.", check=_keys_rule
    )
    keys: list[str] = option([], "Keys to show, with their effects (empty: all that vary).", check=_keys_rule)
    out: str | None = option(None, "Output folder (null: comparison/ in the folder of runs).")
    watch: bool = option(False, "Refresh the page while runs go on, until Ctrl-C.")
    every: float = option(5.0, "Time between two refreshes of --watch.", unit="seconds", gt=0)
    json: str | None = option(
        None, "File for the comparison as JSON (--json: standard output, and no page is written)."
    )
    sql: str | None = option(
        None,
        "File for all configs, metrics and results as an SQLite database (--sql: runs.sqlite in the output folder).",
    )
