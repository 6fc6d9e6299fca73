"""What the commands that use a trained model share: their options, opening the model and its inputs, CSV tables."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from vexp.cli.arguments import Arguments
from vexp.config.schema import Config
from vexp.core.errors import ConfigError, UserError
from vexp.core.fields import ValidatedConfig, option
from vexp.core.files import atomic_write, ensure_writable_dir
from vexp.data.storage import prefix_rule
from vexp.inference.checkpoint import find_checkpoint, open_checkpoint, run_folder
from vexp.runtime.threads import set_passive_omp_wait

if TYPE_CHECKING:
    from vexp.data.sources.unlabeled import VideoWindow
    from vexp.inference.predictor import Predictor

CHECKPOINT = "best, last or a file; null: the best, else the last."


@dataclass(kw_only=True, slots=True)
class InputOptions(ValidatedConfig):
    """The trained model, the videos, and how they are split into windows."""

    run: Path = option(doc="A run folder or a checkpoint.")
    input: str = option(
        doc="A video or a folder of videos, also in an archive (clips.zip/train) or on a server (https://...).",
        check=prefix_rule,
    )
    checkpoint: str | None = option(None, CHECKPOINT)
    split: str = option("val", "Split whose pipeline is used; test usually has more views.", choices=("val", "test"))
    window: float | None = option(None, "Length of a window; null: whole videos.", unit="seconds", ge=0.01, lt=math.inf)
    stride: float | None = option(
        None, "Distance between the starts of windows; null: the window's length.", unit="seconds", ge=0.01, lt=math.inf
    )
    out: Path | None = option(None, "Folder of the results; null: a folder with the command's name in the run folder.")

    def __post_init__(self) -> None:
        ValidatedConfig.__post_init__(self)
        if self.stride is not None and self.window is None:
            hint = "; give window=SECONDS, too"
            raise ConfigError("is the distance between windows", key="stride", value=self.stride, hint=hint)


def open_run(run: Path, checkpoint: str | None, arguments: Arguments[Any]) -> tuple[Path, Config, dict[str, Any]]:
    """Return (path, config, content) of the checkpoint of a run; overrides change the config.

    Raises:
        UserError: If there is no such checkpoint, which takes no time, or it cannot be read.
    """
    path = find_checkpoint(run, checkpoint)
    set_passive_omp_wait()
    return path, *open_checkpoint(path, arguments.rest, arguments.config_dirs)


def open_inputs(
    options: InputOptions, path: Path, config: Config, content: dict[str, Any], command: str, *, compiled: bool = True
) -> tuple[Predictor, list[VideoWindow], list[tuple[str, str]], Path]:
    """Return the model, the windows of the videos, (name, error) of unreadable files, and the folder of the results.

    ``path``, ``config`` and ``content`` are those of the checkpoint (``open_run``).
    """
    if config.data.content == "features":
        raise UserError(f"{path}: is a model of features, and vexp {command} reads videos")
    if config.data.content == "joints":
        raise UserError(
            f"{path}: is a model of skeletons, and vexp {command} reads videos; evaluate it on a list of "
            "skeletons: vexp evaluate run=RUN data.val.ann_file=FILE"
        )
    from vexp.inference.predictor import list_clips, load_predictor

    windows, unreadable = list_clips(options.input, window=options.window, stride=options.stride)
    folder = options.out or run_folder(path) / command
    ensure_writable_dir(folder, "set out=FOLDER")
    config.backend.compile &= compiled
    return load_predictor(config, path, content), windows, unreadable, folder


def top_classes(scores: Any, classes: Sequence[str], topk: int) -> list[dict[str, Any]]:
    """Return the ``topk`` classes with the highest scores, best first; of equal scores the lower index comes first."""
    import numpy as np

    best = np.argsort(-scores, kind="stable")[:topk]
    return [{"class": classes[i], "score": float(scores[i])} for i in best]


def write_csv(path: Path, rows: Iterable[Sequence[Any]]) -> None:
    """Write a table with names of videos, which need not be valid UTF-8."""
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    write_result(path, text.getvalue())


def write_result(path: Path, text: str) -> None:
    """Write a text with names of videos, which need not be valid UTF-8."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape")


def plain_console() -> Console:
    """Return a console that prints text unchanged: without markup, emoji names and line breaks of its own."""
    return Console(soft_wrap=True, highlight=False, markup=False, emoji=False)
