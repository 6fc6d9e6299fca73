"""The candidates that complete a command line of ``vexp``; the script of ``vexp completion`` runs this file.

It is run by its path and imports neither vexp nor any other package, so that a key press takes less than a fifth of a
second. What it offers is read from the shipped options, the user's folders of options (VEXP_CONFIG_PATH,
``--config-dir``), the schema of the config, and the sources of the commands.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

Candidate = tuple[str, str]  # (word, its help)

_CLI = Path(__file__).resolve().parent
_OPTION = re.compile(r"^    (\w+): (.+?) = option\((?:.*?)\"(.*?)\"", re.MULTILINE | re.DOTALL)
_FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
_STEP = re.compile(r"/transform@(\w+)\.(\w+): (\w+)")
_ALIASES = {"lr": "lr_policy", "nproc": "dist.nproc"}
_BESIDE = {
    "experiment": "Complete settings.",
    "debug": "Settings for short test runs.",
    "hydra/launcher": "How the jobs of a sweep are run.",
    "hydra/sweeper": "How a sweep chooses its jobs.",
}


def candidates(line: str) -> list[Candidate]:
    """Return what can follow at the end of a command line, words that continue its last one."""
    *before, word = line.split()[1:] + ([""] if line[-1:].isspace() else [])
    word = word.lstrip("'\"")
    if not before:
        found = [(name, text) for commands in _table()["GROUPS"].values() for name, text in commands.items()]
        return _matching([*found, ("--help", "All commands."), ("--version", "The version.")], word)
    source = _source(before[0])
    own = [(name, kind, text) for name, kind, text in _OPTION.findall(source)]
    if word.startswith("-"):
        flags = [(f"--{name}", text) for name, kind, text in own if kind == "bool"]
        written = [(flag, "") for flag in _FLAG.findall(source) if flag not in dict(flags)]
        composes = [("--config-dir", "Folder with your own config groups.")] if "overrides" in source else []
        return _matching(dict([*written, *composes, *flags, ("--help", "")]).items(), word)
    names = [(f"{name}=", text) for name, kind, text in own if kind != "bool"]
    if "overrides" not in source.partition('"""\n')[0]:
        return _matching(names, word)
    return _matching(names, word) + _Overrides(before).candidates(word)


class _Overrides:
    """The overrides that can follow the words ``before``."""

    def __init__(self, before: list[str]) -> None:
        package = _CLI.parent
        shipped = next(path for path in (package / "conf", package.parents[1] / "conf") if path.is_dir())
        self.folders = [shipped, *map(Path, _config_dirs(before))]
        self.chosen = dict(word.lstrip("+").partition("=")[::2] for word in before if "=" in word)
        self.chosen |= {_ALIASES[key]: value for key, value in self.chosen.items() if key in _ALIASES}
        self.schema = json.loads((shipped / "config.schema.json").read_text(encoding="utf-8"))

    def candidates(self, word: str) -> list[Candidate]:
        """Return the overrides that begin with ``word``."""
        sign = word[: len(word) - len(word.lstrip("+~"))]
        key, equals, value = word[len(sign) :].partition("=")
        if equals:
            start = value[: value.rfind(",") + 1]  # of a sweep
            return _matching(((f"{sign}{key}={start}{each}", text) for each, text in self.values(key)), word)
        parent, dot, _ = key.rpartition(".")
        end = "=." if sign == "~" else ""  # a deletion takes no value
        found = [(f"{sign}{parent}{dot}{name.rstrip(end)}", text) for name, text in self.keys(parent)]
        return _matching(found, word)

    def keys(self, parent: str) -> Iterator[Candidate]:
        """Yield the names below a dotted key, with = if they take a value and . if they hold keys."""
        for name, node in self.children(parent).items():
            text = self.resolved(node).get("description", "")
            path = f"{parent}.{name}" if parent else name
            is_group = not parent and any((folder / name).is_dir() for folder in self.folders)
            if is_group or not self.children(path):
                yield f"{name}=", text
            if self.children(path):
                yield f"{name}.", text
        if not parent:
            yield from ((f"{name}=", text) for name, text in _BESIDE.items())
            yield from ((f"{alias}=", f"Short for {key}.") for alias, key in _ALIASES.items())
            yield from ((f"transform@pipeline.{split}.", "Replaces a transform.") for split in ("train", "val", "test"))

    def values(self, key: str) -> Iterator[Candidate]:
        """Yield the values that a key can have, or the options of a group."""
        group = _ALIASES.get(key, key).partition("@")[0]
        files = {path.stem: path for folder in self.folders for path in sorted((folder / group).glob("*.yaml"))}
        for name, path in files.items():
            head = [line for line in path.read_text(encoding="utf-8").splitlines()[:3] if line.startswith("# ")]
            yield name, next((line[2:].strip() for line in head if not line.startswith(("# @", "# yaml-"))), "")
        if files:
            return
        node = self.node(_ALIASES.get(key, key))
        for each in [node, *node.get("anyOf", [])]:
            yield from ((str(value), "") for value in each.get("enum", ()))
            kinds = each.get("type", ())
            yield from ((value, "") for value in ("true", "false") if "boolean" in kinds)
            yield from ((value, "") for value in ["null"] if "null" in kinds)

    def node(self, path: str) -> dict[str, Any]:
        """Return the schema of a key; empty if there is none."""
        parent, _, name = path.rpartition(".")
        found: dict[str, Any] = self.resolved(self.children(parent).get(name, {}))
        return found

    def children(self, path: str) -> dict[str, Any]:
        """Return the schemas of the keys below a dotted key."""
        if not path:
            return {k: v for k, v in self.schema["properties"].items() if k not in ("defaults", "hydra")}
        parts = path.split(".")
        if parts[0] == "pipeline" and len(parts) in (2, 3) and parts[1] in ("train", "val", "test"):
            steps = self.steps(parts[1])
            return (
                self.of_option("transform", steps.get(parts[2], ""))
                if len(parts) == 3
                else {step: {} for step in steps}
            )
        if len(parts) == 1 and f"{path}.any" in self.schema["definitions"]:
            return self.of_option(path, self.schema_of(path, self.chosen.get(path, "")))
        properties: dict[str, Any] = self.node(path).get("properties", {})
        return properties

    def of_option(self, group: str, name: str) -> dict[str, Any]:
        """Return the schemas of the keys of an option, by the name of its class; of all options if it is not known."""
        definitions = self.schema["definitions"]
        for key, definition in definitions.items():
            if key.startswith(f"{group}.") and name in definition["properties"].get("type", {}).get("enum", ()):
                return {key: rule for key, rule in definition["properties"].items() if key != "type"}
        properties: dict[str, Any] = definitions[f"{group}.any"]["properties"]
        return properties

    def schema_of(self, group: str, option: str) -> str:
        """Return the name of the class of an option, which its file names."""
        for folder in self.folders:
            path = folder / group / f"{option}.yaml"
            if option and path.is_file():
                match = re.search(rf"/schema/{group}/(\w+)", path.read_text(encoding="utf-8"))
                return match[1] if match else option
        return option

    def steps(self, split: str) -> dict[str, str]:
        """Return the transforms of a split, name -> option, of the chosen pipeline."""
        shipped = self.folders[0]
        default = re.search(r"pipeline: (\w+)", (shipped / "train.yaml").read_text(encoding="utf-8"))
        name = self.chosen.get("pipeline", default[1] if default else "")
        for folder in self.folders:
            path = folder / "pipeline" / f"{name}.yaml"
            if path.is_file():
                text = path.read_text(encoding="utf-8")
                return {step: option for of, step, option in _STEP.findall(text) if of == split}
        return {}

    def resolved(self, node: dict[str, Any]) -> dict[str, Any]:
        """Return a schema, or the one that it refers to."""
        while "$ref" in node:
            node = self.schema["definitions"][node["$ref"].rpartition("/")[2]]
        return node


def _matching(found: Iterable[Candidate], word: str) -> list[Candidate]:
    return [(candidate, text) for candidate, text in found if candidate.startswith(word)]


def _table() -> dict[str, Any]:
    """Return the variables of the table of commands, a file without imports."""
    variables: dict[str, Any] = {}
    exec((_CLI / "commands.py").read_text(encoding="utf-8"), variables)
    return variables


def _source(command: str) -> str:
    """Return the source of the module of a command; empty if there is no such command."""
    module = _table()["COMMANDS"].get(command, "").rpartition(".")[2]
    for path in (_CLI / f"{module}.py", _CLI / module / "__init__.py"):
        if module and path.is_file():
            return path.read_text(encoding="utf-8")
    return ""


def _config_dirs(before: list[str]) -> Iterator[str]:
    """Yield the user's folders of options."""
    for number, word in enumerate(before):
        flag, equals, value = word.partition("=")
        if flag in ("--config-dir", "-cd"):
            yield value if equals else "".join(before[number + 1 : number + 2])
    yield from filter(None, os.environ.get("VEXP_CONFIG_PATH", "").split(os.pathsep))


if __name__ == "__main__":
    for each, text in candidates(sys.argv[1]):
        print(f"{each}\t{text}")
