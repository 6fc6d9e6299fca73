"""A whole config as an experiment of one's own: every key with its value and a comment."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Iterator
from typing import Any

import yaml

from vexp.config.compose import FILLED_IN
from vexp.config.instantiate import escape_interpolations, to_dict
from vexp.config.json_schema import schema_line
from vexp.config.keys import Key, parts_of, summary
from vexp.config.options import OPEN_GROUPS
from vexp.config.provenance import Provenance
from vexp.config.schema import Config
from vexp.core.fields import REQUIRED

_WIDTH = 118  # characters of a comment
_HEAD = """# @package _global_
{schema}# Every key of a run. Save it as FOLDER/experiment/NAME.yaml and use it:
#   vexp train --config-dir FOLDER experiment=NAME
# A group with a type takes all its values from here: to choose another option, change the type and the keys below it.
# A key that you delete has its default, or what the options of vexp train set.
defaults:
  - _self_
{overrides}
"""


def experiment_file(config: Config, provenance: Provenance) -> str:
    """Return an experiment that composes to ``config``, with a comment on every key.

    Args:
        config: The config of a run.
        provenance: Where its values were set; those that vexp fills in at the start of a run are null in the file.
    """
    overrides = "\n".join(f"  - override /{group}: null" for group in (*OPEN_GROUPS, "pipeline"))
    values = to_dict(config, types=True)
    for path in FILLED_IN:
        written = [entry.text for entry in provenance.settings(path)]
        if not written or written[-1] == "null":
            *above, name = path.split(".")
            node = values
            for part in above:
                node = node[part]
            node[name] = None
    lines = _lines(config, escape_interpolations(values), "")
    return _HEAD.format(schema=schema_line(), overrides=overrides) + "\n".join(lines) + "\n"


def _lines(node: Any, values: dict[str, Any], path: str) -> Iterator[str]:
    """Yield the lines of everything below a dataclass, whose plain values are ``values``."""
    indent = "  " * (path.count(".") + bool(path))
    for name in values.keys() - {field.name for field in dataclasses.fields(node)}:  # type or _target_
        yield f"{indent}{name}: {values[name]}"
    for field in dataclasses.fields(node):
        key = Key(f"{path}.{field.name}" if path else field.name, type(node), field)
        parts = parts_of(getattr(node, field.name))
        if not path:
            yield ""
        yield from _comment(key, indent, is_group=bool(parts))
        if not parts:
            yield f"{indent}{field.name}: {_flow(values[field.name])}"
            continue
        yield f"{indent}{field.name}:"
        for name, part in parts.items():
            if not name:
                yield from _lines(part, values[field.name], key.path)
                continue
            if text := summary(type(part)):
                yield from _wrapped(f"{text}.", f"{indent}  ")
            yield f"{indent}  {name}:"
            yield from _lines(part, values[field.name][name], f"{key.path}.{name}")


def _comment(key: Key, indent: str, *, is_group: bool) -> Iterator[str]:
    """Yield the help text of a key, with unit, type, range and default of a value."""
    if is_group:
        yield from _wrapped(key.doc, indent)
        return
    facts = [key.type_text + (f": {key.range_text}" if key.range_text else "")]
    facts += [key.unit] if key.unit != "none" else []
    facts += [] if key.default == REQUIRED else [f"default {key.default_text}"]
    yield from _wrapped(f"{key.doc} ({'; '.join(facts)})", indent)


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}#   ")


def _flow(value: Any) -> str:
    """Format a value as YAML on one line."""
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True, sort_keys=False)
    return text.removesuffix("...\n").strip()
