"""Read the JSON and YAML files of a run folder. They may be damaged, or come from somebody else: they are only data.

Every reader opens regular files only, limits size and nesting, refuses YAML aliases (nine levels of nine aliases are
``9**9`` values), and reports a problem as one ``UserError`` that names the file.
"""

from __future__ import annotations

import json
import stat
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Any, BinaryIO

from vexp.core.errors import UserError

#: Bytes of the largest file that is read; a config has about 10 kB, a manifest 200 bytes per checkpoint.
SIZE_LIMIT = 64 << 20
#: Nested lists and dicts in a file. A configuration has 6 levels.
DEPTH_LIMIT = 40
#: Values in a YAML file, its aliases replaced.
VALUE_LIMIT = 100_000
#: Nested dicts, lists and types that ``check_schema`` compares a value with; a key that ends in ``?`` may be
#: missing or null.
Schema = Any
#: What PyYAML raises for a value that does not have its tag, besides ``yaml.YAMLError``: ``!!int x``, ``!!bool x``.
YAML_VALUE_ERRORS = (ValueError, TypeError, KeyError, AttributeError, IndexError)


def read_text(path: Path, *, errors: str = "strict", limit: int = SIZE_LIMIT) -> str:
    """Return the content of a UTF-8 file; ``errors`` is that of ``bytes.decode``.

    Raises:
        FileNotFoundError: If there is no such file.
        UserError: If it is no regular file, cannot be read, has more than ``limit`` bytes or is not UTF-8.
    """
    try:
        with open_regular(path) as file:
            content = file.read(limit + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    if len(content) > limit:
        expected = " and is no file that vexp wrote" if limit == SIZE_LIMIT else ""
        raise UserError(f"{path}: has more than {limit >> 20} MB{expected}")
    try:
        return content.decode("utf-8", errors)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}:{line}: is not UTF-8 text") from None


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading bytes.

    Raises:
        OSError: If it cannot be opened, or is a directory, pipe or device, which might block for ever.
    """
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        raise OSError(None, "is a folder" if stat.S_ISDIR(mode) else "is not a regular file")
    return path.open("rb")


def read_json(path: Path, schema: Schema = object) -> Any:
    """Return the content of a JSON file that has the given schema (see ``check_schema``).

    Raises:
        FileNotFoundError: If there is no such file.
        UserError: If it cannot be read, is not JSON, is nested too deeply or does not have the schema.
    """
    return check_schema(parse_json(read_text(path), path), schema, path)


def parse_json(text: str, place: object, *, unique_keys: bool = False) -> Any:
    """Return the value of a JSON text; of equal keys the last, unless they are refused (``unique_keys``).

    Raises:
        UserError: If it is not JSON, is nested too deeply or has equal keys; the message begins with ``place``.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) < len(pairs):
            counts = Counter(key for key, _ in pairs)
            raise UserError(f"{place}: has the key {counts.most_common(1)[0][0]!r} twice")
        return result

    try:
        return json.loads(text, object_pairs_hook=unique if unique_keys else None)
    except json.JSONDecodeError as error:
        raise UserError(f"{place}: is not valid JSON: {error.msg} in line {error.lineno}") from None
    except (RecursionError, ValueError) as error:  # a number of more digits than Python reads is a ValueError
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error).partition(";")[0]
        raise UserError(f"{place}: is not valid JSON: {reason}") from None


def read_yaml(path: Path, schema: Schema = object) -> Any:
    """Return the content of a YAML file of plain data, without aliases, that has the given schema.

    Raises:
        FileNotFoundError: If there is no such file.
        UserError: If it cannot be read, is not YAML, has aliases, is nested too deeply or does not have the schema.
    """
    import yaml

    text = read_text(path)
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        check_yaml_events(text, path, allow_aliases=False)
        value = yaml.load(text, loader)
    except yaml.YAMLError as error:
        raise UserError(yaml_message(error, path)) from None
    except YAML_VALUE_ERRORS as error:
        raise UserError(f"{path}: is not valid YAML: {error}") from None
    return check_schema(value, schema, path)


def check_yaml_events(text: str, place: object, *, allow_aliases: bool) -> None:
    """Check that a YAML text is not nested too deeply and that its aliases do not multiply its size.

    Raises:
        UserError: If it is nested deeper than ``DEPTH_LIMIT``, holds more than ``VALUE_LIMIT`` values with its aliases
            replaced, or has an alias that is not allowed or that contains itself.
        yaml.YAMLError: If it is not YAML.
    """
    import yaml

    sizes = [0]  # values in each open collection, the document's first
    open_anchors: list[str | None] = []
    anchored: dict[str | None, int] = {}
    event: Any
    for event in yaml.parse(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        line = f"{place}:{event.start_mark.line + 1}"
        if isinstance(event, yaml.CollectionStartEvent):
            sizes.append(1)
            open_anchors.append(event.anchor)
        elif isinstance(event, yaml.CollectionEndEvent):
            size, anchor = sizes.pop(), open_anchors.pop()
            sizes[-1] += size
            if anchor is not None:
                anchored[anchor] = size
        elif isinstance(event, yaml.AliasEvent):
            if not allow_aliases:
                raise UserError(f"{line}: YAML aliases (*name) are not allowed in a saved file")
            if event.anchor in open_anchors:
                raise UserError(f"{line}: the YAML alias *{event.anchor} contains itself")
            sizes[-1] += anchored.get(event.anchor, 1)
        else:
            sizes[-1] += 1
        if len(sizes) > DEPTH_LIMIT:
            raise UserError(f"{line}: more than {DEPTH_LIMIT} nested lists and mappings")
        if sum(sizes) > VALUE_LIMIT:
            raise UserError(f"{line}: more than {VALUE_LIMIT:,} values")


def yaml_message(error: Any, path: object) -> str:
    """Format a ``yaml.YAMLError`` as ``FILE:LINE:COLUMN: not valid YAML: REASON``."""
    mark = getattr(error, "problem_mark", None)
    place = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark is not None else str(path)
    return f"{place}: not valid YAML: {getattr(error, 'problem', None) or error}"


def check_plain(value: Any, place: object) -> Any:
    """Return ``value`` if it consists of dicts with text keys, lists, texts, numbers, true, false and null.

    Raises:
        UserError: If it does not, is nested deeper than ``DEPTH_LIMIT``, or holds more than ``VALUE_LIMIT`` values.
    """
    count, remaining = 0, [(value, 1)]
    while remaining:
        item, depth = remaining.pop()
        count += 1
        if depth > DEPTH_LIMIT or count > VALUE_LIMIT:
            raise UserError(f"{place}: is nested too deeply or too large")
        if isinstance(item, dict):
            remaining += [(check_schema(key, str, f"{place}: a key"), depth + 1) for key in item]
        if isinstance(item, dict | list):
            remaining += [(part, depth + 1) for part in (item.values() if isinstance(item, dict) else item)]
        elif not isinstance(item, str | int | float | None):
            raise UserError(f"{place}: holds a value of type {type(item).__name__}")
    return value


def check_schema(value: Any, schema: Schema, place: object) -> Any:
    """Return ``value`` if it has the types of ``schema``.

    Args:
        value: Plain data of a file.
        schema: A type or union of types; ``[schema]`` for a list of any length; ``{str: schema}`` for a dict with any
            keys; ``{"name": schema, "optional?": schema}`` for a dict, which may have more keys.
        place: File, and what in it; the beginning of the message.

    Raises:
        UserError: If it does not.
    """
    if isinstance(schema, type | UnionType):
        if not isinstance(value, schema) or (isinstance(value, bool) and schema in (int, float, int | float)):
            raise UserError(f"{place}: must be {_type_name(schema)}, not {_type_name(type(value))}")
    elif isinstance(schema, list):
        for index, item in enumerate(check_schema(value, list, place)):
            check_schema(item, schema[0], f"{place}: item {index}")
    elif str in schema:
        for key, item in check_schema(value, dict, place).items():
            check_schema(item, schema[str], f"{place}: {check_schema(key, str, f'{place}: key {key}')}")
    else:
        _check_keys(check_schema(value, dict, place), schema, place)
    return value


def _check_keys(value: Mapping[str, Any], schema: Mapping[str, Schema], place: object) -> None:
    for name, expected in schema.items():
        key = name.removesuffix("?")
        if value.get(key) is not None:
            check_schema(value[key], expected, f"{place}: {key}")
        elif key == name:
            raise UserError(f"{place}: {key} is null" if key in value else f"{place}: has no {key!r}")


_NAMES = {
    dict: "a mapping", list: "a list", str: "text", int: "a whole number", float: "a number", bool: "true or false",
    type(None): "null",
}  # fmt: skip


def _type_name(kind: Any) -> str:
    parts = kind.__args__ if isinstance(kind, UnionType) else (kind,)
    names = [_NAMES.get(part, part.__name__) for part in parts if not (part is int and float in parts)]
    return " or ".join(names)
