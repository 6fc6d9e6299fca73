"""Read a config file with its base files: ``_base_``, ``{{_base_.x}}``, ``with read_base()``."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeGuard

from vexp.core.errors import UserError
from vexp.tools.mmaction2.data_file import SUFFIXES, read_data
from vexp.tools.mmaction2.expressions import Evaluator, list_entries, substituted
from vexp.tools.mmaction2.tree import (
    SYMBOL_KEYS,
    MappingNode,
    Node,
    ScalarNode,
    SequenceNode,
    Symbol,
    UnreadableError,
    Where,
    check_size,
)

#: Suffixes of the files that are read.
CONFIG_SUFFIXES = (".py", *SUFFIXES)
_LARGEST_FILE = 500_000  # bytes
_MOST_SYNTAX = 100_000  # syntax nodes
_DELETE = "_delete_"  # the key of a dict that replaces the dict of the base, instead of being merged into it


@dataclass(slots=True)
class Source:
    """The content of a config file.

    Attributes:
        config: All assigned names, including those of the bases.
        replaced: Replaced values: path, node, and place of the replacement.
        unread: Statements that only take effect when the file is run, as leaves.
        read: The bases by file, so that a shared base is read once.
        symbols: What each file imports: names, and the dotted names that they stand for.
    """

    path: Path
    config: MappingNode
    replaced: list[tuple[str, Node, Where]] = field(default_factory=list)
    unread: list[ScalarNode] = field(default_factory=list)
    read: dict[Path, MappingNode] = field(default_factory=dict)
    symbols: dict[Path, dict[str, str]] = field(default_factory=dict)

    def lines(self) -> Iterator[tuple[str, Node]]:
        """Yield (path, leaf) of everything that a report has a line for; a leaf with several names comes once."""
        seen: set[int] = set()
        for start, node in [("", self.config), *((path, node) for path, node, _ in self.replaced)]:
            for path, found in node.leaves(start):
                if id(found) not in seen:
                    seen.add(id(found))
                    yield path, found
        yield from (("", statement) for statement in self.unread if id(statement) not in seen)


def read_config(path: Path) -> Source:
    """Read a config file.

    Raises:
        UserError: If a file cannot be read or is not Python, or a base is missing or includes itself.
    """
    source = Source(path, MappingNode({}, Where(path, 1)))
    try:
        source.config = _File(path, source, ()).read()
        check_size(source.config)
    except (RecursionError, MemoryError):
        raise UserError(f"{path}: nested too deeply to be read") from None
    _hide_symbols(source.config)
    return source


def _hide_symbols(config: MappingNode) -> None:
    """Mark imported names as unread, except where mmaction2 looks up a class or function by its name."""
    places: dict[int, tuple[ScalarNode, bool]] = {}
    for path, node in config.leaves():
        values = node.value if isinstance(node, ScalarNode) and isinstance(node.value, list | tuple) else [
            getattr(node, "value", None)]  # fmt: skip
        if isinstance(node, ScalarNode) and path.endswith(".type") and isinstance(node.value, str):
            node.value = type(node.value)(node.value.removeprefix("mmaction."))  # the scope that is searched anyway
        if isinstance(node, ScalarNode) and any(isinstance(value, Symbol) for value in values):
            _, looked_up = places.get(id(node), (node, False))
            places[id(node)] = (node, looked_up or path.rpartition(".")[2] in SYMBOL_KEYS)
    for node, looked_up in places.values():
        if not looked_up:
            node.unread = f"{node.value} is imported; its value is only known after running the file"


def _content(path: Path) -> bytes:
    """Return the content of a config file."""
    if path.suffix not in CONFIG_SUFFIXES:
        raise UserError(f"{path}: only configs in Python, YAML and JSON are read ({', '.join(CONFIG_SUFFIXES)})")
    try:
        if path.exists() and not path.is_file():
            raise UserError(f"{path}: not a file")
        if path.stat().st_size > _LARGEST_FILE:
            raise UserError(f"{path}: larger than {_LARGEST_FILE // 1000} kB; no config is so long")
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None


def _parsed(path: Path, content: bytes) -> ast.Module:
    """Parse a config in Python, with the encoding that it names."""
    try:
        return ast.parse(content)
    except (SyntaxError, ValueError) as error:
        line, text = getattr(error, "lineno", None) or 1, getattr(error, "msg", None) or str(error)
        if variable := re.search(rb"\{\{ *\$(\w+).*?\}\}", b"".join(content.splitlines()[line - 1 : line])):
            text = f"{variable[0].decode()} is read from the environment: write its value"
            raise UserError(f"{path}:{line}: {text}") from None
        if "codec" in text or "null bytes" in text:
            raise UserError(f"{path}: not text in UTF-8; save it so, or name its encoding in the first line") from None
        raise UserError(f"{path}:{line}: not Python: {text.partition('; use')[0]}") from None


class _File:
    """Interpreter of one file, statement by statement; ``above`` are the files that include it."""

    def __init__(self, path: Path, source: Source, above: tuple[Path, ...]) -> None:
        self.path, self.source, self.above = path, source, (*above, path.resolve())
        self.evaluator = Evaluator(self._place)
        self.base: MappingNode | None = None

    def _place(self, node: ast.AST) -> Where:
        return Where(self.path, getattr(node, "lineno", 1))

    def read(self) -> MappingNode:
        content = _content(self.path)
        if self.path.suffix in SUFFIXES:
            return self._read_data(content)
        tree = _parsed(self.path, content)
        self._substitute(tree)
        bases = [statement for statement in tree.body if _is_base(statement)]
        for statement in bases[-1:]:  # before all others, as in mmcv; the last one is what mmcv finds
            self._read_bases(statement, tree.body[: tree.body.index(statement)])
        for other in tree.body:
            if other not in bases:
                self._statement(other)
        names = self.evaluator.names.items()
        own = {name: node for name, node in names if not name.startswith("__") and name != "_base_"}
        table = MappingNode(own, Where(self.path, 1))
        check_size(table)
        self.source.symbols[self.path.resolve()] = self.evaluator.symbols
        return table if self.base is None else self._merged(self.base, table, "")

    def _read_data(self, content: bytes) -> MappingNode:
        """Read a file in YAML or JSON, whose ``_base_`` is as that of one in Python."""
        table = check_size(read_data(self.path, content))
        assert isinstance(table, MappingNode)
        self.source.symbols[self.path.resolve()] = {}
        if (bases := table.items.pop("_base_", None)) is not None:
            self._read_listed_bases(bases)
        return table if self.base is None else self._merged(self.base, table, "")

    def _substitute(self, tree: ast.AST) -> None:
        variables = {
            "fileDirname": str(self.path.parent), "fileBasename": self.path.name,
            "fileBasenameNoExtension": self.path.stem, "fileExtname": self.path.suffix,
        }  # fmt: skip
        for count, node in enumerate(ast.walk(tree)):
            if count > _MOST_SYNTAX:
                raise UserError(f"{self.path}: more than {_MOST_SYNTAX} expressions; no config needs so many")
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                node.value = substituted(node.value, variables)

    def _read_bases(self, statement: ast.Assign | ast.AnnAssign, before: list[ast.stmt]) -> None:
        alone = Evaluator(self._place)  # the names that the list of bases may use, without the bases
        for other in before:
            if isinstance(other, ast.Assign) and isinstance(other.targets[0], ast.Name):
                alone.names[other.targets[0].id] = alone.node(other.value)
            elif isinstance(other, ast.Import | ast.ImportFrom):
                _add_symbols(alone, other)
        if statement.value is not None:
            self._read_listed_bases(alone.node(statement.value))

    def _read_listed_bases(self, node: Node) -> None:
        try:
            names = node.to_python()
        except UnreadableError as error:
            raise UserError(f"{node.where}: _base_: {error}") from None
        names = [names] if isinstance(names, str) else names
        if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
            raise UserError(f"{node.where}: _base_ must be a file name or a list of file names")
        for name in names:
            base = self._read_base(name, node.where.line)
            self.base = base if self.base is None else self._merged(self.base, base, "")
        if self.base is not None:
            self.evaluator.names["_base_"] = self.base

    def _read_base(self, name: str, line: int) -> MappingNode:
        path = self.path.parent / name
        short = Path(os.path.normpath(path))
        path = short if short.resolve() == path.resolve() else path  # .. after a symbolic link is another folder
        where = f"{self.path}:{line}"
        if "::" in name or not path.is_file():
            hint = "; copy that file beside this one and name it by its path" if "::" in name else ""
            hint = "; write its path with / instead of \\" if "\\" in name else hint
            raise UserError(f"{where}: _base_ {name} does not exist{hint}")
        if path.suffix not in CONFIG_SUFFIXES:
            raise UserError(f"{where}: _base_ {name} is not a config in Python, YAML or JSON")
        if path.resolve() in self.above:
            raise UserError(f"{where}: _base_ {name} is based on this file itself")
        done = self.source.read
        if path.resolve() not in done:
            done[path.resolve()] = _File(path, self.source, self.above).read()
        return done[path.resolve()].copy()

    def _statement(self, statement: ast.stmt) -> None:
        """Execute a statement, or add it to those that only take effect when the file is run."""
        try:
            self._execute(statement)
        except (UnreadableError, LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
            if isinstance(error, UserError) and not isinstance(error, UnreadableError):
                raise
            first, *rest = ast.unparse(statement).splitlines()
            text, unread = first + (" ..." if rest else ""), "this line only takes effect when the file is run"
            if "_base_" in changed_names(statement):
                where, hint = self._place(statement), "write the list of bases out, in one line _base_ = [...]"
                raise UserError(f"{where}: {first}: changes the bases or their values; {hint}") from None
            self.source.unread.append(ScalarNode(text, self._place(statement), unread))
            for name in changed_names(statement):
                self._mark_unread(name, self.source.unread[-1])

    def _mark_unread(self, name: str, statement: ScalarNode) -> None:
        """Mark the value of a name as unread: it is changed in a statement that only takes effect when run."""
        node = self.evaluator.names.get(name)
        if isinstance(node, SequenceNode):
            node.items.append(statement)
        elif node is not None:
            unread = f"{name} is changed in line {statement.where.line}, which only takes effect when the file is run"
            self.evaluator.names[name] = ScalarNode(name, node.where, unread)

    def _execute(self, statement: ast.stmt) -> None:
        evaluator = self.evaluator
        match statement:
            case ast.Assign(targets=targets, value=value):
                node = check_size(evaluator.node(value))
                for target in targets:
                    self._assign(target, node)
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                self._assign(target, check_size(evaluator.node(value)))
            case ast.AugAssign(target=target, op=op, value=value):
                read = ast.parse(ast.unparse(target), mode="eval").body
                for part in ast.walk(read):
                    ast.copy_location(part, statement)
                before = evaluator.strict_node(read)
                if isinstance(op, ast.Add) and isinstance(before, SequenceNode):  # in place, as in Python
                    before.items.extend(list_entries(evaluator.strict_node(value)))
                    check_size(before)
                    return
                if isinstance(op, ast.BitOr) and isinstance(before, MappingNode):
                    self._call(before, "update", [evaluator.strict_node(value)], {}, ast.unparse(target))
                    return
                total = ast.copy_location(ast.BinOp(read, op, value), statement)
                self._assign(target, check_size(evaluator.node(total)))
            case ast.Import() | ast.ImportFrom(level=0):
                _add_symbols(evaluator, statement)
            case ast.With(items=[ast.withitem(ast.Call(func=ast.Name("read_base") | ast.Attribute(attr="read_base")))]):
                for inner in statement.body:
                    self._import_base(inner)
            case ast.Expr(value=ast.Constant()) | ast.Pass() | ast.AnnAssign():
                pass
            case ast.Expr(value=ast.Call(func=ast.Attribute(value=owner, attr=method), args=args, keywords=keywords)):
                named = {word.arg: evaluator.node(word.value) for word in keywords if word.arg}
                arguments = [evaluator.node(arg) for arg in args]
                self._call(evaluator.strict_node(owner), method, arguments, named, ast.unparse(owner))
            case ast.If(test=test, body=body, orelse=other):
                for inner in body if evaluator.value(test) else other:
                    self._statement(inner)
            case ast.Delete(targets=targets):
                for target in targets:
                    self._delete(target)
            case _:
                raise UnreadableError("no assignment")

    def _assign(self, target: ast.expr, node: Node) -> None:
        evaluator, path = self.evaluator, ast.unparse(target)
        match target:
            case ast.Name(id=name) if name != "_base_":
                self._replace(evaluator.names, name, node, path)
            case ast.Subscript(value=owner, slice=index):
                self._set_item(evaluator.strict_node(owner), evaluator.value(index), node, path)
            case ast.Attribute(value=owner, attr=key):
                self._set_item(evaluator.strict_node(owner), key, node, path)
            case ast.Tuple(elts=targets) | ast.List(elts=targets):
                for inner, value in zip(targets, list_entries(node), strict=True):
                    self._assign(inner, value)
            case _:
                raise UnreadableError("no name")

    def _set_item(self, owner: Node, key: object, node: Node, path: str) -> None:
        if isinstance(owner, MappingNode):
            self._replace(owner.items, str(key), node, path)
        elif isinstance(owner, SequenceNode) and isinstance(key, int):
            self._record_replaced(path, owner.items[key], node.where)
            owner.items[key] = node
        else:
            raise UnreadableError("nothing that can be assigned to")

    def _replace(self, items: MutableMapping[str, Node], key: str, node: Node, path: str) -> None:
        if key in items:
            self._record_replaced(path, items[key], node.where)
        items[key] = node

    def _record_replaced(self, path: str, node: Node, where: Where) -> None:
        self.source.replaced.append((path, node, where))

    def _call(self, owner: Node, method: str, args: list[Node], keywords: dict[str, Node], path: str) -> None:
        """Execute ``model.update(dict(...))``, ``train_pipeline.append(...)`` and the like."""
        if isinstance(owner, MappingNode) and method in ("update", "merge_from_dict", "merge"):
            for table in [*args, MappingNode(keywords, owner.where)]:
                if not isinstance(table, MappingNode):
                    raise UnreadableError("not a dict")
                # A dict of a base is mmengine's ConfigDict, whose update() merges nested dicts.
                self._update(owner, table, path, deep=owner.where.file != self.path)
        elif isinstance(owner, MappingNode) and method == "pop":
            key = str(args[0].to_python())
            self._record_replaced(f"{path}.{key}", owner.items.pop(key), args[0].where)
        elif isinstance(owner, SequenceNode) and method == "pop":
            self._record_replaced(path, owner.items.pop(*(arg.scalar() for arg in args)), owner.where)
        elif isinstance(owner, SequenceNode) and method == "append":
            owner.items.append(args[0])
        elif isinstance(owner, SequenceNode) and method == "extend" and isinstance(args[0], SequenceNode):
            owner.items.extend(args[0].items)
        elif isinstance(owner, SequenceNode) and method == "insert":
            owner.items.insert(args[0].scalar(), args[1])
        else:
            raise UnreadableError("no such method of a config")

    def _update(self, owner: MappingNode, given: MappingNode, path: str, *, deep: bool) -> None:
        for key, node in given.items.items():
            below = owner.items.get(key)
            if deep and isinstance(below, MappingNode) and isinstance(node, MappingNode):
                self._update(below, node, f"{path}.{key}", deep=True)
            else:
                self._replace(owner.items, key, node, f"{path}.{key}")

    def _delete(self, target: ast.expr) -> None:
        match target:
            case ast.Name(id=key):
                items: MutableMapping[str, Node] = self.evaluator.names
            case ast.Subscript(value=owner, slice=index):
                node, key = self.evaluator.strict_node(owner), str(self.evaluator.value(index))
                items = node.items if isinstance(node, MappingNode) else {}
            case _:
                raise UnreadableError("no name")
        self._record_replaced(ast.unparse(target), items.pop(key), self._place(target))

    def _import_base(self, statement: ast.stmt) -> None:
        """Read ``from .._base_.default_runtime import *`` within ``with read_base():`` (1.x)."""
        match statement:
            case ast.ImportFrom(level=level, module=module, names=names) if level > 0:
                base = self._read_base(f"{'../' * (level - 1)}{(module or '').replace('.', '/')}.py", statement.lineno)
                imported = {alias.asname or alias.name: alias.name for alias in names}
                if list(imported) == ["*"]:
                    imported = {name: name for name in base.items}
                    self.evaluator.symbols |= self.source.symbols[base.where.file.resolve()]
                for name, original in imported.items():
                    if original not in base.items:
                        raise UserError(f"{self.path}:{statement.lineno}: {base.where.file} has no {original}")
                    self._replace(self.evaluator.names, name, base.items[original], name)
            case ast.Pass():
                pass
            case _:
                raise UserError(
                    f"{self.path}:{statement.lineno}: read_base() reads relative imports alone, "
                    "from .file import name; copy the file beside this one"
                )

    def _merged(self, base: MappingNode, over: MappingNode, path: str) -> MappingNode:
        """Merge ``over`` into ``base`` as mmcv and mmengine do: dicts key by key, everything else is replaced."""
        items = dict(base.items)
        for key, node in over.items.items():
            name, below = f"{path}.{key}" if path else key, items.get(key)
            if isinstance(node, MappingNode) and isinstance(below, MappingNode) and node.scalar(_DELETE) is not True:
                items[key] = self._merged(below, node, name)
                continue
            if below is not None:
                self._record_replaced(name, below, node.where)
            items[key] = self._without_mark(node, name)
        return MappingNode(items, over.where)

    def _without_mark(self, node: Node, path: str) -> Node:
        """Remove ``_delete_=True``, which has no effect after the dict of the base is replaced."""
        if not isinstance(node, MappingNode) or _DELETE not in node.items:
            return node
        copy = node.copy()
        self._record_replaced(f"{path}.{_DELETE}", copy.items.pop(_DELETE), node.where)
        return copy


def changed_names(statement: ast.stmt) -> set[str]:
    """Return the names whose values a statement would change, by assignment or by a method."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return set()
    roots: list[ast.expr] = []
    for node in ast.walk(statement):
        if isinstance(node, ast.Name | ast.Attribute | ast.Subscript) and not isinstance(node.ctx, ast.Load):
            roots.append(node)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            roots.append(node.value.func)
    names = set()
    for root in roots:
        while isinstance(root, ast.Attribute | ast.Subscript):
            root = root.value
        names |= {root.id} if isinstance(root, ast.Name) else set()
    return names


def _is_base(statement: ast.stmt) -> TypeGuard[ast.Assign | ast.AnnAssign]:
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    is_assignment = isinstance(statement, ast.Assign | ast.AnnAssign)
    return is_assignment and [target.id for target in targets if isinstance(target, ast.Name)] == ["_base_"]


def _add_symbols(evaluator: Evaluator, statement: ast.Import | ast.ImportFrom) -> None:
    """Add the names that an import defines, and the dotted names that they stand for."""
    module = f"{statement.module}." if isinstance(statement, ast.ImportFrom) else ""
    for alias in statement.names:
        name = alias.asname or (alias.name if module else alias.name.partition(".")[0])
        evaluator.symbols[name] = module + alias.name if module or alias.asname else name
