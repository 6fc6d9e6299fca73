"""Where a value of the composed config was written: a word of the command line, or a line of a YAML file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

_WORD = re.compile(r"^(?:~|\+{1,2})?(?P<key>[^=~+\s][^=]*?)(?:=.*)?$", re.DOTALL)
_PACKAGE = re.compile(r"^#\s*@package\s+(\S+)", re.MULTILINE)


def word_key(word: str) -> str:
    """The key of an override: ``optimizer.lr`` of ``++optimizer.lr=0.1``."""
    match = _WORD.match(word)
    return match["key"] if match else word


@dataclass(slots=True)
class Origins:
    """The words and files that one config was composed from, weakest first.

    ``choices``: group -> chosen option, as Hydra reports them; ``folders``: where options are looked for.
    """

    words: Sequence[str] = ()
    choices: Mapping[str, str | None] = field(default_factory=dict)
    folders: Sequence[Path] = ()
    saved: Path | None = None  # config.yaml of a run that is repeated

    def of(self, key: str) -> str:
        """`` (command line)`` or `` (file:line)``; empty where only a default can have set it."""
        word = self.word(key)
        if word is not None:
            return " (command line)" if word_key(word) == key else f" (command line: {word})"
        for path, package in reversed(self._files()):
            line = _line_of(path, key, package)
            if line is not None:
                return f" ({shown(path)}:{line})"
        return ""

    def word(self, key: str) -> str | None:
        """The last word that sets ``key`` or something that holds it."""
        for word in reversed(self.words):
            named = word_key(word)
            if key == named or key.startswith((named + ".", named + "[")):
                return word
        return None

    def _files(self) -> list[tuple[Path, str]]:
        """(file, package) of the options in use, weakest first."""
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


def locate(folders: Sequence[Path], config_name: str, key: str) -> str:
    """`` (file:line)`` of ``key`` in the config file that Hydra calls ``config_name``; at least the file."""
    for folder in folders:
        path = folder / f"{config_name}.yaml"
        if path.is_file():
            group = config_name.rpartition("/")[0].replace("/", ".")
            line = _line_of(path, key, _package(path, group)) or _first_mention(path, key)
            return f" ({shown(path)}:{line})" if line else f" ({shown(path)})"
    return f" (in {config_name})"


def _package(path: Path, default: str) -> str:
    header = _PACKAGE.search(path.read_text(encoding="utf-8"))
    if header is None:
        return default
    return "" if header[1] == "_global_" else header[1]


def _line_of(path: Path, key: str, package: str) -> int | None:
    """The line on which ``key`` stands in a file whose content belongs to ``package``."""
    if package:
        if not key.startswith(package + "."):
            return None
        key = key[len(package) + 1 :]
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"))
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
    return line


def _first_mention(path: Path, key: str) -> int | None:
    leaf = re.compile(rf"\b{re.escape(key.rpartition('.')[2])}\b\s*:")
    lines = path.read_text(encoding="utf-8").splitlines()
    return next((n for n, text in enumerate(lines, 1) if leaf.search(text)), None)


def shown(path: Path) -> str:
    """A path as a person in the current folder would write it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
