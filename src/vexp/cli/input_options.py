"""The words that predict and features share: whose weights, which videos, how they are cut, where results go."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vexp.config.errors import near
from vexp.config.overrides import parse_command_options
from vexp.core.errors import ConfigError

_SPLITS = ("val", "test")


@dataclass(frozen=True, slots=True)
class InputOptions:
    """``window``, ``stride``: seconds; None: whole videos, windows end to end."""

    run: Path
    input: Path
    checkpoint: str | None
    split: str
    window: float | None
    stride: float | None
    out: Path | None


def input_options(door: str, words: Sequence[str]) -> tuple[InputOptions, list[str]]:
    """The options of a door, and the words that override the run's config.

    Raises:
        ConfigError: one that is missing or cannot be.
    """
    own, rest = parse_command_options(
        words, dict.fromkeys(("run", "input", "checkpoint", "window", "stride", "out")) | {"split": "val"}
    )
    for key, what in (("run", "a run folder or a checkpoint"), ("input", "a video or a folder of videos")):
        if own[key] is None:
            raise ConfigError(f"{key}: name {what}, python -m vexp.{door} run=RUN input=VIDEO")
    split = own["split"] or "val"
    if split not in _SPLITS:
        raise ConfigError(f"split={split}: must be one of {', '.join(_SPLITS)} (command line){near(split, _SPLITS)}")
    window, stride = _seconds("window", own["window"]), _seconds("stride", own["stride"])
    if stride is not None and window is None:
        raise ConfigError("stride: says how far apart windows are, give window=SECONDS with it (command line)")
    return InputOptions(
        run=_path(str(own["run"])), input=_path(str(own["input"])), checkpoint=own["checkpoint"], split=split,
        window=window, stride=stride, out=_path(own["out"]) if own["out"] else None,
    ), rest  # fmt: skip


def _seconds(key: str, text: str | None) -> float | None:
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise ConfigError(f"{key}={text}: must be a number of seconds > 0 (command line)")
    return value


def _path(text: str) -> Path:
    return Path(text).expanduser().absolute()
