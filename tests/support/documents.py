"""What a Markdown page promises: its fenced blocks, and the commands in them and in its text.

Conventions of README.md and docs/: ``RUN`` stands for a run folder. A ``bash`` block is typed line by line; where its
first line is ``# needs: ...`` it is composed and no test runs it. A ``console`` block is a command after ``$`` and what
it prints (``...``: left out). A ``python`` or ``yaml`` block that begins with ``# some/path.py`` is that file; any
other ``python`` block is run, in the order of the page.
"""

from __future__ import annotations

import dataclasses
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
from vexp.cli.commands import ALIASES as COMMAND_ALIASES
from vexp.cli.commands import COMMANDS
from vexp.config.overrides import ALIASES, group_options, split_flags
from vexp.config.schema import Config

README = ROOT / "README.md"
#: The pages that are written by hand.
PAGES = [page for page in sorted((ROOT / "docs").rglob("*.md")) if "reference" not in (page.stem, page.parent.name)]
_FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.DOTALL | re.MULTILINE)
_FILE = re.compile(r"# (\S+/\S+\.\w+)\n")

_PLACEHOLDER = re.compile(r"\b(RUN|NAME|IN|OUT|KEY|COMMAND|SUBCOMMAND|VIDEOS|TARGET|PROXIES)\b")

#: Commands whose plain arguments (without "=") are names, folders or subjects.
PLAIN_ARGUMENTS = ("explain", "show", "convert", "compare", "import", "models")
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
    return [" ".join(found.split()) for found in re.findall(r"`(python -m vexp[. ][^`]+|vexp [a-z][^`]*)`", prose)]


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


def split_command(command: str) -> list[str]:
    """The words of a command; every way to start vexp becomes ``["vexp", NAME, ...]``."""
    words = [word for word in shlex.split(command) if "..." not in word]
    if words[0] == "torchrun":
        words = ["python", *words[words.index("-m") :]]
    if words[:2] == ["python", "-m"] and words[2].split(".")[0] == "vexp":
        words = [*words[2].split("."), *words[3:]]
    return words


def check_command(command: str, *, composes: bool = True) -> None:
    """Raise if a command of a page names a program, command, file, flag or option that does not exist.

    Args:
        command: As on the page.
        composes: Whether its config is composed, too (a quarter of a second).
    """
    program, *words = split_command(command)
    if program == "python":
        if words[0] != "-m":
            _check_script(command, words)
    elif program == "vexp":
        if not words[0].startswith("-") and not _PLACEHOLDER.fullmatch(words[0]):
            name = COMMAND_ALIASES.get(words[0], words[0])
            assert name in COMMANDS, f"{command}: no command {name}"
            _check_arguments(name, words[1:], composes)
    else:
        assert program in _OTHER_PROGRAMS, f"{command}: {program} is not a program that the pages use"
        for word in words:
            assert not word.startswith("multirun_examples/") or (ROOT / word).is_file(), f"{command}: no file {word}"


def _check_script(command: str, words: Sequence[str]) -> None:
    script = ROOT / words[0]
    assert script.is_file(), f"{command}: no file {words[0]}"
    text = script.read_text()
    for flag in [word for word in words[1 : words.index("--") if "--" in words else None] if word.startswith("--")]:
        assert f'"{flag.partition("=")[0]}"' in text or 'f"--{' in text, f"{command}: {words[0]} has no {flag}"


def _check_arguments(name: str, words: Sequence[str], composes: bool) -> None:
    module = import_module(COMMANDS[name])
    if name == "dataset":
        if not any(_PLACEHOLDER.fullmatch(word) for word in words) and words:
            module.parser().parse_args(words)
        return
    if name == "sbatch":
        _check_arguments("train", module.parse(words).overrides, composes)
        return
    own = {field.name for field in dataclasses.fields(module.COMMAND.options)} if name != "train" else set()
    flags, rest = split_flags(words)
    folders = tuple(value for flag, value in pairwise(flags) if flag == "--config-dir")
    options = [word for word in rest if word.partition("=")[0] in own]
    plain = [word for word in rest if "=" not in word and word[0] != "~"]
    assert not plain or name in PLAIN_ARGUMENTS or "--rerun" in flags or "--resume" in flags, plain
    overrides = [word for word in rest if word not in (*options, *plain) and not _PLACEHOLDER.search(word)]
    if name != "train" and not any("overrides" in line for line in module.COMMAND.usage):
        assert overrides == [], f"{name} has no {overrides}"
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


def load_script(path: str) -> ModuleType:
    """Import a program of scripts/, given without its suffix."""
    name = Path(path).name
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{path}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module
