"""Compose a ``Config`` from overrides without a command line: for notebooks, tests and all commands but ``train``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict

from vexp.config.errors import to_config_error
from vexp.config.hydra_versions import version_base
from vexp.config.instantiate import instantiate
from vexp.config.overrides import add_search_path, as_typed, config_search_dirs, normalize
from vexp.config.provenance import Provenance, composed_files
from vexp.config.saved import SavedConfig, register_saved_config
from vexp.config.schema import Config
from vexp.config.search_path import conf_dir, schema_on_search_path
from vexp.core.errors import UserError

#: Keys that ``to_config`` gives a value if none is written, and the source of that value.
FILLED_IN = {
    "run_name": "the name of the experiment, else of the data option",
    "epochs": "data.default_epochs",
    "sweep.name": "no sweep: a single run",
}


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
    provenance = Provenance(overrides=as_typed(normalized), folders=folders, saved=saved.path if saved else None)
    name = "train"
    if saved is not None:
        normalized, name = register_saved_config(saved, normalized, folders), "rerun"
    composed = compose_nodes(name, add_search_path(normalized, config_dirs), provenance, trace=trace and saved is None)
    with open_dict(composed):
        hydra_config = composed.pop("hydra")
    return to_config(composed, hydra_config.runtime.choices, provenance), provenance


def compose_nodes(name: str, overrides: Sequence[str], provenance: Provenance, *, trace: bool = False) -> DictConfig:
    """Compose the nodes of a config, with Hydra's own under ``hydra``.

    Args:
        name: ``train``, or ``rerun`` for the values of an earlier run.
        overrides: In Hydra's form.
        provenance: Where the values are written, for errors.
        trace: Whether to record the composed files in ``provenance``.

    Raises:
        ConfigError: If they cannot be composed.
    """
    try:
        with schema_on_search_path(), hydra.initialize_config_dir(str(conf_dir()), "train", **version_base()):
            composed = hydra.compose(name, overrides=list(overrides), return_hydra_config=True)
            if trace:
                loader = GlobalHydra.instance().config_loader()
                defaults = loader.compute_defaults_list(name, list(overrides), RunMode.RUN).defaults
                files = [(str(item.config_path), item.package or "") for item in defaults]
                provenance.files = composed_files(files, provenance.folders)
            return composed
    except UserError:
        raise
    except Exception as error:  # Hydra raises ValueError, TypeError and others for what it cannot compose
        config_error = to_config_error(error, provenance)
        if config_error is None:
            raise
        raise config_error from error


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
