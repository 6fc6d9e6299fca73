"""The checkpoint of a run and the config saved in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vexp import checkpoint
from vexp.config.compose import compose
from vexp.config.saved import saved_config
from vexp.config.schema import Config
from vexp.core.documents import check_schema
from vexp.core.errors import ConfigError
from vexp.model.weights.safetensors_file import is_safetensors, read_safetensors


def open_checkpoint(
    path: Path, overrides: Sequence[str], config_dirs: Sequence[Path] = ()
) -> tuple[Config, dict[str, Any]]:
    """Return (config, content) of a checkpoint; ``overrides`` change the config that it was trained with.

    It is a file of a run, or one that ``vexp convert`` or ``vexp export format=safetensors`` wrote.

    Raises:
        UserError: If it cannot be read, or is not a checkpoint of a run.
    """
    content = read_safetensors(path) if is_safetensors(path) else checkpoint.load(path)
    if not {"config", "model", "classes"} <= content.keys():
        raise ConfigError(
            f"{path}: not a checkpoint of a vexp run (it contains {', '.join(list(content)[:5])}); "
            "vexp convert IN OUT model=... converts the weights of another program"
        )
    check_schema(content, {"model": {str: object}, "classes": [str], "step?": int, "epoch?": int, "ema?": dict}, path)
    return compose(overrides, saved=saved_config(content["config"], path), config_dirs=config_dirs), content


def find_checkpoint(run: Path, name: str | None) -> Path:
    """Return a checkpoint file: ``run`` itself if it is a file, else the one called ``name`` in the run folder.

    Without ``name`` it is the best checkpoint, or the last one if none is the best.

    Raises:
        ConfigError: If it does not exist.
    """
    if run.is_file():
        return run
    if not run.is_dir():
        raise ConfigError("no such run folder or checkpoint", key="run", value=run)
    if name is not None and Path(name).expanduser().is_file():
        return Path(name).expanduser().absolute()
    folder = run / "checkpoints"
    file_names = [f"{name}.pth", name] if name is not None else ["best.pth", "last.pth"]
    if name is None and (folder / "best.json").is_file() and not (folder / "best.pth").is_file():
        rule = "its best checkpoint, checkpoints/best.pth, is missing; checkpoint=last uses the last one"
        raise ConfigError(rule, key="run", value=run)
    if (found := next((folder / file for file in file_names if (folder / file).is_file()), None)) is not None:
        return found
    available = ", ".join(sorted(path.name for path in folder.glob("*.pth"))) or "none"
    rule = f"has no checkpoint {name or 'best.pth or last.pth'}; available: {available}"
    raise ConfigError(rule, key="run", value=run)


def run_folder(path: Path) -> Path:
    """Return the run folder of a checkpoint; the checkpoint's own folder if it is not in one."""
    return path.parent.parent if path.parent.name == "checkpoints" else path.parent
