"""Read a config in YAML or JSON as a tree, with the line of every value; nothing in the file is executed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from vexp.core.errors import UserError
from vexp.tools.mmaction2.tree import MappingNode, Node, ScalarNode, SequenceNode, Where

SUFFIXES = (".yaml", ".yml", ".json")
#: Tags of dicts and lists; mmcv writes tuples as lists with the last one.
_TAGS = tuple(f"tag:yaml.org,2002:{name}" for name in ("map", "seq", "python/tuple"))
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_data(path: Path, content: bytes) -> MappingNode:
    """Read the dict of a file; a value that JSON and YAML do not have themselves is unread.

    Raises:
        UserError: If it is not valid YAML or JSON, or not a dict.
    """
    try:
        if path.suffix == ".json":
            json.loads(content)
        root = yaml.compose(content, Loader=_LOADER)
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark is not None else ""
        text = getattr(error, "problem", None) or str(error).partition("\n")[0]
        raise UserError(f"{path}{line}: not {'JSON' if path.suffix == '.json' else 'YAML'}: {text}") from None
    tree = _Reader(path).node(root) if root is not None else None
    if not isinstance(tree, MappingNode):
        raise UserError(f"{path}: not a config: it contains no dict")
    return tree


class _Reader:
    """Converts the nodes of one file, each once: an alias is the node of its anchor."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.known: dict[int, Node] = {}

    def node(self, node: yaml.Node) -> Node:
        if id(node) not in self.known:
            self.known[id(node)] = self._convert(node, Where(self.path, node.start_mark.line + 1))
        return self.known[id(node)]

    def _convert(self, node: yaml.Node, where: Where) -> Node:
        if not isinstance(node, yaml.ScalarNode) and node.tag not in _TAGS:
            return ScalarNode(node.tag, where, f"{node.tag} is not a plain value")
        if isinstance(node, yaml.MappingNode):
            merged = [value for key, value in node.value if key.tag == "tag:yaml.org,2002:merge"]
            items: dict[str, Node] = {}
            for table in map(self.node, merged):
                items |= table.items if isinstance(table, MappingNode) else {}
            own = {str(key.value): self.node(value) for key, value in node.value if value not in merged}
            return MappingNode(items | own, where)
        if isinstance(node, yaml.SequenceNode):
            nodes = [self.node(entry) for entry in node.value]
            scalars = [entry for entry in nodes if isinstance(entry, ScalarNode) and not entry.unread]
            if not nodes or len(scalars) < len(nodes):
                return SequenceNode(nodes, where)
            return ScalarNode([scalar.value for scalar in scalars], where, parts=scalars)
        assert isinstance(node, yaml.ScalarNode)
        return self._scalar(node, where)

    def _scalar(self, node: yaml.ScalarNode, where: Where) -> ScalarNode:
        text = str(node.value)
        try:
            is_json = self.path.suffix == ".json" and node.style in (None, "")  # YAML reads 1e-3 as text
            value = json.loads(text) if is_json else yaml.SafeLoader("").construct_object(node)
        except (yaml.YAMLError, ValueError):
            return ScalarNode(text, where, f"{node.tag} {text} is not a plain value")
        if not (value is None or isinstance(value, bool | int | float | str)):
            return ScalarNode(text, where, f"{text} is not a value of a config")
        if isinstance(value, int | float) and abs(value) > 1e100 and re.match(r"[-+]?\d", text):
            return ScalarNode(text, where, f"{text} is larger than any number")
        if isinstance(value, str) and re.search(r"\{\{.*\}\}", value):
            return ScalarNode(text, where, f"{text} is only known after running the file")
        return ScalarNode(value, where)
