"""From words to a ``Config``, without the command line: for notebooks, tests and every door but ``train``."""

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
from vexp.config.instantiate import load
from vexp.config.overrides import as_typed, config_search_dirs, group_options, normalize, search_path_override
from vexp.config.provenance import Provenance, composed_files
from vexp.config.schema import Config
from vexp.config.search_path import conf_dir
from vexp.core.errors import ConfigError

#: Keys that ``typed`` gives a value where none is written, and where it comes from.
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
    """The typed configuration that ``python -m vexp.train OVERRIDES`` would run with.

    Args:
        overrides: words of the command line, ``lr=cosine`` among them.
        saved: an earlier run's values to start from, instead of the shipped defaults.
        config_dirs: folders with options of one's own.

    Raises:
        ConfigError: (a ValueError) the message that the command line would print.
    """
    return _composed(overrides, saved, config_dirs, trace=False)[0]


def compose_with_provenance(
    overrides: Sequence[str] = (), *, saved: SavedConfig | None = None
) -> tuple[Config, Provenance]:
    """``compose``, and where every value was written, in the order in which the files were merged."""
    return _composed(overrides, saved, (), trace=True)


def _composed(
    overrides: Sequence[str], saved: SavedConfig | None, config_dirs: Sequence[str | Path], *, trace: bool
) -> tuple[Config, Provenance]:
    words = normalize(overrides)
    if config_dirs:
        words.append("hydra.searchpath=[" + ",".join(f"'file://{Path(d).absolute()}'" for d in config_dirs) + "]")
    words += search_path_override(words)
    name = "train"
    if saved is not None:
        words, name = register_saved_config(saved, words), "rerun"
    origins = Provenance(
        words=as_typed(words), folders=config_search_dirs((), words), saved=saved.path if saved else None
    )
    try:
        with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
            composed = hydra.compose(name, overrides=words, return_hydra_config=True)
            if trace and saved is None:
                merged = GlobalHydra.instance().config_loader().compute_defaults_list(name, words, RunMode.RUN).defaults
                named = [(str(item.config_path), item.package or "") for item in merged]
                origins.files = composed_files(named, origins.folders)
    except (HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
        text = to_config_error(error, origins)
        if text is None:
            raise
        raise ConfigError(text) from error
    with open_dict(composed):
        settings = composed.pop("hydra")
    return to_config(composed, settings.runtime.choices, origins), origins


def to_config(
    composed: DictConfig, choices: Mapping[Any, Any], origins: Provenance, *, sweep: str | None = None
) -> Config:
    """``load``, plus what only the command and the chosen options tell: the run's name, its length, its sweep."""
    origins.choices = {str(group): option for group, option in choices.items()}
    config = load(composed, origins)
    if config.run_name is None:
        config.run_name = origins.choices.get("experiment") or origins.choices.get("data") or "run"
    if config.epochs is None and config.max_steps is None:
        config.epochs = config.data.default_epochs
    config.sweep.name = sweep
    return config


def register_saved_config(saved: SavedConfig, words: Sequence[str]) -> list[str]:
    """Give a run's values to Hydra as ``saved_run``; the overrides that go with it.

    A group that the words choose anew replaces the saved one. The saved ``plugins`` do not count: what may be imported
    is said on the command line or in the user's own folders, never by a file that came with a run.
    """
    values = saved.values | {"plugins": []}
    adapted = []
    for word in words:
        key, equals, _ = word.partition("=")
        group, at, _ = key.partition("@")
        if not (equals and group_options(group)) or group.startswith("hydra/"):
            adapted.append(word)
        elif at or group == "experiment":
            raise ConfigError(f"{word}: cannot be chosen for a saved run (command line); start a new run with it")
        else:
            values.pop(group, None)
            adapted.append(f"+{word}")
    ConfigStore.instance().store(name="saved_run", node=OmegaConf.create(values), provider="vexp")
    return adapted


def read_saved_config(path: Path) -> SavedConfig:
    """A run's ``config.yaml``."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); is {path.parent} a run folder?") from None
    except yaml.YAMLError as error:
        raise ConfigError(to_config_error(error, Provenance()) or f"{path}: not valid YAML") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: is no saved configuration of a run")
    return SavedConfig(values, path)
