"""Read a config file with its base files: ``_base_``, ``{{_base_.x}}``, ``with read_base()``."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from vexp.core.errors import UserError
from vexp.tools.mmaction2.expressions import Evaluator, of_value, substituted
from vexp.tools.mmaction2.tree import (
    MappingNode,
    Node,
    ScalarNode,
    SequenceNode,
    UnreadableError,
    Where,
    fork,
    leaves,
    to_python,
)

#: Python's own names that a config may hold and that mean it is empty.
_DELETE = "_delete_"


@dataclass(slots=True)
class Source:
    """The content of a config file.

    Attributes:
        config: All assigned names, including those of the bases.
        read: The bases by file, so that a shared base is read once.
        replaced: Replaced values: path, node, and place of the replacement.
        unread: Statements that only take effect when the file is run, as leaves.
    """

    path: Path
    config: MappingNode
    replaced: list[tuple[str, Node, Where]] = field(default_factory=list)
    unread: list[ScalarNode] = field(default_factory=list)
    read: dict[Path, MappingNode] = field(default_factory=dict)

    def lines(self) -> Iterator[tuple[str, Node]]:
        """(path, leaf) of everything that a report must have a line for; what several names share comes once."""
        seen: set[int] = set()
        everything = [("", self.config), *((path, node) for path, node, _ in self.replaced)]
        for start, node in everything:
            for path, leaf in leaves(node, start):
                if id(leaf) not in seen:
                    seen.add(id(leaf))
                    yield path, leaf
        yield from (("", leaf) for leaf in self.unread)


def read_config(path: Path) -> Source:
    """Read a config file.

    Raises:
        UserError: If a file cannot be read or is not Python, or a base is missing or includes itself.
    """
    source = Source(path, MappingNode({}, Where(path, 1)))
    source.config = _File(path, source, ()).read()
    return source


class _File:
    """Interpreter of one file, statement by statement."""

    def __init__(self, path: Path, source: Source, above: tuple[Path, ...]) -> None:
        self.path, self.source, self.above = path, source, (*above, path.resolve())
        self.evaluator = Evaluator(lambda node: Where(path, getattr(node, "lineno", 1)))
        self.base: MappingNode | None = None

    def read(self) -> MappingNode:
        try:
            text = self.path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{self.path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
        try:
            tree = ast.parse(text)
        except (SyntaxError, ValueError, RecursionError) as error:
            line = getattr(error, "lineno", None) or 1
            raise UserError(f"{self.path}:{line}: not Python: {getattr(error, 'msg', None) or error}") from None
        self._substitute(tree)
        for statement in self._bases_first(tree.body):
            self._statement(statement)
        own = {
            name: node for name, node in self.evaluator.names.items() if not name.startswith("__") and name != "_base_"
        }
        table = MappingNode(own, Where(self.path, 1))
        return table if self.base is None else self._merged(self.base, table, "")

    def _substitute(self, tree: ast.AST) -> None:
        own = {
            "fileDirname": str(self.path.parent), "fileBasename": self.path.name,
            "fileBasenameNoExtension": self.path.stem, "fileExtname": self.path.suffix,
        }  # fmt: skip
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                node.value = substituted(node.value, own)

    def _bases_first(self, body: list[ast.stmt]) -> list[ast.stmt]:
        """Return the statements after reading ``_base_ = ...`` first, as mmcv does."""
        rest = []
        for statement in body:
            match statement:
                case ast.Assign(targets=[ast.Name(id="_base_")], value=value):
                    self._read_bases(self.evaluator.value(value), statement)
                case _:
                    rest.append(statement)
        return rest

    def _read_bases(self, named: str | list[str], statement: ast.stmt) -> None:
        for name in [named] if isinstance(named, str) else named:
            below = self._read_base(name, statement)
            self.base = below if self.base is None else self._merged(self.base, below, "")
        if self.base is not None:
            self.evaluator.names["_base_"] = self.base

    def _read_base(self, name: str, statement: ast.stmt) -> MappingNode:
        path = self.path.parent / name
        where = f"{self.path}:{statement.lineno}"
        if "::" in name or not path.is_file():
            hint = "; copy that file beside this one and name it by its path" if "::" in name else ""
            raise UserError(f"{where}: _base_ {name} does not exist{hint}")
        if path.suffix != ".py":
            raise UserError(f"{where}: _base_ {name} is not a Python file")
        if path.resolve() in self.above:
            raise UserError(f"{where}: _base_ {name} is based on this file itself")
        done = self.source.read
        if path.resolve() not in done:
            done[path.resolve()] = _File(path, self.source, self.above).read()
        below = fork(done[path.resolve()])
        assert isinstance(below, MappingNode)
        return below

    def _statement(self, statement: ast.stmt) -> None:
        try:
            self._carry_out(statement)
        except (UnreadableError, LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
            if isinstance(error, UserError) and not isinstance(error, UnreadableError):
                raise
            text = ast.unparse(statement)
            shown = text.splitlines()[0] + (" ..." if "\n" in text else "")
            where = Where(self.path, statement.lineno)
            self.source.unread.append(
                ScalarNode(shown, where, unread="this line only takes effect when the file is run")
            )

    def _carry_out(self, statement: ast.stmt) -> None:
        match statement:
            case ast.Assign(targets=targets, value=value):
                node = self.evaluator.node(value)
                for target in targets:
                    self._assign(target, node)
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                self._assign(target, self.evaluator.node(value))
            case ast.AugAssign(target=ast.Name() as target, op=op, value=value):
                sum_ = ast.copy_location(ast.BinOp(ast.Name(target.id, ast.Load()), op, value), statement)
                self._assign(target, self.evaluator.node(ast.fix_missing_locations(sum_)))
            case ast.Import(names=names):
                for alias in names:
                    name = alias.asname or alias.name.partition(".")[0]
                    self.evaluator.symbols[name] = alias.name if alias.asname else name
            case ast.ImportFrom(level=0, module=module, names=names):
                for alias in names:
                    self.evaluator.symbols[alias.asname or alias.name] = f"{module}.{alias.name}"
            case ast.With(items=[ast.withitem(context_expr=ast.Call(func=func))], body=body) if ast.unparse(
                func
            ).endswith("read_base"):
                for inner in body:
                    self._import_base(inner)
            case ast.Expr(value=ast.Constant()) | ast.Pass():
                pass
            case ast.Expr(value=ast.Call(func=ast.Attribute(value=owner, attr=attr), args=args, keywords=words)):
                self._method(self.evaluator._node(owner), attr, args, words, ast.unparse(owner))
            case ast.If(test=test, body=body, orelse=other):
                for inner in body if self.evaluator.value(test) else other:
                    self._statement(inner)
            case ast.Delete(targets=targets):
                for target in targets:
                    self._remove(target, statement)
            case _:
                raise UnreadableError("no assignment")

    def _assign(self, target: ast.expr, node: Node) -> None:
        match target:
            case ast.Name(id=name):
                self._replace(self.evaluator.names, name, node, name)
            case ast.Subscript(value=owner, slice=index):
                self._put(self.evaluator._node(owner), self.evaluator.value(index), node, ast.unparse(target))
            case ast.Attribute(value=owner, attr=attr):
                self._put(self.evaluator._node(owner), attr, node, ast.unparse(target))
            case ast.Tuple(elts=targets) | ast.List(elts=targets):
                entries = node.items if isinstance(node, SequenceNode) else [
                    of_value(value, node.where, [node]) for value in to_python(node) if isinstance(node, ScalarNode)
                ]  # fmt: skip
                for inner, entry in zip(targets, entries, strict=True):
                    self._assign(inner, entry)
            case _:
                raise UnreadableError("no name")

    def _put(self, owner: Node, key: object, node: Node, path: str) -> None:
        if isinstance(owner, MappingNode):
            self._replace(owner.items, str(key), node, path)
        elif isinstance(owner, SequenceNode) and isinstance(key, int):
            self.source.replaced.append((path, owner.items[key], node.where))
            owner.items[key] = node
        else:
            raise UnreadableError("nothing that can be assigned to")

    def _replace(self, items: dict[str, Node], key: str, node: Node, path: str) -> None:
        if key in items:
            self.source.replaced.append((path, items[key], node.where))
        items[key] = node

    def _method(self, owner: Node, name: str, args: list[ast.expr], words: list[ast.keyword], path: str) -> None:
        """``model.update(dict(...))``, ``train_pipeline.append(...)`` and the like."""
        given = [self.evaluator.node(arg) for arg in args]
        if isinstance(owner, MappingNode) and name in ("update", "merge_from_dict", "merge"):
            named = {word.arg: self.evaluator.node(word.value) for word in words if word.arg}
            for table in [*given, MappingNode(named, owner.where)]:
                if not isinstance(table, MappingNode):
                    raise UnreadableError("not a dict")
                self._update(owner, table, path, deep=owner.where.file != self.path)
        elif isinstance(owner, MappingNode) and name == "pop":
            removed = owner.items.pop(str(to_python(given[0])))
            self.source.replaced.append((f"{path}.{to_python(given[0])}", removed, given[0].where))
        elif isinstance(owner, SequenceNode) and name == "append":
            owner.items.append(given[0])
        elif isinstance(owner, SequenceNode) and name == "extend" and isinstance(given[0], SequenceNode):
            owner.items.extend(given[0].items)
        elif isinstance(owner, SequenceNode) and name == "insert":
            owner.items.insert(to_python(given[0]), given[1])
        elif isinstance(owner, SequenceNode) and name == "pop":
            removed = owner.items.pop(*(to_python(node) for node in given))
            self.source.replaced.append((path, removed, owner.where))
        else:
            raise UnreadableError("no such method of a config")

    def _update(self, owner: MappingNode, given: MappingNode, path: str, *, deep: bool) -> None:
        """A dict that comes from a base is mmengine's ConfigDict, whose update() is ``deep``: it goes key by key."""
        for key, node in given.items.items():
            below = owner.items.get(key)
            if deep and isinstance(below, MappingNode) and isinstance(node, MappingNode):
                self._update(below, node, f"{path}.{key}", deep=True)
            else:
                self._replace(owner.items, key, node, f"{path}.{key}")

    def _remove(self, target: ast.expr, statement: ast.stmt) -> None:
        where = Where(self.path, statement.lineno)
        if isinstance(target, ast.Name):
            self.source.replaced.append((target.id, self.evaluator.names.pop(target.id), where))
        elif isinstance(target, ast.Subscript):
            owner = self.evaluator._node(target.value)
            if not isinstance(owner, MappingNode):
                raise UnreadableError("not a dict")
            removed = owner.items.pop(str(self.evaluator.value(target.slice)))
            self.source.replaced.append((ast.unparse(target), removed, where))
        else:
            raise UnreadableError("no name")

    def _import_base(self, statement: ast.stmt) -> None:
        """``from .._base_.default_runtime import *`` within ``with read_base():`` (1.x)."""
        match statement:
            case ast.ImportFrom(level=level, module=module, names=names) if level > 0:
                up = "../" * (level - 1)
                below = self._read_base(f"{up}{(module or '').replace('.', '/')}.py", statement)
                wanted = [(alias.name, alias.asname or alias.name) for alias in names]
                if wanted == [("*", "*")]:
                    wanted = [(name, name) for name in below.items]
                for name, own in wanted:
                    self._replace(self.evaluator.names, own, below.items[name], own)
            case ast.Pass():
                pass
            case _:
                raise UserError(
                    f"{self.path}:{statement.lineno}: read_base() reads relative imports alone, "
                    "from .file import name; copy the file beside this one"
                )

    def _merged(self, base: MappingNode, over: MappingNode, path: str) -> MappingNode:
        """``over`` laid on ``base`` as mmcv and mmengine do: dicts key by key, everything else replaced."""
        items = dict(base.items)
        for key, node in over.items.items():
            name = f"{path}.{key}" if path else key
            below = items.get(key)
            if isinstance(node, MappingNode) and isinstance(below, MappingNode) and not _deletes(node):
                items[key] = self._merged(below, node, name)
                continue
            if below is not None:
                self.source.replaced.append((name, below, node.where))
            items[key] = self._without_mark(node, name)
        return MappingNode(items, over.where)

    def _without_mark(self, node: Node, path: str) -> Node:
        """``_delete_=True`` has done its work once the base's dict is gone."""
        if not isinstance(node, MappingNode) or _DELETE not in node.items:
            return node
        copy = fork(node)
        assert isinstance(copy, MappingNode)
        self.source.replaced.append((f"{path}.{_DELETE}", copy.items.pop(_DELETE), node.where))
        return copy


def _deletes(table: MappingNode) -> bool:
    mark = table.items.get(_DELETE)
    return isinstance(mark, ScalarNode) and mark.value is True
