"""What a Markdown page promises: its fenced blocks, and the commands in them and in its text.

Conventions of README.md and docs/: ``RUN`` stands for a run folder; a ``bash`` block is typed line by line, and where its
first line is ``# needs: ...`` it is composed but not run by a test; a ``console`` block is a command after ``$`` and what
it prints (``...``: left out); a ``python`` or ``yaml`` block that begins with ``# some/path.py`` is that file, and any
other ``python`` block is run, in the order of the page.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser

from vexp import compose
from vexp.config.command_line import split_flags
from vexp.config.schema import Config

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = sorted(page for page in (ROOT / "docs").rglob("*.md") if "reference" not in page.relative_to(ROOT / "docs").parts[0])
_FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.DOTALL | re.MULTILINE)
_FILE = re.compile(r"# (\S+/\S+\.\w+)\n")

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
_PLAIN_WORDS = ("explain", "show", "convert", "compare", "import_mmaction", "models")  # that take words without "="
_OTHER_PROGRAMS = ("pip", "git", "cd", "mkdir", "cp", "ls", "tensorboard", "sbatch", "mkdocs", "pytest", "docker", "bash", "unzip")


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
    return [found.replace("\\|", "|") for found in re.findall(r"`(python -m vexp\.[^`]+)`", prose)]


def commands(page: Path) -> list[str]:
    """Every command of a page, once."""
    typed = [command for block in blocks(page) for command, _ in block.sessions()]
    return list(dict.fromkeys([*typed, *inline_commands(page)]))


def write_files(page: Path, folder: Path) -> None:
    """The files that a page shows, below ``folder``."""
    for block in blocks(page):
        if block.file is not None:
            path = folder / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)


def check_command(command: str) -> None:
    """Raises where a command of a page names what is not there, or does not compose."""
    words = [word for word in shlex.split(command) if not re.fullmatch(r"[A-Z_]+=\S*", word)]
    program = words[0]
    if program == "torchrun":
        words = ["python", *words[words.index("-m") :]]
        program = "python"
    if program.startswith("vexp-"):
        words = ["python", "-m", f"vexp.{program.removeprefix('vexp-').replace('-', '_')}", *words[1:]]
    elif program != "python":
        assert program in _OTHER_PROGRAMS, f"{command}: {program} is no program that the pages use"
        for word in words[1:]:
            assert not word.startswith("multirun_examples/") or (ROOT / word).is_file(), f"{command}: no file {word}"
        return
    if words[1] != "-m":
        _check_script(command, words[1:])
        return
    door = words[2].removeprefix("vexp.")
    assert door in DOORS, f"{command}: no door {door}"
    import_module(f"vexp.{door}")
    _check_words(door, words[3:])


def _check_script(command: str, words: Sequence[str]) -> None:
    script = ROOT / words[0]
    assert script.is_file(), f"{command}: no file {words[0]}"
    text = script.read_text()
    for flag in [word for word in words[1 : words.index("--") if "--" in words else None] if word.startswith("--")]:
        assert f'"{flag.partition("=")[0]}"' in text, f"{command}: {words[0]} has no {flag}"


def _check_words(door: str, words: Sequence[str]) -> None:
    flags, rest = split_flags(words)
    folders = [value for flag, value in zip(flags, flags[1:], strict=False) if flag == "--config-dir"]
    for key in [word.partition("=")[0] for word in rest if "=" in word] if door in ("compare", "import_mmaction") else []:
        assert key in DOORS[door], f"{door} takes no {key}="
    if door in ("compare", "import_mmaction", "models", "doctor"):
        return
    overrides = [word for word in rest if "=" in word or word.startswith("~")]
    overrides = [word for word in overrides if word.partition("=")[0] not in DOORS[door]]
    assert door in _PLAIN_WORDS or len(overrides) == len(rest) - sum(
        word.partition("=")[0] in DOORS[door] for word in rest
    ), f"{door}: {rest}"
    for job in _jobs(overrides) if "-m" in flags else [overrides]:
        compose_once(tuple(word for word in job if "RUN" not in word and not word.startswith("nproc=")), tuple(folders))


def _jobs(words: Sequence[str]) -> Iterator[list[str]]:
    """The first and the last job of a sweep."""
    swept = OverridesParser.create().parse_overrides([word for word in words if not word.startswith("hydra")])
    for end in (0, -1):
        yield [f"{word.key_or_group}={_values(word)[end]}" if word.is_sweep_override() else word.input_line for word in swept]


@cache
def compose_once(words: tuple[str, ...], folders: tuple[str, ...] = ()) -> Config:
    return compose(words, config_dirs=folders)
