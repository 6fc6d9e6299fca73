"""Folders of YAML configs: the shipped ``conf/`` and the user's own."""

from __future__ import annotations

import os
from pathlib import Path

#: Names folders with custom config groups, separated as in PATH.
ENVIRONMENT_VARIABLE = "VEXP_CONFIG_PATH"


def conf_dir() -> Path:
    """Return the shipped folder: ``conf/`` of a checkout, ``vexp/conf`` of an installed wheel."""
    package = Path(__file__).resolve().parents[1]
    for candidate in (package / "conf", package.parents[1] / "conf"):
        if (candidate / "train.yaml").is_file():
            return candidate
    raise FileNotFoundError(f"no conf/train.yaml beside {package}: the installation is incomplete, install vexp again")


def environment_dirs() -> list[Path]:
    """Return the folders that the environment variable names."""
    return [
        Path(part).expanduser().absolute()
        for part in os.environ.get(ENVIRONMENT_VARIABLE, "").split(os.pathsep)
        if part
    ]
