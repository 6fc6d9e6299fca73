"""The classes of the schema as OmegaConf nodes, under the names that YAML files refer to."""

from __future__ import annotations

import copy
import dataclasses
import functools
from typing import Any, get_type_hints

from omegaconf import DictConfig, OmegaConf

from vexp.config.schema import OPEN_GROUPS, Config, options
from vexp.config.sweep import RayOptions, SearchOptions


@functools.cache
def classes() -> dict[str, type[Any]]:
    """Return the classes by name: ``schema`` is the root, ``schema/GROUP/OPTION`` an option."""
    of_options = {f"schema/{group}/{name}": cls for group, names in options().items() for name, cls in names.items()}
    return {
        "schema": _root(),
        "schema/hydra/launcher/ray": RayOptions,
        "schema/hydra/sweeper/optuna": SearchOptions,
        **of_options,
    }


def node(name: str) -> DictConfig:
    """Return a new node of the class called ``name``."""
    return copy.deepcopy(_node(name))


@functools.cache
def _node(name: str) -> DictConfig:
    structured: DictConfig = OmegaConf.structured(classes()[name])
    return structured


def _root() -> type[Any]:
    """Return ``Config`` with fields of type Any for the open groups, whose options are built-in or custom classes.

    OmegaConf still checks every key of the chosen option, whose own schema comes with it.
    """
    hints = get_type_hints(Config)
    fields = [
        (f.name, Any if f.name in OPEN_GROUPS else hints[f.name], _same_default(f)) for f in dataclasses.fields(Config)
    ]
    return dataclasses.make_dataclass("Config", fields, kw_only=True)


def _same_default(field: dataclasses.Field[Any]) -> Any:
    return dataclasses.field(default=field.default, default_factory=field.default_factory)
