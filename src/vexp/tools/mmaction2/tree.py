"""A config as a tree whose leaves know where they are written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Where:
    """A line of a file."""

    file: Path
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class UnreadableError(ValueError):
    """A value that only running the file would tell."""


@dataclass(eq=False, slots=True)
class ScalarNode:
    """A value without keys of its own: a scalar, or a list of scalars.

    Attributes:
        unread: why the value is not known (``value`` is then the expression as it is written); empty where it is.
        parts: the leaves of which an expression made this one.
    """

    value: Any
    where: Where
    unread: str = ""
    parts: list[ScalarNode] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class MappingNode:
    """A dict, by key."""

    items: dict[str, Node]
    where: Where

    def get(self, *path: str) -> Node | None:
        """What stands below these keys; None where one of them is not there."""
        node: Node | None = self
        for key in path:
            node = node.items.get(key) if isinstance(node, MappingNode) else None
        return node

    def word(self, *path: str) -> str:
        """The text below these keys; empty where there is none."""
        node = self.get(*path)
        return node.value if isinstance(node, ScalarNode) and isinstance(node.value, str) and not node.unread else ""


@dataclass(eq=False, slots=True)
class SequenceNode:
    """A list in which something has keys, or that is empty."""

    items: list[Node]
    where: Where


Node = ScalarNode | MappingNode | SequenceNode


def leaves(node: Node, path: str = "") -> Iterator[tuple[str, Node]]:
    """(path, node) of everything that a report has a line for: leaves, and dicts and lists that are empty."""
    children: Iterator[tuple[str, Node]]
    if isinstance(node, MappingNode):
        children = ((f"{path}.{key}" if path else key, child) for key, child in node.items.items())
    elif isinstance(node, SequenceNode):
        children = ((f"{path}[{i}]", child) for i, child in enumerate(node.items))
    else:
        children = iter(())
    empty = True
    for name, child in children:
        empty = False
        yield from leaves(child, name)
    if empty:
        yield path, node


def plain(node: Node) -> Any:
    """The tree as dicts, lists and scalars.

    Raises:
        UnreadableError: a part of it is not known.
    """
    if isinstance(node, MappingNode):
        return {key: plain(child) for key, child in node.items.items()}
    if isinstance(node, SequenceNode):
        return [plain(child) for child in node.items]
    if node.unread:
        raise UnreadableError(node.unread)
    return node.value


def fork(node: Node) -> Node:
    """The same leaves in dicts and lists of their own: what is changed in one does not show in the other."""
    if isinstance(node, MappingNode):
        return MappingNode({key: fork(child) for key, child in node.items.items()}, node.where)
    if isinstance(node, SequenceNode):
        return SequenceNode([fork(child) for child in node.items], node.where)
    return node
