"""Read the config.yaml of many runs: most of their top-level blocks are equal, and an equal block is parsed once."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from vexp.core.documents import YAML_VALUE_ERRORS, check_yaml_events, read_text, read_yaml
from vexp.core.errors import UserError

#: A top-level key with all lines of its value: those that are indented, and the items of a list.
_BLOCK = re.compile(r"^[A-Za-z_]\w*:(?:[ ].*)?\n(?:(?:[ ].*|- .*|-)\n)*", re.MULTILINE)


def read_config(path: Path) -> dict[str, Any]:
    """Return the values of a config.yaml; those of different files may be the same objects.

    Raises:
        FileNotFoundError: If there is no such file.
        UserError: If it cannot be read or is no saved configuration.
    """
    text = read_text(path)
    blocks = _BLOCK.findall(text)
    config: dict[str, Any] = {}
    if blocks and sum(map(len, blocks)) == len(text):  # as vexp writes it; the values of any other file
        for block in blocks:
            value = _parse(block)
            if value is None or config.keys() & value.keys():
                break
            config |= value
        else:
            return config
    whole: dict[str, Any] = read_yaml(path, {str: object})  # with messages that name the line
    return whole


@lru_cache(maxsize=4096)
def _parse(block: str) -> dict[str, Any] | None:
    """Return the key with its value; None if it is not valid."""
    try:
        check_yaml_events(block, "", allow_aliases=False)
        value = yaml.load(block, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (UserError, yaml.YAMLError, *YAML_VALUE_ERRORS):
        return None
    return value if isinstance(value, dict) and all(isinstance(key, str) for key in value) else None
