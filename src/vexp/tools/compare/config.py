"""What ``python -m vexp.cli.compare`` takes beside the folders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vexp.core.fields import ValidatedConfig, option


def _keys_rule(value: Any) -> str | None:
    return None if all(isinstance(key, str) for key in value) else "must be keys, as in [seed,data.split_seed]"


@dataclass(kw_only=True, slots=True)
class Compare(ValidatedConfig):
    """How runs are compared."""

    metric: str = option("auto", "val/top1_acc, train/loss ...; auto: what most runs kept their best checkpoint by")
    rule: str | None = option(None, "which value is better; null: by the metric's name", choices=("greater", "less"))
    at: str = option(
        "best", "the evaluation of a run that counts: the best by the metric, or the last", choices=("best", "last")
    )
    over: list[str] = option(
        ["seed"], "keys whose values repeat one setting: mean and std are over them", check=_keys_rule
    )
    keys: list[str] = option(
        [], "keys that are shown, and whose effects are worked out; empty: all that differ", check=_keys_rule
    )
    out: str | None = option(None, "folder of the files; null: comparison/ below the one folder that is named")
