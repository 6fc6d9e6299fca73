"""The configuration that a run saved, in its ``config.yaml`` or its checkpoints.

The file may come from somebody else, so its content is only data: it contributes values for the keys of ``Config``, no
settings of Hydra, no packages to import, no interpolations, and no place outside of the working folder to write to.
See docs/explanation/security.md.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from vexp.config.hydra_versions import store_config
from vexp.config.instantiate import escape_interpolations
from vexp.config.option_types import upgrade_saved
from vexp.config.overrides import group_options
from vexp.config.provenance import COMMAND_LINE, override_key
from vexp.config.schema import Config
from vexp.config.search_path import conf_dir
from vexp.core.documents import check_plain, check_schema, read_yaml
from vexp.core.errors import ConfigError
from vexp.core.files import leaves_folder

#: Keys that depend on the machine or on what the user trusts. A saved configuration never sets them.
_NOT_TAKEN = ("plugins", "data.cache_dir")


@dataclass(frozen=True, slots=True)
class SavedConfig:
    """The configuration of an earlier run: its values, and the file they came from."""

    values: dict[str, Any]
    path: Path


def read_saved_config(path: Path) -> SavedConfig:
    """Read a run's ``config.yaml``.

    Raises:
        UserError: If the file cannot be read or is no saved configuration.
    """
    try:
        return saved_config(read_yaml(path), path)
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file; is {path.parent} a run folder?") from None


def saved_config(values: Any, path: Path) -> SavedConfig:
    """Return the values of a file, without those of keys that a saved configuration never sets.

    Raises:
        UserError: If they are no saved configuration: not a mapping, or with keys that ``Config`` does not have.
    """
    place = f"{path}: the saved configuration"
    values = upgrade_saved(check_plain(check_schema(values, dict, place), place))
    unknown = values.keys() - {field.name for field in dataclasses.fields(Config)}
    if unknown:
        listed = ", ".join(sorted(map(str, unknown)))
        raise ConfigError(f"{path}: the saved configuration of a run has no key {listed}")
    for key in _NOT_TAKEN:
        group, _, name = key.rpartition(".")
        node = values.get(group) if group else values
        if isinstance(node, dict):
            node.pop(name, None)
    return SavedConfig(values, path)


def register_saved_config(
    saved: SavedConfig, overrides: Sequence[str], folders: Sequence[Path] | None = None
) -> list[str]:
    """Register a run's values with Hydra as ``saved_run``; return the overrides adapted to it.

    A group that an override chooses replaces the saved one.

    Raises:
        ConfigError: If an override chooses what a saved run has no place for.
    """
    values = dict(saved.values)
    adapted = []
    for override in overrides:
        key, equals, value = override.partition("=")
        group, at, _ = key.partition("@")
        if not (equals and group_options(group, folders)) or group.startswith("hydra/"):
            adapted.append(override)
        elif at or group == "experiment" or _chooses_options(group, value, folders):
            hint = "; start a new run with it"
            raise ConfigError("cannot be chosen for a saved run", key=key, value=value, origin=COMMAND_LINE, hint=hint)
        else:
            values.pop(group, None)
            adapted.append(f"+{override}")
    node = OmegaConf.create(escape_interpolations(values))
    store_config("saved_run", node)
    return adapted


def _chooses_options(group: str, option: str, folders: Sequence[Path] | None) -> bool:
    """Whether an option chooses those of other groups, for which a saved run has no place (model=hf: pipeline)."""
    files = (folder / group / f"{option}.yaml" for folder in folders or [conf_dir()])
    return any("- override /" in path.read_text(encoding="utf-8") for path in files if path.is_file())


def check_output_folders(config: Config, run: Path, overrides: Sequence[str]) -> None:
    """Check that a saved configuration does not choose a new place to write to outside of the working folder.

    A run may write where it has already written: to an ``out_root`` that it is in, and to a ``checkpoint.out_dir`` that
    has its checkpoints. What an override sets is the user's choice.

    Args:
        config: The configuration, composed from the saved one.
        run: The run folder that it was saved in.
        overrides: As typed.

    Raises:
        ConfigError: If it does.
    """
    out_dir = config.checkpoint.out_dir
    is_below_root = Path(config.out_root).expanduser().absolute() in run.resolve().parents
    folders = {
        "out_root": (config.out_root, is_below_root or config.resume == "auto"),  # resumed in its own folder
        "checkpoint.out_dir": (out_dir, out_dir is None or (Path(out_dir).expanduser() / run.name).is_dir()),
    }
    typed = {override_key(override) for override in overrides}
    for key, (folder, written_before) in folders.items():
        if key not in typed and not written_before and leaves_folder(str(folder)):
            raise ConfigError(
                "is outside of the working folder, and a saved configuration cannot choose such a place",
                key=key, value=folder, origin=str(run / "config.yaml"), hint=f"; give it as an override, {key}=FOLDER",
            )  # fmt: skip
