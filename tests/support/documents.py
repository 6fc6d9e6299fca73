"""What a Markdown page promises: its fenced blocks, and the commands in them and in its text.

Conventions of README.md and docs/: ``RUN`` stands for a run folder. A ``bash`` block is typed line by line; where its
first line is ``# needs: ...`` it is composed and no test runs it. A ``console`` block is a command after ``$`` and what
it prints (``...``: left out). A ``python`` or ``yaml`` block that begins with ``# some/path.py`` is that file; any
other ``python`` block is run, in the order of the page.
"""

from __future__ import annotations

import importlib.util
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from types import ModuleType

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override

from support.paths import ROOT
from vexp import compose
from vexp.config.overrides import ALIASES, group_options, split_flags
from vexp.config.schema import Config

README = ROOT / "README.md"
#: The pages that are written by hand.
PAGES = [page for page in sorted((ROOT / "docs").rglob("*.md")) if "reference" not in (page.stem, page.parent.name)]
_FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.DOTALL | re.MULTILINE)
_FILE = re.compile(r"# (\S+/\S+\.\w+)\n")

_PLACEHOLDER = re.compile(r"\b(RUN|NAME|IN|OUT)\b")

#: The words that a door takes for itself; every other word is one of vexp.train's.
DOORS = {
    "train": set(),
    "plan": {"png", "out"},
    "explain": {"run"},
    "show": {"split", "sample", "draws", "videos", "samples", "out"},
    "repro_check": {"steps"},
    "evaluate": {"run", "rescore", "split", "checkpoint", "out", "resamples"},
    "predict": {"run", "input", "checkpoint", "split", "topk", "window", "stride", "out"},
    "features": {"run", "input", "checkpoint", "split", "window", "stride", "out"},
    "export": {"run", "format", "out", "checkpoint", "split"},
    "convert": {"num_classes", "classes"},
    "compare": {"metric", "rule", "at", "over", "keys", "out"},
    "import_mmaction": {"out", "name", "model"},
    "doctor": set(),
    "models": set(),
}
#: Doors that take words without "=".
PLAIN_WORDS = ("explain", "show", "convert", "compare", "import_mmaction", "models")
_NO_CONFIG = ("compare", "import_mmaction", "models", "doctor")  # doors that compose nothing
_OTHER_PROGRAMS = ("pip", "git", "cd", "mkdir", "source", "tensorboard", "sbatch", "mkdocs", "pytest", "docker", "bash")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of a page."""

    page: Path
    language: str
    text: str

    @property
    def needs(self) -> str | None:
        """What a test has not: the block's commands are composed, not run."""
        found = re.match(r"# needs: (.+)\n", self.text)
        return found[1] if found else None

    @property
    def file(self) -> str | None:
        """The file that the block is."""
        found = _FILE.match(self.text) if self.language in ("python", "yaml") else None
        return found[1] if found else None

    def sessions(self) -> list[tuple[str, list[str]]]:
        """(command, the lines that it is said to print)."""
        if self.language == "console":
            told = [part.split("\n") for part in re.split(r"^\$ ", self.text, flags=re.MULTILINE) if part]
            return [(command, [line for line in lines if line]) for command, *lines in told]
        if self.language != "bash":
            return []
        lines = self.text.replace("\\\n", " ").splitlines()
        typed = (re.sub(r"\s+# .*", "", line).strip() for line in lines if not line.startswith("#"))
        return [(line, []) for line in typed if line]


@cache
def blocks(page: Path) -> tuple[Block, ...]:
    return tuple(Block(page, *found.groups()) for found in _FENCE.finditer(page.read_text()))


def inline_commands(page: Path) -> list[str]:
    """The commands within a page's text and tables."""
    prose = _FENCE.sub("", page.read_text())
    return [" ".join(found.split()) for found in re.findall(r"`(python -m vexp\.[^`]+)`", prose)]


def typed_commands(page: Path, *, runs: bool) -> list[str]:
    """The commands of the blocks that a test can run, or of those that none can."""
    return [command for block in blocks(page) if (block.needs is None) is runs for command, _ in block.sessions()]


def commands(page: Path) -> list[str]:
    """Every command of a page."""
    return [*typed_commands(page, runs=True), *typed_commands(page, runs=False), *inline_commands(page)]


def write_files(page: Path, folder: Path) -> None:
    """The files that a page shows, below ``folder``."""
    for block in blocks(page):
        if block.file is not None:
            path = folder / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)


def check_command(command: str, *, composes: bool = True) -> None:
    """Raises where a command of a page names a program, door, file, flag or option that is not there.

    Args:
        composes: whether its config is composed, too (a quarter of a second).
    """
    words = [word for word in shlex.split(command) if "..." not in word]
    program = words[0]
    if program == "torchrun":
        words = ["python", *words[words.index("-m") :]]
        program = "python"
    if program != "python":
        assert program in _OTHER_PROGRAMS, f"{command}: {program} is no program that the pages use"
        for word in words[1:]:
            assert not word.startswith("multirun_examples/") or (ROOT / word).is_file(), f"{command}: no file {word}"
        return
    if words[1] != "-m":
        _check_script(command, words[1:])
        return
    if not words[2].startswith("vexp."):
        return
    door = words[2].removeprefix("vexp.")
    assert door in DOORS, f"{command}: no door {door}"
    import_module(f"vexp.{door}")
    _check_words(door, words[3:], composes)


def _check_script(command: str, words: Sequence[str]) -> None:
    script = ROOT / words[0]
    assert script.is_file(), f"{command}: no file {words[0]}"
    text = script.read_text()
    for flag in [word for word in words[1 : words.index("--") if "--" in words else None] if word.startswith("--")]:
        assert f'"{flag.partition("=")[0]}"' in text or 'f"--{' in text, f"{command}: {words[0]} has no {flag}"


def _check_words(door: str, words: Sequence[str], composes: bool) -> None:
    flags, rest = split_flags(words)
    folders = tuple(value for flag, value in pairwise(flags) if flag == "--config-dir")
    own = [word for word in rest if word.partition("=")[0] in DOORS[door]]
    plain = [word for word in rest if "=" not in word and word[0] != "~"]
    assert not plain or door in PLAIN_WORDS or "--rerun" in flags or "--resume" in flags, plain
    overrides = [word for word in rest if word not in (*own, *plain) and not _PLACEHOLDER.search(word)]
    if door in _NO_CONFIG:
        assert overrides == [], f"{door} takes no {overrides}"
    for group, _, value in (word.partition("=") for word in overrides):
        known = [] if composes or folders else group_options(ALIASES.get(group, group))
        assert not known or set(value.split(",")) <= set(known), f"{group} has no option {value}"
    for job in (_jobs(overrides) if "-m" in flags else [overrides]) if composes else []:
        compose_once(tuple(word for word in job if not word.startswith("nproc=")), folders)


def _jobs(words: Sequence[str]) -> Iterator[list[str]]:
    """The first and the last job of a sweep."""
    swept = OverridesParser.create().parse_overrides([word for word in words if not word.startswith("hydra")])
    for end in (0, -1):
        yield [
            f"{word.key_or_group}={_values(word)[end]}" if word.is_sweep_override() else str(word.input_line)
            for word in swept
        ]


def _values(word: Override) -> list[str]:
    """The values of ``a=1,2``, ``a=range(3)``; the ends of ``a=interval(1,2)``."""
    value = word.value()
    if isinstance(value, IntervalSweep):
        return [str(value.start), str(value.end)]
    return list(word.sweep_string_iterator())


@cache
def compose_once(words: tuple[str, ...], folders: tuple[str, ...]) -> Config:
    return compose(words, config_dirs=folders)


def load_script(name: str) -> ModuleType:
    """A program of scripts/ as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module
