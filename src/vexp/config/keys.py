"""Every key of the configuration, with the text, type, unit, rule and default that its dataclass declares."""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import json
import re
from collections.abc import Container, Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, cast, get_args, get_origin, get_type_hints

from vexp.config.options import OPEN_GROUPS, options
from vexp.config.plugins import CallableOption
from vexp.config.schema import Config
from vexp.config.search_path import conf_dir
from vexp.core.errors import format_value
from vexp.core.fields import REQUIRED

#: The unit of keys that ``by_epoch`` of the same group makes epochs or optimizer steps.
EPOCHS_OR_STEPS = "epochs (steps)"
#: The JSON schema of the config, beside the shipped options (vexp.config.json_schema).
SCHEMA_FILE = "config.schema.json"

_TYPES = {int: "int", float: "float", str: "text", bool: "true or false", Any: "any"}
_BOUNDS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
_NAME_IN_TEXT = re.compile(r"[A-Za-z]\w*(?:\.\w+)+|[A-Za-z]\w*_\w+")  # names that cannot be plain English


@dataclass(frozen=True, slots=True)
class Key:
    """A field of a config dataclass at a dotted path; ``owner`` is the class it was reached through."""

    path: str
    owner: type[Any]
    field: dataclasses.Field[Any]

    @property
    def name(self) -> str:
        return self.field.name

    @property
    def hint(self) -> Any:
        return _hints(cast(Hashable, self.owner)).get(self.name, Any)

    @property
    def holds_keys(self) -> bool:
        """Whether it is a group or a part of one, rather than a value."""
        return self.path in OPEN_GROUPS or dataclasses.is_dataclass(self.hint)

    @property
    def doc(self) -> str:
        """Help text."""
        text: str = self.field.metadata.get("doc", "")
        if not text and issubclass(self.owner, CallableOption):
            text = f"argument of {self.owner.target.__module__}.{self.owner.__name__}"
        return text

    @property
    def unit(self) -> str:
        """Unit of the value, or ``none``."""
        return self.field.metadata.get("unit") or "none"

    @property
    def type_text(self) -> str:
        """Accepted types: ``int or null``, ``list of 2 float``."""
        return self.field.metadata.get("accepts") or _type_text(self.hint, self.field.metadata.get("length"))

    @property
    def range_text(self) -> str:
        """Allowed values: ``> 0 and <= 1``, ``constant, linear, exp``; empty if every value of the type is."""
        choices: tuple[str, ...] = self.field.metadata.get("choices", ())
        bounds: dict[str, float] = self.field.metadata.get("bounds", {})
        return ", ".join(choices) or " and ".join(f"{_BOUNDS[name]} {bound:g}" for name, bound in bounds.items())

    @property
    def required(self) -> bool:
        """Whether there is no default, so that a value must be given."""
        return bool(self.default == REQUIRED)

    @property
    def default(self) -> Any:
        """Default value; ``REQUIRED`` if there is none."""
        if self.field.default_factory is not dataclasses.MISSING:
            return self.field.default_factory()
        return REQUIRED if self.field.default is dataclasses.MISSING else self.field.default

    @property
    def default_text(self) -> str:
        return "must be given" if self.required else to_yaml_text(self.default)

    @property
    def declared_in(self) -> type[Any]:
        """The class, ``owner`` or a base of it, that declares the field."""
        return next((cls for cls in self.owner.__mro__ if self.name in inspect.get_annotations(cls)), self.owner)

    def source(self) -> tuple[Path, int] | None:
        """File and line of the declaration; None for a class without a file."""
        cls = self.declared_in
        target = cls.target if issubclass(cls, CallableOption) else cls
        try:
            path = Path(inspect.getsourcefile(target) or "")
            if target is not cls:
                return path, inspect.getsourcelines(target)[1]
        except (TypeError, OSError):
            return None
        line = _field_lines(path).get((cls.__name__, self.name))
        return (path, line) if line is not None else None

    def mentions(self) -> list[str]:
        """Names of other keys: those of ``see``, those in its text, and ``by_epoch`` if that chooses its unit."""
        names = [*self.field.metadata.get("see", ()), *_NAME_IN_TEXT.findall(self.doc)]
        return [*names, "by_epoch"] if self.unit == EPOCHS_OR_STEPS else names


def related(keys: Sequence[Key]) -> dict[str, list[str]]:
    """Return path -> paths of related keys: those that the key's text names, and those whose text names it."""
    paths: dict[str, list[str]] = {key.path: [] for key in keys}
    for key in keys:
        for name in key.mentions():
            target = _resolved(name, key.path, paths)
            if target is not None and target != key.path:
                paths[key.path].append(target)
                paths[target].append(key.path)
    return {path: list(dict.fromkeys(others)) for path, others in paths.items()}


def _resolved(name: str, path: str, known: Container[str]) -> str | None:
    """The key that ``name`` means in the text of ``path``: a sibling, one further out, or a full path."""
    parent = path
    while parent:
        parent = parent.rpartition(".")[0]
        candidate = f"{parent}.{name}" if parent else name
        if candidate in known:
            return candidate
    return None


def summary(cls: type[Any]) -> str:
    """Return the first sentence of a class's docstring, without markup."""
    text = inspect.getdoc(cls) or ""
    if text.startswith(cls.__name__ + "("):  # generated by @dataclass
        return ""
    first = " ".join(text.split("\n\n")[0].split()).replace("``", "")
    return re.split(r"(?<=[.:])\s+(?=[A-Z])", first)[0].rstrip(":.") if first else ""


def keys_of(cls: type[Any], path: str = "") -> Iterator[Key]:
    """Yield the keys below a class, each group before its own keys; open groups are not entered.

    An entry of a dict whose keys the user chooses is called NAME.
    """
    for field in dataclasses.fields(cls):
        key = Key(f"{path}.{field.name}" if path else field.name, cls, field)
        yield key
        if key.path not in OPEN_GROUPS and key.holds_keys:
            yield from keys_of(key.hint, key.path)
        elif (entries := field.metadata.get("entries")) is not None:
            yield from keys_of(entries, f"{key.path}.NAME")


@functools.cache
def all_keys() -> tuple[Key, ...]:
    """Return the keys of the root and of all options; an argument of a transform is ``transform.NAME``."""
    roots = [*keys_of(Config)]
    return (*roots, *(key for group, classes in options().items() for cls in classes.values()
                      for key in keys_of(cls, group)))  # fmt: skip


@functools.cache
def key_paths() -> tuple[str, ...]:
    """Return the dotted keys of all options, as on the command line, in alphabetical order.

    They are read from the shipped schema: a message with a suggestion does not import the classes of all options.
    """
    schema = json.loads((conf_dir() / SCHEMA_FILE).read_text(encoding="utf-8"))
    definitions = schema["definitions"]

    def below(node: dict[str, Any], path: str) -> Iterator[str]:
        if path in OPEN_GROUPS:
            node = definitions[f"{path}.any"]
        for each in (node, *node.get("anyOf", ())):
            each = definitions[each["$ref"].rpartition("/")[2]] if "$ref" in each else each
            for name, child in each.get("properties", {}).items():
                key = f"{path}.{name}".lstrip(".")
                yield from (key, *below(child, key))
            entries = each.get("additionalProperties")
            if isinstance(entries, dict):
                yield from below(entries, f"{path}.NAME")

    own = {name: child for name, child in schema["properties"].items() if name not in ("defaults", "hydra")}
    return tuple(sorted(set(below({"properties": own}, ""))))


def config_keys(value: Any, path: str = "") -> Iterator[tuple[Key, Any]]:
    """Yield the keys and values of a composed configuration, each group before its own keys; transforms are entered."""
    for field in dataclasses.fields(value):
        key = Key(f"{path}.{field.name}" if path else field.name, type(value), field)
        item = getattr(value, field.name)
        yield key, item
        for name, part in parts_of(item).items():
            yield from config_keys(part, f"{key.path}.{name}" if name else key.path)


def parts_of(value: Any) -> dict[str, Any]:
    """Return the dataclasses in a value by name; the value itself, if it is one, under ""."""
    if dataclasses.is_dataclass(value):
        return {"": value}
    return (
        {name: part for name, part in value.items() if dataclasses.is_dataclass(part)}
        if isinstance(value, dict)
        else {}
    )


def to_yaml_text(value: Any) -> str:
    """Format a value as in YAML and on the command line: ``null``, ``[1,2]``, ``{left: right}``, ``1e-05``."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {to_yaml_text(item)}" for key, item in value.items()) + "}"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_yaml_text({field.name: getattr(value, field.name) for field in dataclasses.fields(value)})
    return format_value(value)


def _type_text(hint: Any, length: int | None) -> str:
    if get_origin(hint) in (Union, UnionType):
        parts = [_type_text(part, length) for part in get_args(hint) if part is not NoneType]
        return ", ".join(parts) + (" or null" if NoneType in get_args(hint) else "")
    if get_origin(hint) is list:
        return f"list of {f'{length} ' if length else ''}{_type_text(get_args(hint)[0], None)}"
    if get_origin(hint) is dict:
        return f"dict of {_type_text(get_args(hint)[1], None)}"
    return _TYPES.get(hint) or str(getattr(hint, "__name__", hint))


@functools.cache
def _hints(cls: Hashable) -> dict[str, Any]:
    return get_type_hints(cls)


@functools.cache
def _field_lines(path: Path) -> dict[tuple[str, str], int]:
    """(Class, field) -> line of the field's annotation in a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {
        (cls.name, item.target.id): item.lineno
        for cls in tree.body
        if isinstance(cls, ast.ClassDef)
        for item in cls.body
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
    }
