"""Read the fenced blocks of a Markdown page, and the commands in them and in its text.

Conventions of README.md and docs/: ``RUN`` stands for a run folder. A ``bash`` block is run line by line; if its
first line is ``# needs: ...``, its commands are only composed. A ``console`` block holds a command after ``$`` and its
output (``...`` stands for omitted lines). A ``python`` or ``yaml`` block that begins with ``# some/path.py`` shows that
file; any other ``python`` block is run, in the order of the page.
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
#: Pages that are not generated.
PAGES = [page for page in sorted((ROOT / "docs").rglob("*.md")) if "reference" not in (page.stem, page.parent.name)]
_FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.DOTALL | re.MULTILINE)
_FILE = re.compile(r"# (\S+/\S+\.\w+)\n")

_PLACEHOLDER = re.compile(r"\b(RUN|NAME|IN|OUT|KEY|COMMAND|SUBCOMMAND|VIDEOS|TARGET|PROXIES)\b")

#: Commands whose plain arguments (without "=") are names, folders or subjects.
PLAIN_ARGUMENTS = ("completion", "explain", "show", "convert", "compare", "import", "models")
_OTHER_PROGRAMS = (
    "pip",
    "git",
    "cd",
    "mkdir",
    "source",
    "tensorboard",
    "sbatch",
    "mkdocs",
    "pytest",
    "docker",
    "bash",
    "sky",
)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of a page."""

    page: Path
    language: str
    text: str

    @property
    def needs(self) -> str | None:
        """What the commands need and a test does not have; they are composed then, not run."""
        match = re.match(r"# needs: (.+)\n", self.text)
        return match[1] if match else None

    @property
    def file(self) -> str | None:
        """The path of the file that the block shows; None for other blocks."""
        match = _FILE.match(self.text) if self.language in ("python", "yaml") else None
        return match[1] if match else None

    def sessions(self) -> list[tuple[str, list[str]]]:
        """Return pairs of a command and its documented output lines."""
        if self.language == "console":
            parts = [part.split("\n") for part in re.split(r"^\$ ", self.text, flags=re.MULTILINE) if part]
            return [(command, [line for line in lines if line]) for command, *lines in parts]
        if self.language != "bash":
            return []
        lines = self.text.replace("\\\n", " ").splitlines()
        commands = (re.sub(r"\s+# .*", "", line).strip() for line in lines if not line.startswith("#"))
        return [(line, []) for line in commands if line]


@cache
def blocks(page: Path) -> tuple[Block, ...]:
    """Return the fenced blocks of a page."""
    return tuple(Block(page, *match.groups()) for match in _FENCE.finditer(page.read_text()))


def inline_commands(page: Path) -> list[str]:
    """Return the commands within a page's text and tables; those of the page of hostile input are refused."""
    if page.stem == "robustness":
        return []
    prose = _FENCE.sub("", page.read_text())
    return [" ".join(command.split()) for command in re.findall(r"`(python -m vexp[. ][^`]+|vexp [a-z][^`]*)`", prose)]


def typed_commands(page: Path, *, runs: bool) -> list[str]:
    """Return the commands of the blocks that a test can run, or of the other blocks."""
    return [command for block in blocks(page) if (block.needs is None) is runs for command, _ in block.sessions()]


def commands(page: Path) -> list[str]:
    """Return every command of a page."""
    return [*typed_commands(page, runs=True), *typed_commands(page, runs=False), *inline_commands(page)]


def write_files(page: Path, folder: Path) -> None:
    """Write the files that a page shows below ``folder``."""
    for block in blocks(page):
        if block.file is not None:
            path = folder / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)


def split_command(command: str) -> list[str]:
    """Split a command into its arguments; every way to start vexp becomes ``["vexp", NAME, ...]``."""
    arguments = [argument for argument in shlex.split(command) if "..." not in argument]
    if arguments[0] == "torchrun":
        arguments = ["python", *arguments[arguments.index("-m") :]]
    if arguments[:2] == ["python", "-m"] and arguments[2].split(".")[0] == "vexp":
        arguments = [*arguments[2].split("."), *arguments[3:]]
    return arguments


def check_command(command: str, *, composes: bool = True) -> None:
    """Raise if a command of a page names a program, command, file, flag or option that does not exist.

    Args:
        command: As on the page.
        composes: Whether its config is also composed (a quarter of a second).
    """
    program, *arguments = split_command(command)
    if program == "python":
        if arguments[0] != "-m":
            _check_script(command, arguments)
    elif program == "vexp":
        if not arguments[0].startswith("-") and not _PLACEHOLDER.fullmatch(arguments[0]):
            name = COMMAND_ALIASES.get(arguments[0], arguments[0])
            assert name in COMMANDS, f"{command}: no command {name}"
            _check_arguments(name, arguments[1:], composes)
    else:
        assert program in _OTHER_PROGRAMS, f"{command}: {program} is not a program that the pages use"
        for path in (path for path in arguments if path.startswith("multirun_examples/")):
            assert (ROOT / path).is_file(), f"{command}: no file {path}"


def _check_script(command: str, arguments: Sequence[str]) -> None:
    script = ROOT / arguments[0]
    assert script.is_file(), f"{command}: no file {arguments[0]}"
    text = script.read_text()
    end = arguments.index("--") if "--" in arguments else None
    for flag in [argument for argument in arguments[1:end] if argument.startswith("--")]:
        assert f'"{flag.partition("=")[0]}"' in text or 'f"--{' in text, f"{command}: {arguments[0]} has no {flag}"


def _check_arguments(name: str, arguments: Sequence[str], composes: bool) -> None:
    module = import_module(COMMANDS[name])
    if name == "dataset":
        if not any(_PLACEHOLDER.fullmatch(argument) for argument in arguments) and arguments:
            module.parser().parse_args(arguments)
        return
    if name == "sbatch":
        _check_arguments("train", module.parse(arguments).overrides, composes)
        return
    own = {field.name for field in dataclasses.fields(module.COMMAND.options)} if name != "train" else set()
    flags, rest = split_flags(arguments)
    folders = tuple(value for flag, value in pairwise(flags) if flag == "--config-dir")
    options = [item for item in rest if item.partition("=")[0] in own]
    plain = [item for item in rest if "=" not in item and item[0] != "~"]
    assert not plain or name in PLAIN_ARGUMENTS or "--rerun" in flags or "--resume" in flags, plain
    overrides = [item for item in rest if item not in (*options, *plain) and not _PLACEHOLDER.search(item)]
    if name != "train" and not any("overrides" in line for line in module.COMMAND.usage):
        assert overrides == [], f"{name} has no {overrides}"
    for group, _, value in (override.partition("=") for override in overrides):
        choices = [] if composes or folders else group_options(ALIASES.get(group, group))
        assert not choices or set(value.split(",")) <= set(choices), f"{group} has no option {value}"
    for job in (_jobs(overrides) if "-m" in flags else [overrides]) if composes else []:
        compose_once(tuple(override for override in job if not override.startswith("nproc=")), folders)


def _jobs(overrides: Sequence[str]) -> Iterator[list[str]]:
    """Yield the overrides of the first and the last job of a sweep."""
    own = [override for override in overrides if not override.startswith("hydra")]
    parsed = OverridesParser.create().parse_overrides(own)
    for end in (0, -1):
        yield [
            f"{override.key_or_group}={_values(override)[end]}"
            if override.is_sweep_override()
            else str(override.input_line)
            for override in parsed
        ]


def _values(override: Override) -> list[str]:
    """Return the values of ``a=1,2`` and ``a=range(3)``, or the ends of ``a=interval(1,2)``."""
    value = override.value()
    if isinstance(value, IntervalSweep):
        return [str(value.start), str(value.end)]
    return list(override.sweep_string_iterator())


@cache
def compose_once(overrides: tuple[str, ...], folders: tuple[str, ...]) -> Config:
    """Compose overrides, once per process."""
    return compose(overrides, config_dirs=folders)


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
