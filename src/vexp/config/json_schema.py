"""The JSON schema of the config: what an editor and a validator know of each group, option and key.

``conf/config.schema.json`` is this schema, written by ``scripts/docs/write_reference.py`` and shipped with the wheel.
A YAML file that begins with ``SCHEMA_LINE`` is completed, explained and checked by editors with a YAML language server
(VS Code, PyCharm, Neovim ...). It covers ``config.yaml`` of a run and experiments, where each group may be partial.

Interpolations (``${...}``) and ``???`` are texts that every key accepts; rules across keys are left to vexp.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Any, Union, cast, get_args, get_origin

from vexp.config.instantiate import to_dict
from vexp.config.keys import Key, summary
from vexp.config.option_types import TARGET, TYPE
from vexp.config.options import OPEN_GROUPS, options
from vexp.config.schema import Config
from vexp.config.search_path import conf_dir

Schema = dict[str, Any]

FILE_NAME = "config.schema.json"
_LATER = r"^\?\?\?$|\$\{"  # a value that is given elsewhere
_TYPES: Mapping[Any, str] = {int: "integer", float: "number", bool: "boolean"}
_BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}


def schema_line() -> str:
    """Return the first line of a YAML file that vexp writes: where editors find the schema."""
    return f"# yaml-language-server: $schema={(conf_dir() / FILE_NAME).as_uri()}\n"


def config_schema() -> Schema:
    """Return the schema, as draft 7 of JSON Schema."""
    definitions: dict[str, Schema] = {}
    root = _of_class(Config, definitions, path="")
    root["properties"] |= {
        "defaults": {"type": "array", "description": "Options that Hydra composes: '- override /GROUP: OPTION'."},
        "hydra": {"type": "object", "description": "Settings of Hydra."},
    }
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Config of vexp",
        **root,
        "type": "object",
        "definitions": dict(sorted(definitions.items())),
    }


def _of_class(cls: type[Any], definitions: dict[str, Schema], *, path: str | None = None) -> Schema:
    """Return the schema of a dataclass.

    ``path`` is its dotted path if it is part of the root. The keys of other classes, which options share, are
    definitions of their own.
    """
    properties: dict[str, Schema] = {}
    for field in dataclasses.fields(cls):
        full = None if path is None else f"{path}.{field.name}".lstrip(".")
        key = Key(full or field.name, cls, field)
        if path is not None:
            properties[field.name] = _of_key(key, definitions, full)
            continue
        name = f"{key.declared_in.__name__}.{field.name}"
        if name not in definitions:
            definitions[name] = _of_key(key, definitions, None)
        properties[field.name] = {"$ref": f"#/definitions/{name}"}
    return _or_later({"type": "object", "properties": properties, "additionalProperties": False})


def _of_key(key: Key, definitions: dict[str, Schema], path: str | None) -> Schema:
    described: Schema = {"description": key.doc + (f" Unit: {key.unit}." if key.unit != "none" else "")}
    if path in OPEN_GROUPS:
        return described | _of_group(str(path), definitions)
    if path is not None and path.startswith("pipeline.") and key.hint == dict[str, Any]:
        return described | _or_later({"type": "object", "additionalProperties": _of_group("transform", definitions)})
    if dataclasses.is_dataclass(key.hint):
        return described | _of_class(cast(type[Any], key.hint), definitions, path=path)
    default = {} if key.required or not _is_json(plain := to_dict(key.default)) else {"default": plain}
    return described | default | _of_value(key.hint, key.field.metadata, definitions)


def _of_value(hint: Any, rules: Mapping[str, Any], definitions: dict[str, Schema]) -> Schema:
    """Return the schema of a value with an annotation and the rules of its field."""
    bounds = {_BOUNDS[name]: bound for name, bound in rules.get("bounds", {}).items()}
    if get_origin(hint) in (Union, UnionType):
        (kind,) = (part for part in get_args(hint) if part is not NoneType)
        schema = _of_value(kind, rules, definitions)
        if "anyOf" in schema:
            schema["anyOf"].append({"type": "null"})
        elif "type" in schema:
            schema["type"] = [*schema["type"], "null"]
        return schema
    if get_origin(hint) is list:
        count = {} if rules.get("length") is None else {"minItems": rules["length"], "maxItems": rules["length"]}
        kept = {name: rules[name] for name in ("bounds", "choices") if name in rules}
        return _or_later({"type": "array", "items": _of_value(get_args(hint)[0], kept, definitions), **count})
    if get_origin(hint) is dict:
        entries = rules.get("entries")
        values = _of_class(entries, definitions) if entries else _of_value(get_args(hint)[1], {}, definitions)
        return _or_later({"type": "object", "additionalProperties": values or True})
    if rules.get("choices"):
        return {"anyOf": [{"enum": list(rules["choices"])}, {"type": "string", "pattern": _LATER}]}
    if hint in _TYPES:
        return _or_later({"type": _TYPES[hint], **bounds})
    if hint is str:
        return {"type": ["string", "number"]}
    return {**bounds, "items": bounds} if bounds else {}  # several types, which the help text names


def _of_group(group: str, definitions: dict[str, Schema]) -> Schema:
    """Return the reference to the schema of an open group or of a transform.

    With ``type: OPTION`` the keys are those of the option, with ``_target_`` those of a class outside of vexp; without
    both, as in an experiment, where the defaults list chooses the option, those of any option of the group.
    """
    if group not in definitions:
        definitions[group] = {}  # a group within itself would not end otherwise
        named: dict[type[Any], list[str]] = {}
        for name, cls in options()[group].items():
            named.setdefault(cls, []).append(name)
        for cls, names in named.items():
            of_class = _of_class(cls, definitions)
            of_class["properties"] = {TYPE: {"enum": names}, **of_class["properties"]}
            definitions[f"{group}.{names[0]}"] = {"description": f"{summary(cls)}.", **of_class}
        definitions[f"{group}.any"] = _of_any([definitions[f"{group}.{names[0]}"] for names in named.values()])
        chosen = [
            {
                "if": {"type": "object", "properties": {TYPE: {"enum": names}}, "required": [TYPE]},
                "then": {"$ref": f"#/definitions/{group}.{names[0]}"},
            }
            for names in named.values()
        ]
        is_named = {"type": "object", "anyOf": [{"required": [TYPE]}, {"required": [TARGET]}]}
        definitions[group] = {
            "if": {"type": "object", "required": [TARGET]},
            "else": {
                **_or_later({"type": "object", "properties": {TYPE: {"enum": list(options()[group])}}}),
                "allOf": [*chosen, {"if": is_named, "else": {"$ref": f"#/definitions/{group}.any"}}],
            },
        }
    return {"allOf": [{"$ref": f"#/definitions/{group}"}]}  # keywords beside a $ref have no effect


def _of_any(schemas: list[Schema]) -> Schema:
    """Return a schema with the keys of all ``schemas``; one with several rules accepts what any of them does."""
    properties: dict[str, list[Schema]] = {}
    for schema in schemas:
        for name, rule in schema["properties"].items():
            rules = properties.setdefault(name, [])
            if rule not in rules:
                rules.append(rule)
    properties.pop(TYPE)
    merged = {name: rules[0] if len(rules) == 1 else {"anyOf": rules} for name, rules in properties.items()}
    return _or_later({"type": "object", "properties": merged, "additionalProperties": False})


def _or_later(schema: Schema) -> Schema:
    """Return a schema of one type that accepts an interpolation, too; a pattern has no effect on other types."""
    return schema | {"type": [schema["type"], "string"], "pattern": _LATER}


def _is_json(value: Any) -> bool:
    if isinstance(value, dict | list):
        return all(map(_is_json, value.values() if isinstance(value, dict) else value))
    return value is None or isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value))
