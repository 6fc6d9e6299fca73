"""A trained net by the name of its run: the checkpoint that is meant, and the config that it carries."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vexp import checkpoint
from vexp.config.compose import SavedConfig, compose
from vexp.config.schema import Config
from vexp.core.errors import ConfigError


def open_checkpoint(path: Path, words: Sequence[str]) -> tuple[Config, dict[str, Any]]:
    """(config, content) of a checkpoint of a run; ``words`` override the config that it was trained with.

    Raises:
        UserError: it cannot be read, or is no checkpoint of a run.
    """
    content = checkpoint.load(path)
    if not {"config", "model", "classes"} <= content.keys():
        raise ConfigError(
            f"{path}: is no checkpoint of a vexp run (it holds {', '.join(list(content)[:5])}); "
            "python -m vexp.cli.convert IN OUT model=... makes one of another program's weights"
        )
    return compose(words, saved=SavedConfig(content["config"], path)), content


def find_checkpoint(run: Path, wanted: str | None) -> Path:
    """The checkpoint file that is meant: a file itself; of a run folder the best, else the last.

    Raises:
        ConfigError: there is none.
    """
    if run.is_file():
        return run
    if not run.is_dir():
        raise ConfigError(f"run={run}: no such run folder or checkpoint")
    if wanted is not None and Path(wanted).expanduser().is_file():
        return Path(wanted).expanduser().absolute()
    folder = run / "checkpoints"
    names = [f"{wanted}.pth", wanted] if wanted is not None else ["best.pth", "last.pth"]
    if wanted is None and (folder / "best.json").is_file() and not (folder / "best.pth").is_file():
        raise ConfigError(
            f"run={run}: its best checkpoint, checkpoints/best.pth is gone; checkpoint=last takes the last"
        )
    for name in names:
        if (folder / name).is_file():
            return folder / name
    there = ", ".join(sorted(path.name for path in folder.glob("*.pth"))) or "none"
    raise ConfigError(f"run={run}: has no checkpoint {wanted or 'best.pth or last.pth'}; there: {there}")


def run_folder(path: Path) -> Path:
    """The run folder that holds a checkpoint; the checkpoint's own folder where there is none."""
    return path.parent.parent if path.parent.name == "checkpoints" else path.parent
