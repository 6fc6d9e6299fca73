"""A config as a tree whose leaves have their location in the source."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

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


def check_known(node: Any) -> None:
    """Check that a node is known, at least in part.

    Raises:
        UnreadableError: If it is an expression that cannot be evaluated.
    """
    if isinstance(node, ScalarNode) and node.unread:
        raise UnreadableError(node.unread)


class Symbol(str):
    """The name of something imported, a class or a function: a value only where mmaction2 looks it up by its name."""

    __slots__ = ()


#: Keys whose values are such names.
SYMBOL_KEYS = ("type", "op", "constructor")
#: More values or deeper nesting than any config has use for.
_MOST_VALUES, _DEEPEST = 20_000, 60


def check_size(node: Node) -> Node:
    """Return a tree, unless it is larger than a config has use for; parts that are shared count each time.

    Raises:
        UserError: If it has too many values, is nested too deeply, or contains itself.
    """
    known: dict[int, int] = {}

    def weigh(part: Any, depth: int) -> int:
        if id(part) not in known:
            value = part.value if isinstance(part, ScalarNode) else part
            inner = value.items if isinstance(value, MappingNode | SequenceNode) else value
            inner = inner.values() if isinstance(inner, dict) else inner
            parts = inner if isinstance(inner, Iterable) and not isinstance(inner, str) else ()
            if depth > _DEEPEST:
                raise UserError(f"{node.where}: nested more than {_DEEPEST} levels deep, or within itself")
            known[id(part)] = 1 + sum(weigh(each, depth + 1) for each in parts)
            if known[id(part)] > _MOST_VALUES:
                raise UserError(f"{node.where}: more than {_MOST_VALUES} values; no config needs so many")
        return known[id(part)]

    weigh(node, 0)
    return node


def _below(path: str, key: str) -> str:
    return f"{path}[{key!r}]" if "." in key else f"{path}.{key}" if path else key


class _Node:
    __slots__ = ()

    def get(self, *path: str) -> Node | None:
        """Return the node at a path of keys; None if a key is missing."""
        node: Node | None = cast("Node", self)
        for key in path:
            node = node.items.get(key) if isinstance(node, MappingNode) else None
        return node

    def scalar(self, *path: str) -> Any:
        """Return the scalar or list of scalars at a path of keys; None if it is missing or unknown."""
        node = self.get(*path)
        return node.value if isinstance(node, ScalarNode) and not node.unread else None

    def text(self, *path: str) -> str:
        """Return the text at a path of keys, empty if there is none; a ``type`` is without the scope ``mmaction.``."""
        value = self.scalar(*path)
        text = value if isinstance(value, str) else ""
        return text.removeprefix("mmaction.") if path[-1:] == ("type",) else text

    def leaves(self, path: str = "") -> Iterator[tuple[str, Node]]:
        """Yield path and node of every line of the report: leaves, and empty dicts and lists."""
        children: dict[str, Node] = {}
        if isinstance(self, MappingNode):
            children = {_below(path, key): child for key, child in self.items.items()}
        elif isinstance(self, SequenceNode):
            children = {f"{path}[{i}]": child for i, child in enumerate(self.items)}
        for name, child in children.items():
            yield from child.leaves(name)
        if not children:
            yield path, cast("Node", self)


@dataclass(eq=False, slots=True)
class ScalarNode(_Node):
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

    def to_python(self) -> Any:
        """Convert a tree to dicts, lists and scalars.

        Raises:
            UnreadableError: If a part of it is unknown.
        """
        if self.unread:
            raise UnreadableError(self.unread)
        return self.value

    def all_parts(self) -> Iterator[ScalarNode]:
        """Yield the leaves that the value was computed from, and those that these were computed from."""
        seen: set[int] = set()
        rest = list(self.parts)
        while rest:
            part = rest.pop()
            if id(part) not in seen:
                seen.add(id(part))
                rest += part.parts
                yield part

    def copy(self) -> ScalarNode:
        """Copy the dicts and lists of a tree, but not its leaves."""
        return self


@dataclass(eq=False, slots=True)
class MappingNode(_Node):
    """A dict, by key."""

    items: dict[str, Node]
    where: Where

    def to_python(self) -> dict[str, Any]:
        return {key: child.to_python() for key, child in self.items.items()}

    def copy(self) -> MappingNode:
        return MappingNode({key: child.copy() for key, child in self.items.items()}, self.where)


@dataclass(eq=False, slots=True)
class SequenceNode(_Node):
    """A list that contains dicts, or an empty list."""

    items: list[Node]
    where: Where

    def to_python(self) -> list[Any]:
        return [child.to_python() for child in self.items]

    def copy(self) -> SequenceNode:
        return SequenceNode([child.copy() for child in self.items], self.where)


Node = ScalarNode | MappingNode | SequenceNode


def entries(node: Node | None) -> list[Node]:
    """Return the entries of a list that contains dicts; none for anything else."""
    return node.items if isinstance(node, SequenceNode) else []
