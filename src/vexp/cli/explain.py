"""Explain config keys: the value, where it was set, its type and range, and its effect on this run.

KEY is a key (``lr_policy.warmup_iters``), its last part (``warmup_iters``), a group (``eval``), an argument of a
transform (``pipeline.train.crop.area_range``), or the name of a setting in mmaction2 or SlowFast
(``lr_config.warmup_iters``). Without KEY the whole config is printed as YAML, with the origin of every value. Nothing
is trained, decoded or written; annotation files are read for the numbers.

Usage: vexp explain [KEY ...] [overrides] [run=RUN]
       vexp explain --yaml [overrides] [run=RUN]

Examples:
  vexp explain lr_policy.warmup_iters lr.warmup=linear lr.warmup_iters=500
  vexp explain eval.interval run=RUN
  vexp explain --yaml optimizer=sgd > my_conf/experiment/mine.yaml
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
from vexp.config.keys import Key, config_keys, parts_of, related, summary, to_yaml_text
from vexp.config.provenance import Provenance
from vexp.config.saved import read_saved_config
from vexp.config.schema import Config
from vexp.core.errors import ConfigError, UserError
from vexp.core.fields import ValidatedConfig, option
from vexp.tools.explain.config_file import experiment_file
from vexp.tools.explain.effects import key_effects
from vexp.tools.explain.former_names import PROGRAMS, former_names
from vexp.tools.explain.lookup import Entry, Found, find, history, options_with

Row = tuple[str, str]  # (label, text)

_MAX_CARDS = 3  # keys that are explained in full if a name matches several
_WIDE = 120  # characters of a terminal on which origins are printed in a column of their own
_UNLIMITED = 10_000  # characters per line if the output is not a terminal


@dataclass(kw_only=True, slots=True)
class _Options(ValidatedConfig):
    run: Path | None = option(None, "A run folder whose saved config is explained.")
    yaml: bool = option(False, "Print the whole config as an experiment file, with a comment on every key.")


COMMAND = CommandLine(__doc__, _Options)


def main(argv: Sequence[str]) -> int:
    """Run the command; return its exit status."""
    arguments = COMMAND.parse(argv)
    names = [argument for argument in arguments.rest if "=" not in argument and not argument.startswith("~")]
    overrides = [argument for argument in arguments.rest if argument not in names]
    run = arguments.options.run
    saved = read_saved_config(run / "config.yaml") if run is not None else None
    config, provenance = compose_with_provenance(overrides, saved=saved, config_dirs=arguments.config_dirs)
    if arguments.options.yaml:
        if names:
            raise ConfigError("prints the whole config; leave the names of keys out", key="--yaml", value=names)
        print(experiment_file(config, provenance), end="")
        return 0
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
        width = None if sys.stdout.isatty() else _UNLIMITED
        self.console = Console(highlight=False, markup=False, emoji=False, width=width)
        self.keys = {key.path: key for key, _ in config_keys(config)}
        self.values = {key.path: value for key, value in config_keys(config)}

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
            self.print_group(match)
        elif match.unused:
            for key in match.unused:  # of options that are not chosen
                rows = [("belongs to", ", ".join(options_with(key))), *_facts(key), ("default", key.default_text)]
                self.print_card(f"{key.path} (no key of this run)", key.doc, [*rows, *_formerly(key)])
        elif len(match.entries) > _MAX_CARDS:
            self.print(f"{name}: {len(match.entries)} keys of this run")
            self.print_values(match.entries)
        else:
            for key, value in match.entries:
                self.print_key(key, value)

    def print_key(self, key: Key, value: Any) -> None:
        """Print everything about a key of this run."""
        setting, *overridden = history(key, value, self.provenance)
        rows = [*_facts(key), ("set by", f"{setting.text}  {setting.where}")]
        rows += [("instead of", f"{other.text}  {other.where}") for other in overridden]
        rows += [*self.effects(key.path), *_formerly(key)]
        for path in related(list(self.keys.values()))[key.path]:
            other = self.values[path]
            rows.append(("see also", path if parts_of(other) else f"{path}={to_yaml_text(other)}"))
        self.print_card(f"{key.path} = {to_yaml_text(value)}", key.doc, rows)

    def print_group(self, match: Found) -> None:
        """Print the option that a group has, its effects and its keys."""
        node: Any = self.config
        for part in match.group.split("."):
            node = node[part] if isinstance(node, dict) else getattr(node, part)
        key = self.keys.get(match.group)
        title, doc = match.group, key.doc if key else ""
        if dataclasses.is_dataclass(node):
            option = self.provenance.choices.get(match.group)
            name = type(node).__name__
            title, doc = f"{title} = {option} ({name})" if option else f"{title}: {name}", summary(type(node)) or doc
        rows = [("chosen by", f"{s.text}  {s.where}") for s in self.provenance.chosen(match.group)[::-1]]
        rows += [*self.effects(match.group), *(_formerly(key) if key else [])]
        self.print_card(title, doc, rows)
        self.print_values(match.entries)

    def print_values(self, entries: list[Entry]) -> None:
        """Print keys with their values and documentation, one line each."""
        rows = []
        for key, value in entries:
            where = history(key, value, self.provenance)[0].where
            written = "" if where.startswith("default") else f"  <- {where}"
            unit = f" [{key.unit}]" if key.unit != "none" else ""
            rows.append((f"{key.path} = {to_yaml_text(value)}", key.doc + unit + written))
        self.print_table(rows)

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

    def effects(self, path: str) -> list[Row]:
        """Return what a key does in this run."""
        try:
            return [("in this run", line) for line in key_effects(self.config, path)]
        except UserError as error:
            return [("in this run", f"unknown: {error}")]

    def print_card(self, title: str, doc: str, rows: list[Row]) -> None:
        """Print a title, its documentation and a table."""
        self.print(Text(title, "bold"))
        if doc:
            self.print(f"  {doc}")
        self.print_table(rows)

    def print_table(self, rows: list[Row]) -> None:
        """Print two columns; a repeated label is printed once."""
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="cyan", overflow="fold")
        grid.add_column(overflow="fold")
        for number, (label, text) in enumerate(rows):
            grid.add_row(f"  {'' if number and label == rows[number - 1][0] else label}", text)
        if rows:
            self.print(grid)
        self.print("")

    def print(self, what: Table | Text | str) -> None:
        """Print without trailing blanks."""
        with self.console.capture() as capture:
            self.console.print(what)
        for line in capture.get().splitlines():
            print(line.rstrip())


def _facts(key: Key) -> list[Row]:
    """Type, unit and range."""
    rows = [("type", key.type_text), ("unit", key.unit)]
    return [*rows, ("range", key.range_text)] if key.range_text else rows


def _formerly(key: Key) -> list[Row]:
    """Names of the key in other programs."""
    names = zip(former_names(key), PROGRAMS, strict=True)
    return [("formerly", f"{name} ({program})") for name, program in names if name]
