"""The classes of the schema as OmegaConf nodes, under the names that YAML files refer to."""

from __future__ import annotations

import copy
import dataclasses
import functools
from typing import Any, get_type_hints

from omegaconf import DictConfig, OmegaConf

from vexp.config.options import OPEN_GROUPS, options
from vexp.config.schema import Config
from vexp.config.sweep import RayOptions, SearchOptions

_OF_HYDRA: dict[str, type[Any]] = {
    "schema/hydra/launcher/ray": RayOptions,
    "schema/hydra/sweeper/optuna": SearchOptions,
}


@functools.cache
def names() -> tuple[str, ...]:
    """Return the names of the classes: ``schema`` is the root, ``schema/GROUP/OPTION`` an option."""
    return ("schema", *_OF_HYDRA, *(f"schema/{group}/{name}" for group in options() for name in options()[group]))


def node(name: str) -> DictConfig:
    """Return a new node of the class called ``name``."""
    return copy.deepcopy(_node(name))


@functools.cache
def _node(name: str) -> DictConfig:
    structured: DictConfig = OmegaConf.structured(_class(name))
    return structured


def _class(name: str) -> type[Any]:
    if name == "schema":
        return _root()
    if name in _OF_HYDRA:
        return _OF_HYDRA[name]
    _, group, option = name.split("/")
    return options()[group][option]


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
