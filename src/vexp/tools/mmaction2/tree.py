"""A config as a tree whose leaves have their location in the source."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vexp.core.errors import UserError


@dataclass(frozen=True, slots=True)
class Where:
    """A line of a file."""

    file: Path
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class UnreadableError(UserError):
    """A value is only known after running the file."""


@dataclass(eq=False, slots=True)
class ScalarNode:
    """A scalar or a list of scalars.

    Attributes:
        value: The value, or the source of the expression if it is unknown.
        where: Location in the source.
        unread: Why the value is unknown; empty if it is known.
        parts: Leaves that the value was computed from.
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
        """Return the node at a path of keys; None if a key is missing."""
        node: Node | None = self
        for key in path:
            node = node.items.get(key) if isinstance(node, MappingNode) else None
        return node

    def text(self, *path: str) -> str:
        """Return the text at a path of keys; empty if there is none."""
        node = self.get(*path)
        return node.value if isinstance(node, ScalarNode) and isinstance(node.value, str) and not node.unread else ""


@dataclass(eq=False, slots=True)
class SequenceNode:
    """A list that contains dicts, or an empty list."""

    items: list[Node]
    where: Where


Node = ScalarNode | MappingNode | SequenceNode


def leaves(node: Node, path: str = "") -> Iterator[tuple[str, Node]]:
    """Return path and node of every line of the report: leaves, and empty dicts and lists."""
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


def to_python(node: Node) -> Any:
    """Convert a tree to dicts, lists and scalars.

    Raises:
        UnreadableError: If a part of it is unknown.
    """
    if isinstance(node, MappingNode):
        return {key: to_python(child) for key, child in node.items.items()}
    if isinstance(node, SequenceNode):
        return [to_python(child) for child in node.items]
    if node.unread:
        raise UnreadableError(node.unread)
    return node.value


def fork(node: Node) -> Node:
    """Copy the dicts and lists of a tree, but not its leaves."""
    if isinstance(node, MappingNode):
        return MappingNode({key: fork(child) for key, child in node.items.items()}, node.where)
    if isinstance(node, SequenceNode):
        return SequenceNode([fork(child) for child in node.items], node.where)
    return node
