"""``vexp explain [KEY ...] [overrides]``: what a value is, what set it, and what it does in this run.

vexp explain lr_policy.warmup_iters lr.warmup=linear lr.warmup_iters=500
vexp explain eval                             a group: its option and all its keys
vexp explain lr_config.warmup_iters           by its name in mmaction2 0.x or 1.x, in SlowFast, or in short
vexp explain pipeline.train.crop.area_range   a step's argument
vexp explain experiment=r3d_18                every value of the run and where it was written, as YAML
vexp explain eval.interval run=RUN            of a run that has been made

Takes the words of vexp.train. Nothing is trained, decoded or written; lists of samples are read for the numbers.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vexp.config.compose import SavedConfig, compose_with_provenance, read_saved_config
from vexp.config.keys import Key, config_keys, parts_of, related, summary, to_yaml_text
from vexp.config.overrides import parse_command_options, run_command
from vexp.config.provenance import Provenance
from vexp.config.schema import Config
from vexp.core.errors import UserError
from vexp.tools.explain.effects import key_effects
from vexp.tools.explain.former_names import PROGRAMS, former_names
from vexp.tools.explain.lookup import Entry, Found, find, history, options_with

_MOST = 3  # keys that are explained in full where a name means several
_WIDE = 120  # characters of a terminal on which origins stand in a column of their own
_UNCUT = 10_000  # characters a line where the output is no terminal


def main() -> None:
    """The command line."""
    run_command(_main, __doc__)


def _main() -> None:
    options, words = parse_command_options(sys.argv[1:], {"run": None})
    names = [word for word in words if "=" not in word and not word.startswith("~")]
    config, origins = compose_with_provenance(
        [word for word in words if word not in names], saved=_saved(options["run"])
    )
    page = _Page(config, origins)
    if not names:
        page.whole()
    for name in names:
        page.explain(name)


def _saved(run: str | None) -> SavedConfig | None:
    return read_saved_config(Path(run).expanduser().absolute() / "config.yaml") if run is not None else None


class _Page:
    """What is printed: coloured and within the width of a terminal, plain and uncut elsewhere."""

    def __init__(self, config: Config, origins: Provenance) -> None:
        self.config = config
        self.origins = origins
        terminal = sys.stdout.isatty()
        self.console = Console(highlight=False, markup=False, emoji=False, width=None if terminal else _UNCUT)
        self.entries = list(config_keys(config))

    def explain(self, name: str) -> None:
        """One name of the command line."""
        removed = self.origins.override(name) or ""
        if removed.startswith("~"):
            self.say(f"{name}: left out of this run (command line: {removed})")
            return
        found = find(name, self.config)
        if found.note:
            self.say(f"{name}: no key; {found.note}")
        elif found.group:
            self.group(found)
        elif found.unused:
            self.unused(found.unused)
        elif len(found.entries) > _MOST:
            self.say(f"{name}: {len(found.entries)} keys of this run")
            self.values(found.entries)
        else:
            for key, value in found.entries:
                self.card(key, value)

    def card(self, key: Key, value: Any) -> None:
        """Everything about a key of this run."""
        self.heading(f"{key.path} = {to_yaml_text(value)}", key.doc)
        rows = _facts(key)
        strongest, *others = history(key, value, self.origins)
        rows.append(("set by", f"{strongest.text}  {strongest.where}"))
        rows += [("instead of", f"{setting.text}  {setting.where}") for setting in others]
        rows += [("in this run", line) for line in self.effects(key.path)]
        rows += _formerly(key)
        values = {known.path: held for known, held in self.entries}
        rows += [
            ("see also", f"{path}={to_yaml_text(values[path])}" if not parts_of(values[path]) else path)
            for path in related([known for known, _ in self.entries])[key.path]
        ]
        self.table(rows)

    def group(self, found: Found) -> None:
        """The option that a group has taken, its keys, what they do together."""
        node = _node(self.config, found.group)
        name = type(node).__name__
        option = self.origins.choices.get(found.group)
        title = f"{found.group} = {option} ({name})" if option else f"{found.group}: {name}"
        text = next((key.doc for key, _ in self.entries if key.path == found.group), "")
        if dataclasses.is_dataclass(node):
            self.heading(title, summary(type(node)) or text)
        else:
            self.heading(found.group, text)
        rows = [("chosen by", f"{s.text}  {s.where}") for s in self.origins.chosen(found.group)[::-1]]
        rows += [("in this run", line) for line in self.effects(found.group)]
        rows += [row for key, _ in self.entries if key.path == found.group for row in _formerly(key)]
        self.table(rows)
        self.values(found.entries)

    def unused(self, keys: list[Key]) -> None:
        """Keys of options that are not chosen."""
        for key in keys:
            self.heading(f"{key.path} (no key of this run)", key.doc)
            belongs = [("belongs to", ", ".join(options_with(key)))]
            self.table([*belongs, *_facts(key), ("default", key.default_text), *_formerly(key)])

    def values(self, entries: list[Entry]) -> None:
        """Keys with their values and texts, a line each."""
        rows = []
        for key, value in entries:
            where = history(key, value, self.origins)[0].where
            written = "" if where.startswith("default") else f"  <- {where}"
            rows.append((f"{key.path} = {to_yaml_text(value)}", key.doc + _unit(key) + written))
        self.table(rows)

    def whole(self) -> None:
        """The config as YAML, behind every value where it was written."""
        lines = list(self._tree(self.config, ""))
        column = min(64, max(len(text) for text, _ in lines)) if self.console.width >= _WIDE else 0
        for text, where in lines:
            self.say(Text.assemble(text.ljust(column), (f"  # {where}", "dim")) if where else text)

    def _tree(self, node: Any, path: str) -> Iterator[tuple[str, str]]:
        """(line of YAML, origin) of everything below a node."""
        for field in dataclasses.fields(node):
            key = Key(f"{path}.{field.name}" if path else field.name, type(node), field)
            value, indent = getattr(node, field.name), "  " * key.path.count(".")
            parts = parts_of(value)
            if not parts:
                text = yaml.safe_dump(value, default_flow_style=True, width=_UNCUT).removesuffix("...\n").strip()
                yield f"{indent}{field.name}: {text}", history(key, value, self.origins)[0].where
                continue
            chosen = self.origins.chosen(key.path)
            yield f"{indent}{field.name}:", f"{chosen[-1].text}, {chosen[-1].where}" if chosen else ""
            for name, part in parts.items():
                if name:
                    yield f"{indent}  {name}:", type(part).__name__
                yield from self._tree(part, f"{key.path}.{name}" if name else key.path)

    def effects(self, path: str) -> list[str]:
        try:
            return key_effects(self.config, path)
        except UserError as error:
            return [f"cannot be told: {error}"]

    def heading(self, title: str, doc: str) -> None:
        self.say(Text(title, "bold"))
        if doc:
            self.say(f"  {doc}")

    def table(self, rows: list[tuple[str, str]]) -> None:
        """Two columns; a label that repeats is said once."""
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="cyan", overflow="fold")
        grid.add_column(overflow="fold")
        said = ""
        for label, text in rows:
            grid.add_row(f"  {label if label != said else ''}", text)
            said = label
        if rows:
            self.say(grid)
        self.say("")

    def say(self, what: Table | Text | str) -> None:
        """Lines without blanks at their ends."""
        with self.console.capture() as capture:
            self.console.print(what)
        for line in capture.get().splitlines():
            print(line.rstrip())


def _node(config: Config, path: str) -> Any:
    node: Any = config
    for part in path.split("."):
        node = node[part] if isinstance(node, dict) else getattr(node, part)
    return node


def _facts(key: Key) -> list[tuple[str, str]]:
    """Type, unit and range."""
    rows = [("type", key.type_text), ("unit", key.unit)]
    return [*rows, ("range", key.range_text)] if key.range_text else rows


def _formerly(key: Key) -> list[tuple[str, str]]:
    return [
        ("formerly", f"{names} ({program})")
        for names, program in zip(former_names(key), PROGRAMS, strict=True)
        if names
    ]


def _unit(key: Key) -> str:
    return f" [{key.unit}]" if key.unit != "none" else ""


if __name__ == "__main__":
    main()
