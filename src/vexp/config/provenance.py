"""Where each value of the composed config was written: in an override, or on a line of a YAML file."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

_OVERRIDE = re.compile(r"^(?:~|\+{1,2})?(?P<key>[^=~+\s][^=]*?)(?:=.*)?$", re.DOTALL)
#: The origin of a value that an override sets.
COMMAND_LINE = "command line"
_PACKAGE = re.compile(r"^#\s*@package\s+(\S+)", re.MULTILINE)


def override_key(override: str) -> str:
    """Return the key of an override: ``optimizer.lr`` of ``++optimizer.lr=0.1``."""
    match = _OVERRIDE.match(override)
    return match["key"] if match else override


@dataclass(frozen=True, slots=True)
class ConfigEntry:
    """A value as it is written (``1e-4``, ``[4, 8]``) and where: ``FILE:LINE`` or ``command line: OVERRIDE``."""

    text: str
    where: str


@dataclass(slots=True)
class Provenance:
    """The overrides and files that a config was composed from, weakest first.

    Attributes:
        overrides: As given on the command line.
        choices: Group -> chosen option, as Hydra reports them.
        folders: Where options are looked for, the shipped folder first.
        saved: ``config.yaml`` of the run whose values are reused; None for a config composed of options.
        files: (File, package of its content) in the order of composition, if it was traced (for ``vexp explain``);
            otherwise it is derived from ``choices``.
    """

    overrides: Sequence[str] = ()
    choices: Mapping[str, str | None] = field(default_factory=dict)
    folders: Sequence[Path] = ()
    saved: Path | None = None
    files: Sequence[tuple[Path, str]] = ()

    def describe(self, key: str) -> str:
        """``command line`` or ``FILE:LINE``, where ``key`` was set last; empty if only a default can have set it."""
        override = self.override(key)
        if override is not None:
            return COMMAND_LINE if override_key(override) == key else f"{COMMAND_LINE}: {override}"
        for path, package in reversed(self._files()):
            line = _line_of(path, key, package)
            if line is not None:
                return f"{display_path(path)}:{line}"
        return display_path(self.saved) if self.saved is not None and not self._files() else ""

    def settings(self, key: str) -> list[ConfigEntry]:
        """List every place that sets ``key``, weakest first: each overrides those before it."""
        entries = []
        for path, package in self._files():
            entry = _entry_of(path, key, package)
            if entry is not None:
                entries.append(ConfigEntry(entry[1], f"{display_path(path)}:{entry[0]}"))
        for override in self.overrides:
            name, _, text = override.partition("=")
            if override_key(override) not in self.choices and _holds(override_key(override), key):
                text = "left out" if name.startswith("~") else text
                entries.append(ConfigEntry(text, f"{COMMAND_LINE}: {override}"))
        return entries

    def chosen(self, group: str) -> list[ConfigEntry]:
        """List every place that chooses the option of a group, weakest first."""
        choice = re.compile(rf"^\s*- (?:override )?/?{re.escape(group)}\s*:\s*(?P<option>\S+)")
        entries = []
        for path in dict.fromkeys(path for path, _ in self._files()):
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                if match := choice.match(line):
                    entries.append(ConfigEntry(match["option"], f"{display_path(path)}:{number}"))
        for override in self.overrides:
            if override_key(override) == group and "=" in override:
                entries.append(ConfigEntry(override.partition("=")[2], f"{COMMAND_LINE}: {override}"))
        return entries

    def override(self, key: str) -> str | None:
        """Return the last override that sets ``key`` or a node that holds it."""
        return next((text for text in reversed(self.overrides) if _holds(override_key(text), key)), None)

    def _files(self) -> Sequence[tuple[Path, str]]:
        """(File, package) of the options in use, weakest first."""
        if self.files:
            return self.files
        if self.saved is not None:
            return [(self.saved, "")] if self.saved.suffix == ".yaml" else []  # a checkpoint has no lines
        files = [(folder / "train.yaml", "") for folder in self.folders[:1]]
        for choice, option in self.choices.items():
            group, _, package = choice.partition("@")
            for folder in self.folders:
                path = folder / group / f"{option}.yaml"
                if option is not None and os.path.isfile(path):
                    files.append((path, _package(path, package or group.replace("/", "."))))
        late = {"experiment": 1, "debug": 2}  # composed last, in this order, and so the strongest
        return sorted(files, key=lambda entry: late.get(entry[0].parent.name, 0))


def composed_files(defaults: Iterable[tuple[str, str]], folders: Sequence[Path]) -> list[tuple[Path, str]]:
    """Return (file, package) for every (config name, package) of a defaults list that is a file of ``folders``."""
    places = [(folder / f"{name}.yaml", package) for name, package in defaults for folder in folders]
    return [(path, package) for path, package in places if os.path.isfile(path)]


def _holds(path: str, key: str) -> bool:
    return key == path or key.startswith((path + ".", path + "["))


def locate(folders: Sequence[Path], config_name: str, key: str) -> str:
    """``FILE:LINE`` of ``key`` in the config file that Hydra calls ``config_name``, or only the file."""
    for folder in folders:
        path = folder / f"{config_name}.yaml"
        if os.path.isfile(path):
            group = config_name.rpartition("/")[0].replace("/", ".")
            line = _line_of(path, key, _package(path, group)) or _first_mention(path, key)
            return f"{display_path(path)}:{line}" if line else display_path(path)
    return f"in {config_name}"


def _package(path: Path, default: str) -> str:
    header = _PACKAGE.search(path.read_text(encoding="utf-8"))
    if header is None:
        return default
    return "" if header[1] == "_global_" else header[1]


def _line_of(path: Path, key: str, package: str) -> int | None:
    """The line of ``key`` in a file whose content belongs to ``package``; None if it is not there."""
    entry = _entry_of(path, key, package)
    return None if entry is None else entry[0]


def _entry_of(path: Path, key: str, package: str) -> tuple[int, str] | None:
    """(Line of ``key``, its value as written) in a file whose content belongs to ``package``; None if not there."""
    if package:
        if not key.startswith(package + "."):
            return None
        key = key[len(package) + 1 :]
    try:
        text, node = _parsed(path, path.stat().st_mtime_ns)
    except (OSError, ValueError, yaml.YAMLError):  # ValueError: not UTF-8
        return None
    line: int | None = None
    for part in re.split(r"[.\[]", key):
        if not isinstance(node, yaml.MappingNode):
            break  # inside a list: the line of the list
        entry = next(((k, v) for k, v in node.value if k.value == part), None)
        if entry is None:
            return None
        line, node = entry[0].start_mark.line + 1, entry[1]
    if line is None or node is None:
        return None
    return line, " ".join(text[node.start_mark.index : node.end_mark.index].split())


@functools.lru_cache(maxsize=256)
def _parsed(path: Path, modified: int) -> tuple[str, yaml.Node | None]:
    """Read the text of a file and its YAML nodes; ``modified``, its modification time, is a part of the cache's key."""
    text = path.read_text(encoding="utf-8")
    return text, yaml.compose(text)


def _first_mention(path: Path, key: str) -> int | None:
    leaf = re.compile(rf"\b{re.escape(key.rpartition('.')[2])}\b\s*:")
    lines = path.read_text(encoding="utf-8").splitlines()
    return next((n for n, text in enumerate(lines, 1) if leaf.search(text)), None)


def display_path(path: Path) -> str:
    """A path relative to the current folder, if it is below it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
