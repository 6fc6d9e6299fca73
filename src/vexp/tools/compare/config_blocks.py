"""Read the config.yaml of many runs: most of their top-level blocks are equal, and an equal block is parsed once."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from sys import intern
from typing import Any

import yaml

from vexp.config.option_types import upgrade_saved
from vexp.core.documents import YAML_VALUE_ERRORS, check_yaml_events, read_text, read_yaml
from vexp.core.errors import UserError, format_value

#: A top-level key with all lines of its value: those that are indented, and the items of a list.
_BLOCK = re.compile(r"^[A-Za-z_]\w*:(?:[ ].*)?\n(?:(?:[ ].*|- .*|-)\n)*", re.MULTILINE)


def read_config(path: Path) -> dict[str, str]:
    """Return the dotted keys of a config.yaml of any version with their values, formatted as on the command line.

    Raises:
        FileNotFoundError: If there is no such file.
        UserError: If it cannot be read or is no saved configuration.
    """
    text = read_text(path)
    blocks = _BLOCK.findall(text)
    config: dict[str, str] = {}
    if blocks and sum(map(len, blocks)) == len(text) and len(set(map(_key, blocks))) == len(blocks):
        for block in blocks:  # as vexp writes it
            if (values := _read_block(block)) is None:
                break
            config |= values
        else:
            return config
    return flatten(upgrade_saved(read_yaml(path, {str: object})))  # its messages name the line


def _key(block: str) -> str:
    return block.partition(":")[0]


@lru_cache(maxsize=4096)
def _read_block(block: str) -> dict[str, str] | None:
    """Return the keys with their values; None if the block is not valid."""
    try:
        check_yaml_events(block, "", allow_aliases=False)
        value = yaml.load(block, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (UserError, yaml.YAMLError, *YAML_VALUE_ERRORS):
        return None
    is_config = isinstance(value, dict) and all(isinstance(key, str) for key in value)
    return flatten(upgrade_saved(value)) if is_config else None


def flatten(config: dict[str, Any], path: str = "") -> dict[str, str]:
    """Flatten to dotted keys with values formatted as on the command line; lists are values."""
    flat: dict[str, str] = {}
    for key, value in config.items():
        where = f"{path}.{key}" if path else str(key)
        if isinstance(value, dict) and value:
            flat |= flatten(value, where)
        else:
            flat[intern(where)] = "{}" if value == {} else intern(format_value(value))  # equal in most runs of a sweep
    return flat
