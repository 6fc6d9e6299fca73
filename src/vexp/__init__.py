"""vexp: experiments in video understanding whose every number can be trusted, explained and repeated."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vexp import train as train
    from vexp.config.schema import Config

__version__ = "0.1.0"


def compose(overrides: Sequence[str] = (), *, config_dirs: Sequence[str | Path] = ()) -> Config:
    """Return the typed config of ``vexp train OVERRIDES``: ``vexp.compose(["optimizer=sgd", "lr=step"])``.

    Args:
        overrides: Overrides as on the command line.
        config_dirs: Folders with custom options.

    Raises:
        ConfigError: A ValueError with the message of the command line.
    """
    from vexp.config.compose import compose as compose_config  # imports Hydra

    return compose_config(overrides, config_dirs=config_dirs)


def __getattr__(name: str) -> Any:
    """Import ``vexp.train`` on first use, so that ``import vexp`` stays fast."""
    if name == "train":
        return import_module("vexp.train")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
