"""Expressions of a config file, evaluated by their syntax: nothing is imported, nothing of the file is run.

Literals, ``dict(...)``, names, lists put together, indices, arithmetic, f-strings and the text methods that configs
use. Whatever else there is becomes a leaf that says so.
"""

from __future__ import annotations

import ast
import operator
import posixpath
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from vexp.tools.mmaction2.tree import (
    MappingNode,
    Node,
    ScalarNode,
    SequenceNode,
    UnreadableError,
    Where,
    fork,
    to_python,
)

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: operator.pow,
}  # fmt: skip
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.USub: operator.neg, ast.UAdd: operator.pos, ast.Not: operator.not_,
}  # fmt: skip
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
    ast.GtE: operator.ge, ast.Is: operator.is_, ast.IsNot: operator.is_not,
    ast.In: lambda a, b: a in b, ast.NotIn: lambda a, b: a not in b,
}  # fmt: skip
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": abs, "bool": bool, "float": float, "int": int, "len": len, "list": list, "max": max, "min": min,
    "range": lambda *a: list(range(*a)), "round": round, "sorted": sorted, "str": str, "sum": sum, "tuple": tuple,
    "osp.join": posixpath.join, "os.path.join": posixpath.join,
}  # fmt: skip
_TEXT_METHODS = ("format", "join", "lower", "replace", "rsplit", "split", "strip", "upper")
_COPIES = ("copy", "copy.copy", "copy.deepcopy", "deepcopy")
#: Longer results are not computed: a config has no use for them, and ``10 ** 10 ** 10`` would never end.
_LARGEST = 10_000


def is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str | complex | bytes)


def of_value(value: Any, where: Where, parts: list[ScalarNode]) -> ScalarNode:
    """A computed value as a leaf.

    Raises:
        UnreadableError: it is none that a config may hold.
    """
    entries = value if isinstance(value, list | tuple) else [value]
    nested = [inner for entry in entries for inner in (entry if isinstance(entry, list | tuple) else [entry])]
    if not all(is_scalar(entry) or isinstance(entry, list | tuple) for entry in nested):
        raise UnreadableError("not a value of a config")
    return ScalarNode(value, where, parts=parts)


@dataclass(slots=True)
class Evaluator:
    """Evaluates expressions of one file. ``names``: what has been assigned so far; ``symbols``: names that imports
    bound, by the dotted name behind each.
    """

    place: Callable[[ast.AST], Where]
    names: dict[str, Node] = field(default_factory=dict)
    symbols: dict[str, str] = field(default_factory=dict)

    def node(self, expression: ast.expr) -> Node:
        """The expression as a tree; what cannot be evaluated as a leaf that says so."""
        try:
            return self._node(expression)
        except (UnreadableError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError, RecursionError):
            text = ast.unparse(expression)
            shown = text if len(text) <= 60 else text[:57] + "..."
            return ScalarNode(
                text, self.place(expression), unread=f"the value of {shown} is only known after running the file"
            )

    def value(self, expression: ast.expr) -> Any:
        """The plain value of an expression."""
        return to_python(self._node(expression))

    def _node(self, expression: ast.expr) -> Node:
        where = self.place(expression)
        match expression:
            case ast.Constant(value=value) if is_scalar(value):
                return ScalarNode(value, where)
            case ast.Name(id=name):
                return self._name(name, where)
            case ast.Dict(keys=keys, values=values):
                return self._table(zip(keys, values, strict=True), where)
            case ast.Call(func=ast.Name(id="dict"), args=args, keywords=words):
                table = self._table(((w.arg and ast.Constant(w.arg), w.value) for w in words), where)
                for arg in reversed(args):
                    table.items = {**self._as_table(arg).items, **table.items}
                return table
            case ast.List(elts=entries) | ast.Tuple(elts=entries):
                return self._sequence(entries, isinstance(expression, ast.Tuple), where)
            case ast.Set(elts=[ast.Set(elts=[inner])]):  # {{ _base_.name }}
                return self._node(inner)
            case ast.Subscript(value=owner, slice=index):
                return self._subscript(self._node(owner), index, where)
            case ast.Attribute(value=owner, attr=attr):
                return self._attribute(expression, owner, attr, where)
            case ast.BinOp(left=left, op=op, right=right):
                return self._binary(self._node(left), _BINARY[type(op)], self._node(right), where)
            case ast.Call(func=func, args=args, keywords=[]) if self._copied(func, args) is not None:
                return fork(self._copied(func, args))  # type: ignore[arg-type]
            case ast.IfExp(test=test, body=body, orelse=other):
                return self._node(body if self.value(test) else other)
        parts: list[ScalarNode] = []
        return of_value(self._compute(expression, parts), where, parts)

    def _name(self, name: str, where: Where) -> Node:
        if name in self.names:
            return self.names[name]
        if name in self.symbols:
            return ScalarNode(self.symbols[name].rpartition(".")[2], where)
        raise UnreadableError(f"{name} is not assigned before")

    def _table(self, pairs: Any, where: Where) -> MappingNode:
        items: dict[str, Node] = {}
        for key, value in pairs:
            if not key:  # **other
                items |= self._as_table(value).items
            else:
                items[str(self.value(key))] = self.node(value)
        return MappingNode(items, where)

    def _as_table(self, expression: ast.expr) -> MappingNode:
        node = self._node(expression)
        if not isinstance(node, MappingNode):
            raise UnreadableError("not a dict")
        return node

    def _sequence(self, entries: list[ast.expr], is_tuple: bool, where: Where) -> Node:
        nodes: list[Node] = []
        for entry in entries:
            if isinstance(entry, ast.Starred):
                nodes += _entries(self._node(entry.value))
            else:
                nodes.append(self.node(entry))
        if not nodes or any(not isinstance(node, ScalarNode) or node.unread for node in nodes):
            return SequenceNode(nodes, where)
        found = [node for node in nodes if isinstance(node, ScalarNode)]
        values = [leaf.value for leaf in found]
        return ScalarNode(tuple(values) if is_tuple else values, where, parts=found)

    def _subscript(self, owner: Node, index: ast.expr, where: Where) -> Node:
        if isinstance(index, ast.Slice):
            part = slice(*(None if end is None else self.value(end) for end in (index.lower, index.upper, index.step)))
            if isinstance(owner, SequenceNode):
                return SequenceNode(owner.items[part], where)
            return of_value(to_python(owner)[part], where, _parts(owner))
        key = self.value(index)
        if isinstance(owner, MappingNode):
            return owner.items[str(key)]
        if isinstance(owner, SequenceNode):
            entry: Node = owner.items[key]
            return entry
        return of_value(to_python(owner)[key], where, _parts(owner))

    def _attribute(self, expression: ast.expr, owner: ast.expr, attr: str, where: Where) -> Node:
        dotted = ast.unparse(expression)
        if dotted.partition(".")[0] in self.symbols:  # torch.optim.SGD: a class by its name
            if attr.lower() == "inf":
                return ScalarNode(float("inf"), where)
            return ScalarNode(attr, where)
        return self._as_table(owner).items[attr]

    def _binary(self, left: Node, operate: Callable[[Any, Any], Any], right: Node, where: Where) -> Node:
        if operate is operator.add and (isinstance(left, SequenceNode) or isinstance(right, SequenceNode)):
            return SequenceNode([*_entries(left), *_entries(right)], where)
        return of_value(_bounded(operate, to_python(left), to_python(right)), where, _parts(left) + _parts(right))

    def _copied(self, func: ast.expr, args: list[ast.expr]) -> Node | None:
        """The node that a call copies; None where it does something else."""
        if len(args) == 1 and ast.unparse(func) in _COPIES:
            return self._node(args[0])
        if not args and isinstance(func, ast.Attribute) and func.attr in ("copy", "deepcopy"):
            return self._node(func.value)
        return None

    def _compute(self, expression: ast.expr, parts: list[ScalarNode]) -> Any:
        """The value of an expression over plain values; the leaves that it reads are added to ``parts``."""

        def read(inner: ast.expr) -> Any:
            node = self._node(inner)
            parts.extend(_parts(node))
            return to_python(node)

        match expression:
            case ast.JoinedStr(values=pieces):
                return "".join(str(self._compute(piece, parts)) for piece in pieces)
            case ast.FormattedValue(value=inner, format_spec=spec, conversion=conversion):
                text = read(inner)
                shown = {115: str(text), 114: repr(text), 97: ascii(text)}.get(conversion, text)
                return format(shown, _check_widths("" if spec is None else str(self._compute(spec, parts))))
            case ast.Constant(value=value):
                return value
            case ast.UnaryOp(op=op, operand=inner):
                return _UNARY[type(op)](read(inner))
            case ast.BoolOp(op=op, values=inners):
                values = [read(inner) for inner in inners]
                first = (v for v in values if bool(v) == isinstance(op, ast.Or))
                return next(first, values[-1])
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                return _COMPARE[type(op)](read(left), read(right))
            case ast.Call(func=func, args=args, keywords=[]) if ast.unparse(func) in _FUNCTIONS:
                return _bounded(_FUNCTIONS[ast.unparse(func)], *map(read, args))
            case ast.Call(func=ast.Attribute(value=owner, attr=attr), args=args, keywords=words) if (
                attr in _TEXT_METHODS and isinstance(text := self._text(owner, parts), str)
            ):
                keywords = {word.arg: read(word.value) for word in words if word.arg}
                _check_widths(text)
                return getattr(text, attr)(*map(read, args), **keywords)
        raise UnreadableError("no constant expression")

    def _text(self, expression: ast.expr, parts: list[ScalarNode]) -> Any:
        try:
            node = self._node(expression)
        except (UnreadableError, LookupError):
            return None
        parts.extend(_parts(node))
        return to_python(node)


def _check_widths(text: str) -> str:
    """A format, if it asks for no more characters than a config has use for."""
    if re.search(r"\d{5}", text) and ("{" in text or text.strip("<>^=+- #,_.eEfFgGnsdxXob%").isdecimal()):
        raise UnreadableError("too long")
    return text


def _bounded(operate: Callable[..., Any], *values: Any) -> Any:
    """The result of an operation, if it is of a size that a config may have."""
    numbers = [value for value in values if isinstance(value, int | float)]
    lengths = [len(value) for value in values if isinstance(value, str | list | tuple)]
    if operate is operator.pow and any(abs(number) > 1000 for number in numbers):
        raise UnreadableError("too large")
    if lengths and operate is operator.mul and max(lengths) * max(numbers, default=0) > _LARGEST:
        raise UnreadableError("too long")
    if operate is _FUNCTIONS["range"] and any(abs(number) > _LARGEST for number in numbers):
        raise UnreadableError("too long")
    return operate(*values)


def _parts(node: Node) -> list[ScalarNode]:
    return [node] if isinstance(node, ScalarNode) else []


def _entries(node: Node) -> list[Node]:
    if isinstance(node, SequenceNode):
        return list(node.items)
    if isinstance(node, ScalarNode) and isinstance(node.value, list | tuple):
        return [ScalarNode(entry, node.where, parts=[node]) for entry in node.value]
    raise UnreadableError("not a list")


#: A file's own names for ``'{{ fileDirname }}'`` and the like.
def substituted(text: str, own: Mapping[str, str]) -> str:
    """``text`` with every ``{{ NAME }}`` of ``own`` put in."""
    for name, value in own.items():
        for pattern in (f"{{{{{name}}}}}", f"{{{{ {name} }}}}"):
            text = text.replace(pattern, value)
    return text
