"""Where a value of the composed config was written: a word of the command line, or a line of a YAML file."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

_WORD = re.compile(r"^(?:~|\+{1,2})?(?P<key>[^=~+\s][^=]*?)(?:=.*)?$", re.DOTALL)
_PACKAGE = re.compile(r"^#\s*@package\s+(\S+)", re.MULTILINE)


def word_key(word: str) -> str:
    """The key of an override: ``optimizer.lr`` of ``++optimizer.lr=0.1``."""
    match = _WORD.match(word)
    return match["key"] if match else word


@dataclass(frozen=True, slots=True)
class ConfigEntry:
    """A value as it stands (``1e-4``, ``[4, 8]``) and where: ``FILE:LINE`` or ``command line``."""

    text: str
    where: str


@dataclass(slots=True)
class Provenance:
    """The words and files that one config was composed from, weakest first.

    ``choices``: group -> chosen option, as Hydra reports them; ``folders``: where options are looked for; ``files``:
    (file, package of its content) in the order of composition, where that was asked for (``vexp.cli.explain``), otherwise
    told from ``choices``.
    """

    words: Sequence[str] = ()
    choices: Mapping[str, str | None] = field(default_factory=dict)
    folders: Sequence[Path] = ()
    saved: Path | None = None  # config.yaml of a run that is repeated
    files: Sequence[tuple[Path, str]] = ()

    def of(self, key: str) -> str:
        """`` (command line)`` or `` (file:line)``; empty where only a default can have set it."""
        word = self.word(key)
        if word is not None:
            return " (command line)" if word_key(word) == key else f" (command line: {word})"
        for path, package in reversed(self._files()):
            line = _line_of(path, key, package)
            if line is not None:
                return f" ({display_path(path)}:{line})"
        return ""

    def settings(self, key: str) -> list[ConfigEntry]:
        """Every place that sets ``key``, weakest first: each overrides those before it."""
        found = []
        for path, package in self._files():
            placed = _place_of(path, key, package)
            if placed is not None:
                found.append(ConfigEntry(placed[1], f"{display_path(path)}:{placed[0]}"))
        for word in self.words:
            named, _, text = word.partition("=")
            if word_key(word) not in self.choices and _holds(word_key(word), key):
                found.append(ConfigEntry(text if not named.startswith("~") else "left out", f"command line: {word}"))
        return found

    def chosen(self, group: str) -> list[ConfigEntry]:
        """Every place that chooses the option of a group, weakest first."""
        choice = re.compile(rf"^\s*- (?:override )?/?{re.escape(group)}\s*:\s*(?P<option>\S+)")
        found = []
        for path in dict.fromkeys(path for path, _ in self._files()):
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                if match := choice.match(line):
                    found.append(ConfigEntry(match["option"], f"{display_path(path)}:{number}"))
        for word in self.words:
            if word_key(word) == group and "=" in word:
                found.append(ConfigEntry(word.partition("=")[2], f"command line: {word}"))
        return found

    def word(self, key: str) -> str | None:
        """The last word that sets ``key`` or something that holds it."""
        for word in reversed(self.words):
            if _holds(word_key(word), key):
                return word
        return None

    def _files(self) -> Sequence[tuple[Path, str]]:
        """(file, package) of the options in use, weakest first."""
        if self.files:
            return self.files
        found = [(folder / "train.yaml", "") for folder in self.folders[:1]]
        if self.saved is not None:
            return [(self.saved, "")]
        for choice, option in self.choices.items():
            group, _, package = choice.partition("@")
            for folder in self.folders:
                path = folder / group / f"{option}.yaml"
                if option is not None and path.is_file():
                    found.append((path, _package(path, package or group.replace("/", "."))))
        late = {"experiment": 1, "debug": 2}  # composed last, in this order, and so the strongest
        return sorted(found, key=lambda entry: late.get(entry[0].parent.name, 0))


def composed_files(defaults: Iterable[tuple[str, str]], folders: Sequence[Path]) -> list[tuple[Path, str]]:
    """The files of a defaults list of (name of a config, package), where they are files of ``folders``."""
    places = [(folder / f"{name}.yaml", package) for name, package in defaults for folder in folders]
    return [(path, package) for path, package in places if path.is_file()]


def _holds(named: str, key: str) -> bool:
    return key == named or key.startswith((named + ".", named + "["))


def locate(folders: Sequence[Path], config_name: str, key: str) -> str:
    """`` (file:line)`` of ``key`` in the config file that Hydra calls ``config_name``; at least the file."""
    for folder in folders:
        path = folder / f"{config_name}.yaml"
        if path.is_file():
            group = config_name.rpartition("/")[0].replace("/", ".")
            line = _line_of(path, key, _package(path, group)) or _first_mention(path, key)
            return f" ({display_path(path)}:{line})" if line else f" ({display_path(path)})"
    return f" (in {config_name})"


def _package(path: Path, default: str) -> str:
    header = _PACKAGE.search(path.read_text(encoding="utf-8"))
    if header is None:
        return default
    return "" if header[1] == "_global_" else header[1]


def _line_of(path: Path, key: str, package: str) -> int | None:
    """The line on which ``key`` stands in a file whose content belongs to ``package``."""
    placed = _place_of(path, key, package)
    return None if placed is None else placed[0]


def _place_of(path: Path, key: str, package: str) -> tuple[int, str] | None:
    """The line on which ``key`` stands in a file whose content belongs to ``package``, and its value as it stands."""
    if package:
        if not key.startswith(package + "."):
            return None
        key = key[len(package) + 1 :]
    try:
        text, node = _parsed(path, path.stat().st_mtime_ns)
    except (OSError, yaml.YAMLError):
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
    """The text of a file and its YAML, read anew when the file has been ``modified``."""
    text = path.read_text(encoding="utf-8")
    return text, yaml.compose(text)


def _first_mention(path: Path, key: str) -> int | None:
    leaf = re.compile(rf"\b{re.escape(key.rpartition('.')[2])}\b\s*:")
    lines = path.read_text(encoding="utf-8").splitlines()
    return next((n for n, text in enumerate(lines, 1) if leaf.search(text)), None)


def display_path(path: Path) -> str:
    """A path as a person in the current folder would write it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
