"""Default values of options, from their classes and YAML files, without composing a config."""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Any, get_type_hints

import yaml
from omegaconf import OmegaConf

from vexp.config.instantiate import to_dict
from vexp.config.options import options
from vexp.config.schema import Config
from vexp.config.search_path import conf_dir

_PREFIX = "/schema/"


@cache
def defaults_of(group: str, option: str = "") -> Any:
    """Return the values of ``GROUP=OPTION`` as dicts, lists and scalars, without those that must be given.

    Args:
        group: A group of the shipped ``conf/``, or a root key (``seed``), whose default is returned.
        option: Name of the option; empty for the one that ``train.yaml`` chooses.
    """
    fields = {field.name: field for field in dataclasses.fields(Config)}
    folder = conf_dir() / group
    if not group or not folder.is_dir():
        return _default(fields[group]) if group in fields else ...
    option = option or _chosen(group)
    path = folder / f"{option}.yaml"
    written = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}) if path.is_file() else {}
    schemas = [entry for entry in written.pop("defaults", []) if isinstance(entry, str) and entry.startswith(_PREFIX)]
    cls: type[Any] | None
    if schemas:
        cls = options()[group][schemas[0].partition("@")[0].rpartition("/")[2]]
    else:
        cls = get_type_hints(Config).get(group)  # none for an option that names its class by _target_
    defaults = {field.name: _default(field) for field in dataclasses.fields(cls)} if cls is not None else {}
    known = {name: value for name, value in defaults.items() if value is not ...}
    return OmegaConf.to_container(OmegaConf.merge(known, written))


@cache
def _chosen(group: str) -> str:
    entries = yaml.safe_load((conf_dir() / "train.yaml").read_text(encoding="utf-8"))["defaults"]
    return str(next((entry[group] for entry in entries if isinstance(entry, dict) and group in entry), ""))


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return to_dict(field.default_factory())
    return ... if field.default in (dataclasses.MISSING, "???") else to_dict(field.default)
