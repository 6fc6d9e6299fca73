"""Hands the classes of the schema to Hydra, under the names that YAML files ask for."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, get_type_hints

from hydra.core.config_store import ConfigStore

from vexp.config.schema import OPEN_GROUPS, Config, options
from vexp.config.search import SearchOptions


@functools.cache
def root_schema() -> type[Any]:
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


@functools.cache
def register() -> None:
    """Store the root as ``schema`` and every option as ``schema/GROUP/OPTION``."""
    store = ConfigStore.instance()
    store.store(name="schema", node=root_schema(), provider="vexp")
    for group, classes in options().items():
        for name, cls in classes.items():
            store.store(group=f"schema/{group}", name=name, node=cls, provider="vexp")
    store.store(group="schema/hydra/sweeper", name="optuna", node=SearchOptions, provider="vexp")
