"""Compose a ``Config`` from overrides without a command line: for notebooks, tests and all commands but ``train``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from vexp.config.errors import to_config_error
from vexp.config.instantiate import instantiate
from vexp.config.option_types import upgrade_saved
from vexp.config.overrides import add_search_path, as_typed, config_search_dirs, group_options, normalize
from vexp.config.provenance import COMMAND_LINE, Provenance, composed_files
from vexp.config.schema import Config
from vexp.config.search_path import conf_dir, schema_on_search_path
from vexp.core.errors import ConfigError

#: Keys that ``to_config`` gives a value if none is written, and the source of that value.
FILLED_IN = {
    "run_name": "the name of the experiment, else of the data option",
    "epochs": "data.default_epochs",
    "sweep.name": "no sweep: a single run",
}


@dataclass(frozen=True, slots=True)
class SavedConfig:
    """The configuration of an earlier run: its values, and the file they came from."""

    values: dict[str, Any]
    path: Path


def compose(
    overrides: Sequence[str] = (), *, saved: SavedConfig | None = None, config_dirs: Sequence[str | Path] = ()
) -> Config:
    """Return the typed configuration that ``vexp train OVERRIDES`` would run with.

    Args:
        overrides: As on the command line, for example ``["lr=cosine", "epochs=3"]``.
        saved: Values of an earlier run to start from, instead of the shipped defaults.
        config_dirs: Folders with custom options.

    Raises:
        ConfigError: (a ValueError) If the configuration is invalid, with the message that the command line would print.
    """
    return _composed(overrides, saved, config_dirs, trace=False)[0]


def compose_with_provenance(
    overrides: Sequence[str] = (), *, saved: SavedConfig | None = None, config_dirs: Sequence[str | Path] = ()
) -> tuple[Config, Provenance]:
    """Compose as ``compose`` does; also return where every value was written, in the order of merging."""
    return _composed(overrides, saved, config_dirs, trace=True)


def _composed(
    overrides: Sequence[str], saved: SavedConfig | None, config_dirs: Sequence[str | Path], *, trace: bool
) -> tuple[Config, Provenance]:
    folders = config_search_dirs(overrides, config_dirs)
    normalized = normalize(overrides, folders)
    name = "train"
    if saved is not None:
        normalized, name = register_saved_config(saved, normalized, folders), "rerun"
    provenance = Provenance(overrides=as_typed(normalized), folders=folders, saved=saved.path if saved else None)
    normalized = add_search_path(normalized, config_dirs)
    try:
        with schema_on_search_path(), hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
            composed = hydra.compose(name, overrides=normalized, return_hydra_config=True)
            if trace and saved is None:
                loader = GlobalHydra.instance().config_loader()
                defaults = loader.compute_defaults_list(name, normalized, RunMode.RUN).defaults
                files = [(str(item.config_path), item.package or "") for item in defaults]
                provenance.files = composed_files(files, folders)
    except (HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
        config_error = to_config_error(error, provenance)
        if config_error is None:
            raise
        raise config_error from error
    with open_dict(composed):
        hydra_config = composed.pop("hydra")
    return to_config(composed, hydra_config.runtime.choices, provenance), provenance


def to_config(
    composed: DictConfig, choices: Mapping[Any, Any], provenance: Provenance, *, sweep: str | None = None
) -> Config:
    """Instantiate a composed config and fill in what depends on the chosen options: the run's name and its length.

    Args:
        composed: The config without Hydra's own node.
        choices: Group -> chosen option; recorded in ``provenance``.
        provenance: Where the values were written.
        sweep: Name of the sweep that the run is a job of.

    Raises:
        ConfigError: If the configuration is invalid.
    """
    provenance.choices = {str(group): option for group, option in choices.items()}
    config = instantiate(composed, provenance)
    if config.run_name is None:
        config.run_name = provenance.choices.get("experiment") or provenance.choices.get("data") or "run"
    if config.epochs is None and config.max_steps is None:
        config.epochs = config.data.default_epochs
    config.sweep.name = sweep
    return config


def register_saved_config(
    saved: SavedConfig, overrides: Sequence[str], folders: Sequence[Path] | None = None
) -> list[str]:
    """Register a run's values with Hydra as ``saved_run``; return the overrides adapted to it.

    A group that an override chooses replaces the saved one. The saved ``plugins`` are dropped: what may be imported is
    decided on the command line or in the user's own folders, never by a file that came with a run.

    Raises:
        ConfigError: If an override chooses what a saved run has no place for.
    """
    values = upgrade_saved(saved.values) | {"plugins": []}
    adapted = []
    for override in overrides:
        key, equals, value = override.partition("=")
        group, at, _ = key.partition("@")
        if not (equals and group_options(group, folders)) or group.startswith("hydra/"):
            adapted.append(override)
        elif at or group == "experiment":
            raise ConfigError(
                "cannot be chosen for a saved run", key=key, value=value, origin=COMMAND_LINE,
                hint="; start a new run with it",
            )  # fmt: skip
        else:
            values.pop(group, None)
            adapted.append(f"+{override}")
    ConfigStore.instance().store(name="saved_run", node=OmegaConf.create(values), provider="vexp")
    return adapted


def read_saved_config(path: Path) -> SavedConfig:
    """Read a run's ``config.yaml``.

    Raises:
        ConfigError: If the file cannot be read or is no saved configuration.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); is {path.parent} a run folder?") from None
    except yaml.YAMLError as error:
        raise to_config_error(error, Provenance()) or ConfigError(f"{path}: not valid YAML") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: is not the saved configuration of a run")
    return SavedConfig(values, path)
