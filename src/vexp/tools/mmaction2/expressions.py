"""Evaluate expressions of a config file by their syntax: nothing is imported, nothing of the file is run.

Supported are literals, ``dict(...)``, names, concatenated lists, ``a | b``, comprehensions over such data, indices,
arithmetic, f-strings and the string methods that configs use. Every other expression becomes a leaf that is marked as
unread.
"""

from __future__ import annotations

import ast
import math
import operator
import posixpath
import re
from collections import ChainMap
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from vexp.tools.mmaction2.tree import MappingNode, Node, ScalarNode, SequenceNode, Symbol, UnreadableError, Where

_OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: operator.pow,
    ast.USub: operator.neg, ast.UAdd: operator.pos, ast.Not: operator.not_,
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
    ast.GtE: operator.ge, ast.Is: operator.is_, ast.IsNot: operator.is_not,
    ast.In: lambda a, b: a in b, ast.NotIn: lambda a, b: a not in b,
}  # fmt: skip
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{function.__name__: function for function in (abs, bool, float, int, len, list, max, min, round, sorted, str, sum,
                                                    tuple)},
    "range": lambda *a: list(range(*a)), "osp.join": posixpath.join, "os.path.join": posixpath.join,
    "zip": lambda *a: list(zip(*a, strict=False)), "enumerate": lambda *a: list(enumerate(*a)),
}  # fmt: skip
_TEXT_METHODS = ("format", "join", "lower", "replace", "rsplit", "split", "strip", "upper")
_COPIES = ("copy", "copy.copy", "copy.deepcopy", "deepcopy")
#: Longer results are not computed: a config has no use for them, and ``10 ** 10 ** 10`` would never end.
_LARGEST = 10_000
_LARGEST_NUMBER = 10.0**100
#: Expressions that the comprehensions of a file may evaluate: nested ones multiply.
_MOST_LOOPED = 20_000


def leaf(value: Any, where: Where, parts: list[ScalarNode]) -> ScalarNode:
    """Return a computed value as a leaf.

    Raises:
        UnreadableError: If it is not a scalar or a list of scalars, at any depth.
    """
    if not _is_plain(value):
        raise UnreadableError("not a value of a config")
    return ScalarNode(value, where, parts=parts)


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    if isinstance(value, int) and abs(value) > _LARGEST_NUMBER:
        return False
    return value is None or isinstance(value, bool | int | float | str)


@dataclass(slots=True)
class Evaluator:
    """Evaluate expressions of one file.

    Attributes:
        place: Returns the location of a syntax node.
        names: Values that have been assigned so far.
        symbols: Imported names, and the dotted name that each was imported from.
        looped: Expressions that comprehensions have evaluated so far.
    """

    place: Callable[[ast.AST], Where]
    names: MutableMapping[str, Node] = field(default_factory=dict)
    symbols: dict[str, str] = field(default_factory=dict)
    looped: int = 0

    def node(self, expression: ast.expr) -> Node:
        """Return the expression as a tree; an expression that cannot be evaluated becomes a leaf that is unread."""
        try:
            return self.strict_node(expression)
        except (UnreadableError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError, RecursionError):
            text = ast.unparse(expression)
            shown = text if len(text) <= 60 else text[:57] + "..."
            unread = f"{shown} cannot be evaluated without running the file"
            return ScalarNode(text, self.place(expression), unread)

    def value(self, expression: ast.expr) -> Any:
        """Return the value of an expression, without its location."""
        return self.strict_node(expression).to_python()

    def strict_node(self, expression: ast.expr) -> Node:
        """Return the expression as a tree.

        Raises:
            UnreadableError: If it cannot be evaluated; further exceptions are those of its operations.
        """
        where = self.place(expression)
        if isinstance(self.names, ChainMap):  # within a comprehension
            self.looped += 1
            if self.looped > _MOST_LOOPED:
                raise UnreadableError("too many turns of a comprehension")
        match expression:
            case ast.Constant(value=value) if _is_plain(value):
                if isinstance(value, str) and (match := re.search(r"\{\{ *\$(\w+)", value)):
                    return ScalarNode(value, where, f"it is read from the environment variable {match[1]}")
                if isinstance(value, float) and math.isinf(value):
                    return ScalarNode("1e999", where, "it is larger than any number")
                return ScalarNode(value, where)
            case ast.Name(id=name):
                if name in self.names:
                    return self.names[name]
                return ScalarNode(Symbol(self.symbols[name].rpartition(".")[2]), where)
            case ast.Dict(keys=keys, values=values):
                return self._table(zip(keys, values, strict=True), where)
            case ast.Call(func=ast.Name(id="dict"), args=[ast.Call() | ast.List() | ast.Tuple() as pairs], keywords=[]):
                return self._dict_of(self.strict_node(pairs), where)
            case ast.Call(func=ast.Name(id="dict"), args=args, keywords=keywords):
                named = [(None if word.arg is None else ast.Constant(word.arg), word.value) for word in keywords]
                return self._table([*((None, arg) for arg in args), *named], where)
            case ast.List(elts=elements) | ast.Tuple(elts=elements):
                return self._sequence(elements, isinstance(expression, ast.Tuple), where)
            case ast.ListComp(elt=element, generators=loops) | ast.GeneratorExp(elt=element, generators=loops):
                nodes: list[Node] = []
                self._each(loops, lambda: nodes.append(self.strict_node(element)))
                return _listed(nodes, where)
            case ast.DictComp(key=key, value=value, generators=loops):
                items: dict[str, Node] = {}
                self._each(loops, lambda: items.update({str(self.value(key)): self.strict_node(value)}))
                return MappingNode(items, where)
            case ast.Set(elts=[ast.Set(elts=[inner])]):  # {{ _base_.name }}
                return self.strict_node(inner)
            case ast.Subscript(value=owner, slice=index):
                return self._subscript(self.strict_node(owner), index, where)
            case ast.Attribute(value=owner, attr=attribute):
                if ast.unparse(expression).partition(".")[0] in self.symbols:  # torch.optim.SGD: a class by its name
                    return ScalarNode(float("inf") if attribute.lower() == "inf" else Symbol(attribute), where)
                return self._mapping(owner).items[attribute]
            case ast.BinOp(left=left, op=ast.BitOr(), right=right):
                return merged(self._mapping(left), self._mapping(right), where)
            case ast.BinOp(left=left, op=op, right=right):
                return self._binary(self.strict_node(left), _OPERATORS[type(op)], self.strict_node(right), where)
            case ast.Call(func=func, args=[arg], keywords=[]) if self._function(func) in _COPIES:
                return self.strict_node(arg).copy()
            case ast.Call(func=ast.Attribute(value=owner, attr="copy" | "deepcopy"), args=[], keywords=[]):
                return self.strict_node(owner).copy()
            case ast.Call(func=ast.Attribute(value=owner, attr="get"), args=[key, *otherwise], keywords=[]):
                found = self._mapping(owner).items.get(str(self.value(key)))
                return found or (self.strict_node(otherwise[0]) if otherwise else ScalarNode(None, where))
            case ast.Call(func=ast.Attribute(value=owner, attr="keys" | "values" | "items" as part), args=[]):
                return _view(self._mapping(owner), part, where)
            case ast.IfExp(test=test, body=body, orelse=other):
                return self.strict_node(body if self.value(test) else other)
        parts: list[ScalarNode] = []
        return leaf(self._compute(expression, parts), where, parts)

    def _table(self, pairs: Iterable[tuple[ast.expr | None, ast.expr]], where: Where) -> MappingNode:
        items: dict[str, Node] = {}
        for key, value in pairs:
            if key is None:  # **other
                items |= self._mapping(value).items
            else:
                items[str(self.value(key))] = self.node(value)
        return MappingNode(items, where)

    def _mapping(self, expression: ast.expr) -> MappingNode:
        node = self.strict_node(expression)
        if not isinstance(node, MappingNode):
            raise UnreadableError("not a dict")
        return node

    def _sequence(self, elements: list[ast.expr], is_tuple: bool, where: Where) -> Node:
        nodes: list[Node] = []
        for element in elements:
            if isinstance(element, ast.Starred):
                nodes += list_entries(self.strict_node(element.value))
            else:
                nodes.append(self.node(element))
        return _listed(nodes, where, is_tuple)

    def _dict_of(self, node: Node, where: Where) -> MappingNode:
        """Return ``dict(...)`` of one argument: a dict, or pairs of key and value."""
        if isinstance(node, MappingNode):
            return MappingNode(dict(node.items), where)
        pairs = map(list_entries, list_entries(node))
        return MappingNode({str(_known(key)): value for key, value in pairs}, where)

    def _each(self, loops: list[ast.comprehension], made: Callable[[], None]) -> None:
        """Call ``made`` in every turn of the loops of a comprehension, whose names are gone afterwards."""
        if not loops:
            made()
            return
        loop, outer = loops[0], self.names
        self.names = ChainMap({}, outer)
        try:
            over = self.strict_node(loop.iter)
            for entry in list_entries(_view(over, "keys", over.where) if isinstance(over, MappingNode) else over):
                self._bind(loop.target, entry)
                if all(self.value(test) for test in loop.ifs):
                    self._each(loops[1:], made)
        finally:
            self.names = outer

    def _bind(self, target: ast.expr, node: Node) -> None:
        """Assign an entry to the names of a loop."""
        if isinstance(target, ast.Name):
            self.names[target.id] = node
        elif isinstance(target, ast.Tuple | ast.List):
            for inner, entry in zip(target.elts, list_entries(node), strict=True):
                self._bind(inner, entry)
        else:
            raise UnreadableError("no name")

    def _function(self, expression: ast.expr) -> str:
        """Return the name of a function as it was imported; empty for a name of the file."""
        head, dot, rest = ast.unparse(expression).partition(".")
        return "" if head in self.names else self.symbols.get(head, head) + dot + rest

    def _subscript(self, owner: Node, index: ast.expr, where: Where) -> Node:
        if isinstance(index, ast.Slice):
            ends = (index.lower, index.upper, index.step)
            key: Any = slice(*(None if end is None else self.value(end) for end in ends))
            if isinstance(owner, SequenceNode):
                return SequenceNode(owner.items[key], where)
        else:
            key = self.value(index)
            if isinstance(owner, MappingNode):
                return owner.items[str(key)]
            if isinstance(owner, SequenceNode):
                entry: Node = owner.items[key]
                return entry
        return leaf(owner.to_python()[key], where, _parts(owner))

    def _binary(self, left: Node, operate: Callable[..., Any], right: Node, where: Where) -> Node:
        if operate is operator.add and (isinstance(left, SequenceNode) or isinstance(right, SequenceNode)):
            return SequenceNode([*list_entries(left), *list_entries(right)], where)
        if operate is operator.mul and isinstance(left, SequenceNode):
            return SequenceNode(_bounded(operate, left.items, _known(right)), where)
        return leaf(_bounded(operate, _known(left), _known(right)), where, _parts(left) + _parts(right))

    def _compute(self, expression: ast.expr, parts: list[ScalarNode]) -> Any:
        """Return the value of an expression over plain values; the leaves that it reads are added to ``parts``."""

        def read(inner: ast.expr) -> Any:
            node = self.strict_node(inner)
            parts.extend(_parts(node))
            return _known(node)

        match expression:
            case ast.JoinedStr(values=pieces):
                return "".join(str(self._compute(piece, parts)) for piece in pieces)
            case ast.FormattedValue(value=inner, format_spec=spec, conversion=conversion):
                converters: dict[int, Callable[[Any], Any]] = {115: str, 114: repr, 97: ascii}
                text = converters.get(conversion, lambda value: value)(read(inner))
                return format(text, _check_widths("" if spec is None else self._compute(spec, parts)))
            case ast.Constant(value=value):
                return value
            case ast.UnaryOp(op=op, operand=inner):
                return _OPERATORS[type(op)](read(inner))
            case ast.BoolOp(op=op, values=inners):
                values = [read(inner) for inner in inners]
                return next((value for value in values if bool(value) == isinstance(op, ast.Or)), values[-1])
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                return _OPERATORS[type(op)](read(left), read(right))
            case ast.Call(func=func, args=args, keywords=[]) if (name := self._function(func)) in _FUNCTIONS:
                return _bounded(_FUNCTIONS[name], *map(read, args))
            case ast.Call(func=ast.Attribute(owner, method), args=args, keywords=words) if method in _TEXT_METHODS:
                text = read(owner)
                if isinstance(text, str):
                    keywords = {word.arg: read(word.value) for word in words if word.arg}
                    return _bounded(getattr(_check_widths(text), method), *map(read, args), text=text, **keywords)
        raise UnreadableError("no constant expression")


def _check_widths(text: str) -> str:
    """Return a format string, unless it pads to more characters than a config has use for, or reads an attribute."""
    if re.search(r"\{\w*[.\[]", text):
        raise UnreadableError("an attribute of a value")
    wide = re.search(r"\d{5}", text) and ("{" in text or text.strip("<>^=+- #,_.eEfFgGnsdxXob%").isdecimal())
    if wide or re.search(r"\{[^{}]*:[^{}]*\{", text):
        raise UnreadableError("too long")
    return text


def _bounded(operate: Callable[..., Any], *values: Any, text: str = "", **keywords: Any) -> Any:
    """Return the result of an operation, unless it, or what it takes, is larger than a config has use for.

    ``text`` is the text of a method of texts, whose result may have the lengths of both multiplied.
    """
    numbers = [abs(value) for value in values if isinstance(value, int | float)]
    lengths = [len(value) for value in (text, *values) if isinstance(value, str | list | tuple)]
    longest, largest = max(lengths, default=0), max(numbers, default=0)
    if (
        (operate is operator.pow and largest > 1000)
        or (operate is operator.mul and longest * largest > _LARGEST)
        or (operate is _FUNCTIONS["range"] and largest > _LARGEST)
        or (operate is operator.mod and isinstance(values[0], str) and re.search(r"%[^a-z%]*(\d{5}|\*)", values[0]))
        or (text and math.prod(max(length, 1) for length in lengths) > _LARGEST**2)
        or largest > _LARGEST_NUMBER
    ):
        raise UnreadableError("too large")
    result = operate(*values, **keywords)
    if isinstance(result, float) and math.isinf(result) and all(map(math.isfinite, numbers)) and numbers:
        raise UnreadableError("larger than any number")
    if isinstance(result, str | list | tuple) and len(result) > _LARGEST:
        raise UnreadableError("too large")
    return result


def _known(node: Node) -> Any:
    """Return the value of a node that an operation takes."""
    value = node.to_python()
    if isinstance(value, Symbol):
        raise UnreadableError("a class or function")
    return value


def _parts(node: Node) -> list[ScalarNode]:
    return [node] if isinstance(node, ScalarNode) else []


def merged(left: MappingNode, right: MappingNode, where: Where) -> MappingNode:
    """Return ``left | right``; a dict of a base is mmengine's ConfigDict, of which nested dicts are merged as well."""
    deep, items = left.where.file != where.file, dict(left.items)
    for key, node in right.items.items():
        below = items.get(key)
        both = deep and isinstance(below, MappingNode) and isinstance(node, MappingNode)
        items[key] = merged(below, node, where) if both else node  # type: ignore[arg-type]
    return MappingNode(items, where)


def _view(table: MappingNode, part: str, where: Where) -> Node:
    """Return the keys, the values or the items of a dict."""
    keys: list[Node] = [ScalarNode(key, where) for key in table.items]
    if part == "keys":
        return SequenceNode(keys, where)
    if part == "values":
        return SequenceNode(list(table.items.values()), where)
    return SequenceNode([SequenceNode([*pair], where) for pair in zip(keys, table.items.values(), strict=True)], where)


def _listed(nodes: list[Node], where: Where, is_tuple: bool = False) -> Node:
    """Return a list: one leaf if it consists of scalars that are known."""
    scalars = [node for node in nodes if isinstance(node, ScalarNode) and not node.unread]
    if not nodes or len(scalars) < len(nodes):
        return SequenceNode(nodes, where)
    values = [scalar.value for scalar in scalars]
    return ScalarNode(tuple(values) if is_tuple else values, where, parts=scalars)


def list_entries(node: Node) -> list[Node]:
    """Return the entries of a list.

    Raises:
        UnreadableError: If it is not a list.
    """
    if isinstance(node, SequenceNode):
        return list(node.items)
    if isinstance(node, ScalarNode) and isinstance(node.value, list | tuple):
        return [ScalarNode(entry, node.where, parts=[node]) for entry in node.value]
    raise UnreadableError("not a list")


def substituted(text: str, variables: Mapping[str, str]) -> str:
    """Replace every ``{{ NAME }}`` of ``variables``, such as ``{{ fileDirname }}``."""
    return re.sub(r"\{\{ ?(\w+) ?\}\}", lambda match: variables.get(match[1], match[0]), text)
