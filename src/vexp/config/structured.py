"""The classes of the schema as OmegaConf nodes, under the names that YAML files ask for."""

from __future__ import annotations

import copy
import dataclasses
import functools
from typing import Any, get_type_hints

from omegaconf import DictConfig, OmegaConf

from vexp.config.schema import OPEN_GROUPS, Config, options
from vexp.config.sweep import SearchOptions


@functools.cache
def classes() -> dict[str, type[Any]]:
    """``schema`` is the root, ``schema/GROUP/OPTION`` an option."""
    found = {f"schema/{group}/{name}": cls for group, named in options().items() for name, cls in named.items()}
    return {"schema": _root(), "schema/hydra/sweeper/optuna": SearchOptions, **found}


def node(name: str) -> DictConfig:
    """A node of one's own of the class called ``name``."""
    return copy.deepcopy(_node(name))


@functools.cache
def _node(name: str) -> DictConfig:
    made: DictConfig = OmegaConf.structured(classes()[name])
    return made


def _root() -> type[Any]:
    """``Config`` as OmegaConf sees it: any class may stand in an open group, ours or the user's own.

    What the chosen class allows is still checked, key by key, because its own schema comes with the option.
    """
    hints = get_type_hints(Config)
    fields = [
        (f.name, Any if f.name in OPEN_GROUPS else hints[f.name], _same_default(f)) for f in dataclasses.fields(Config)
    ]
    return dataclasses.make_dataclass("Config", fields, kw_only=True)


def _same_default(field: dataclasses.Field[Any]) -> Any:
    return dataclasses.field(default=field.default, default_factory=field.default_factory)
