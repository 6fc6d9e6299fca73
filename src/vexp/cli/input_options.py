"""The options that predict and features share, and how their text files are written."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from vexp.core.errors import ConfigError
from vexp.core.fields import ValidatedConfig, option
from vexp.core.files import atomic_write


@dataclass(kw_only=True, slots=True)
class InputOptions(ValidatedConfig):
    """The trained model, the videos, and how they are split into windows."""

    run: Path = option(doc="A run folder or a checkpoint.")
    input: Path = option(doc="A video or a folder of videos.")
    checkpoint: str | None = option(None, "best, last or a file; null: the best, else the last.")
    split: str = option("val", "Split whose pipeline is used; test usually has more views.", choices=("val", "test"))
    window: float | None = option(None, "Length of a window; null: whole videos.", unit="seconds", gt=0, lt=math.inf)
    stride: float | None = option(
        None, "Distance between the starts of windows; null: the window's length.", unit="seconds", gt=0, lt=math.inf
    )
    out: Path | None = option(None, "Folder of the results; null: a folder with the command's name in the run folder.")

    def __post_init__(self) -> None:
        ValidatedConfig.__post_init__(self)
        if self.stride is not None and self.window is None:
            raise ConfigError(
                "is the distance between windows", key="stride", value=self.stride, hint="; give window=SECONDS, too"
            )


def write_result(path: Path, text: str) -> None:
    """Write a text file with names of videos, which need not be valid UTF-8."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape")
