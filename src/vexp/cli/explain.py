"""Explain config keys: the value, where it was set, its type and range, and its effect on this run.

KEY is a key (``lr_policy.warmup_iters``), its last part (``warmup_iters``), a group (``eval``), an argument of a
transform (``pipeline.train.crop.area_range``), or the name of a setting in mmaction2 or SlowFast
(``lr_config.warmup_iters``). Without KEY the whole config is printed as YAML, with the origin of every value. Nothing
is trained, decoded or written; annotation files are read for the numbers.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vexp.cli.arguments import CommandLine
from vexp.config.compose import compose_with_provenance
from vexp.config.saved import read_saved_config
from vexp.config.keys import Key, config_keys, parts_of, related, summary, to_yaml_text
from vexp.config.provenance import Provenance
from vexp.config.schema import Config
from vexp.core.errors import UserError
from vexp.core.fields import ValidatedConfig, option
from vexp.tools.explain.effects import key_effects
from vexp.tools.explain.former_names import PROGRAMS, former_names
from vexp.tools.explain.lookup import Entry, Found, find, history, options_with

_MAX_CARDS = 3  # keys that are explained in full if a name matches several
_WIDE = 120  # characters of a terminal on which origins are printed in a column of their own
_UNLIMITED = 10_000  # characters per line if the output is not a terminal


@dataclass(kw_only=True, slots=True)
class ExplainOptions(ValidatedConfig):
    run: Path | None = option(None, "A run folder whose saved config is explained.")


COMMAND = CommandLine(
    usage=["explain [KEY ...] [overrides] [run=RUN]"],
    options=ExplainOptions,
    examples=[
        "explain lr_policy.warmup_iters lr.warmup=linear lr.warmup_iters=500",
        "explain experiment=r3d_18",
        "explain eval.interval run=RUN",
    ],
)


def main(argv: Sequence[str]) -> int:
    arguments = COMMAND.parse(argv)
    names = [argument for argument in arguments.rest if "=" not in argument and not argument.startswith("~")]
    overrides = [argument for argument in arguments.rest if argument not in names]
    run = arguments.options.run
    saved = read_saved_config(run / "config.yaml") if run is not None else None
    config, provenance = compose_with_provenance(overrides, saved=saved, config_dirs=arguments.config_dirs)
    page = _Page(config, provenance)
    if not names:
        page.print_config()
    for name in names:
        page.explain(name)
    return 0


class _Page:
    """The output: colored and wrapped to the width of a terminal, plain and with unlimited lines elsewhere."""

    def __init__(self, config: Config, provenance: Provenance) -> None:
        self.config = config
        self.provenance = provenance
        terminal = sys.stdout.isatty()
        self.console = Console(highlight=False, markup=False, emoji=False, width=None if terminal else _UNLIMITED)
        self.entries = list(config_keys(config))

    def explain(self, name: str) -> None:
        """Explain one name of the command line."""
        removed = self.provenance.override(name) or ""
        if removed.startswith("~"):
            self.print(f"{name}: left out of this run (command line: {removed})")
            return
        match = find(name, self.config)
        if match.note:
            self.print(f"{name}: no key; {match.note}")
        elif match.group:
            self.group(match)
        elif match.unused:
            self.unused(match.unused)
        elif len(match.entries) > _MAX_CARDS:
            self.print(f"{name}: {len(match.entries)} keys of this run")
            self.values(match.entries)
        else:
            for key, value in match.entries:
                self.card(key, value)

    def card(self, key: Key, value: Any) -> None:
        """Print everything about a key of this run."""
        self.heading(f"{key.path} = {to_yaml_text(value)}", key.doc)
        rows = _facts(key)
        setting, *overridden = history(key, value, self.provenance)
        rows.append(("set by", f"{setting.text}  {setting.where}"))
        rows += [("instead of", f"{other.text}  {other.where}") for other in overridden]
        rows += [("in this run", line) for line in self.effects(key.path)]
        rows += _formerly(key)
        values = {known.path: known_value for known, known_value in self.entries}
        rows += [
            ("see also", f"{path}={to_yaml_text(values[path])}" if not parts_of(values[path]) else path)
            for path in related([known for known, _ in self.entries])[key.path]
        ]
        self.table(rows)

    def group(self, match: Found) -> None:
        """Print the option that a group has, its effects and its keys."""
        node = _node(self.config, match.group)
        name = type(node).__name__
        option = self.provenance.choices.get(match.group)
        title = f"{match.group} = {option} ({name})" if option else f"{match.group}: {name}"
        text = next((key.doc for key, _ in self.entries if key.path == match.group), "")
        if dataclasses.is_dataclass(node):
            self.heading(title, summary(type(node)) or text)
        else:
            self.heading(match.group, text)
        rows = [("chosen by", f"{s.text}  {s.where}") for s in self.provenance.chosen(match.group)[::-1]]
        rows += [("in this run", line) for line in self.effects(match.group)]
        rows += [row for key, _ in self.entries if key.path == match.group for row in _formerly(key)]
        self.table(rows)
        self.values(match.entries)

    def unused(self, keys: list[Key]) -> None:
        """Print keys of options that are not chosen."""
        for key in keys:
            self.heading(f"{key.path} (no key of this run)", key.doc)
            owners = [("belongs to", ", ".join(options_with(key)))]
            self.table([*owners, *_facts(key), ("default", key.default_text), *_formerly(key)])

    def values(self, entries: list[Entry]) -> None:
        """Print keys with their values and documentation, one line each."""
        rows = []
        for key, value in entries:
            where = history(key, value, self.provenance)[0].where
            written = "" if where.startswith("default") else f"  <- {where}"
            rows.append((f"{key.path} = {to_yaml_text(value)}", key.doc + _unit(key) + written))
        self.table(rows)

    def print_config(self) -> None:
        """Print the config as YAML, with the origin of every value."""
        lines = list(self._tree(self.config, ""))
        column = min(64, max(len(text) for text, _ in lines)) if self.console.width >= _WIDE else 0
        for text, where in lines:
            self.print(Text.assemble(text.ljust(column), (f"  # {where}", "dim")) if where else text)

    def _tree(self, node: Any, path: str) -> Iterator[tuple[str, str]]:
        """Yield (line of YAML, origin) of everything below a node."""
        for field in dataclasses.fields(node):
            key = Key(f"{path}.{field.name}" if path else field.name, type(node), field)
            value, indent = getattr(node, field.name), "  " * key.path.count(".")
            parts = parts_of(value)
            if not parts:
                text = yaml.safe_dump(value, default_flow_style=True, width=_UNLIMITED).removesuffix("...\n").strip()
                yield f"{indent}{field.name}: {text}", history(key, value, self.provenance)[0].where
                continue
            chosen = self.provenance.chosen(key.path)
            yield f"{indent}{field.name}:", f"{chosen[-1].text}, {chosen[-1].where}" if chosen else ""
            for name, part in parts.items():
                if name:
                    yield f"{indent}  {name}:", type(part).__name__
                yield from self._tree(part, f"{key.path}.{name}" if name else key.path)

    def effects(self, path: str) -> list[str]:
        try:
            return key_effects(self.config, path)
        except UserError as error:
            return [f"unknown: {error}"]

    def heading(self, title: str, doc: str) -> None:
        self.print(Text(title, "bold"))
        if doc:
            self.print(f"  {doc}")

    def table(self, rows: list[tuple[str, str]]) -> None:
        """Print two columns; a repeated label is printed once."""
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="cyan", overflow="fold")
        grid.add_column(overflow="fold")
        previous = ""
        for label, text in rows:
            grid.add_row(f"  {label if label != previous else ''}", text)
            previous = label
        if rows:
            self.print(grid)
        self.print("")

    def print(self, what: Table | Text | str) -> None:
        """Print without trailing blanks."""
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
