"""vexp: run a video-recognition experiment whose every number can be trusted, explained and repeated."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vexp.config.schema import Config

__version__ = "0.1.0"


def compose(overrides: Sequence[str] = (), *, config_dirs: Sequence[str | Path] = ()) -> Config:
    """The typed configuration of ``python -m vexp.train OVERRIDES``: ``vexp.compose(["optimizer=sgd", "lr=step"])``.

    Args:
        overrides: words of the command line.
        config_dirs: folders with options of one's own.

    Raises:
        ValueError: the message that the command line would print.
    """
    from vexp.config.compose import compose as composed  # Hydra is imported by those who compose

    return composed(overrides, config_dirs=config_dirs)
