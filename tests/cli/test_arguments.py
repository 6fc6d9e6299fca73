"""Parsing of the arguments that a command declares."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import pytest

from vexp.__main__ import main
from vexp.cli.arguments import CommandLine
from vexp.cli.commands import COMMANDS
from vexp.core.errors import ConfigError
from vexp.core.fields import ValidatedConfig, option
from vexp.train import train


@dataclass(kw_only=True, slots=True)
class Options(ValidatedConfig):
    run: Path = option(doc="A run folder.")
    steps: int = option(5, "Number of steps.", ge=1)
    window: float | None = option(None, "Length.", unit="seconds", gt=0)
    split: str = option("val", "Split.", choices=("val", "test"))
    keys: list[str] = option(["seed"], "Keys.")
    quick: bool = option(False, "Skip the benchmark.")


DOC = """Try something.

Usage: vexp try run=RUN [overrides]
"""
COMMAND = CommandLine(DOC, Options)


def test_parse_converts_options_and_keeps_the_rest(tmp_path: Path) -> None:
    arguments = COMMAND.parse(
        [
            "run=a",
            "steps=7",
            "lr=step",
            "window=1.5",
            "keys=[seed, lr]",
            "--quick",
            "~model",
            "--config-dir",
            str(tmp_path),
        ]
    )
    expected = Options(run=Path("a").absolute(), steps=7, window=1.5, keys=["seed", "lr"], quick=True)
    assert arguments.options == expected
    assert arguments.rest == ["lr=step", "~model"]
    assert arguments.config_dirs == [tmp_path]


@pytest.mark.parametrize(("argument", "quick"), [("--quick", True), ("quick=true", True), ("quick=false", False)])
def test_parse_reads_flags_as_values_as_well(argument: str, quick: bool) -> None:
    assert COMMAND.parse(["run=a", argument]).options.quick is quick


def test_parse_null_is_none_or_default() -> None:
    options = COMMAND.parse(["run=a", "window=null", "split=null"]).options
    assert (options.window, options.split) == (None, "val")


@pytest.mark.parametrize(
    ("arguments", "key", "value", "fragment"),
    [
        (["steps=x"], "steps", "x", "must be a whole number (command line)"),
        (["steps=0"], "steps", 0, "must be >= 1 (command line)"),
        (["window=wide"], "window", "wide", "must be a number (command line)"),
        (["window=nan"], "window", None, "must be > 0"),
        (["split=tets"], "split", "tets", "must be one of val, test (command line); did you mean test?"),
        (["keys=[[1]]"], "keys", "[[1]]", "must be a list"),
        (["--quikc"], "--quikc", None, "no such flag (command line); did you mean --quick?"),
    ],
)
def test_parse_invalid_argument_raises_with_key(arguments: list[str], key: str, value: Any, fragment: str) -> None:
    with pytest.raises(ConfigError) as refused:
        COMMAND.parse(["run=a", *arguments])
    assert refused.value.key == key
    assert value is None or refused.value.value == value
    assert fragment in str(refused.value)


def test_parse_missing_option_raises_with_usage() -> None:
    with pytest.raises(ConfigError, match="run: must be given: a run folder\n  usage: vexp try run=RUN"):
        COMMAND.parse([])


def test_help_has_defaults_units_and_choices() -> None:
    text = COMMAND.help()
    assert text.splitlines()[0] == "Usage: vexp try run=RUN [overrides]"
    for line in (
        "run=...",
        "steps=5",
        "Length. [seconds]",
        "One of val, test.",
        "keys=[seed]",
        "--quick",
        "--config-dir FOLDER",
    ):
        assert line in text


def commands(*, composes: bool) -> list[tuple[str, CommandLine[Any]]]:
    """The commands that declare their arguments, by name."""
    modules = {name: importlib.import_module(module) for name, module in COMMANDS.items() if name != "train"}
    lines = {name: module.COMMAND for name, module in modules.items() if hasattr(module, "COMMAND")}
    return [(name, line) for name, line in lines.items() if line.composes or not composes]


def test_empty_word_is_no_path_and_no_text_of_any_command() -> None:
    tried = 0
    for name, command in commands(composes=False):
        hints = get_type_hints(command.options)
        for key, hint in hints.items():
            if get_origin(hint) is list or not {str, Path} & {hint, *get_args(hint)}:
                continue
            tried += 1
            with pytest.raises(ConfigError) as refused:
                command.parse([f"{key}="])
            assert (refused.value.key, refused.value.rule) == (key, "must not be empty"), name
    assert tried > 20


def test_every_command_that_composes_refuses_a_missing_config_dir() -> None:
    for _, command in commands(composes=True):
        for arguments in (["--config-dir", "nothere"], ["--config-dir=nothere"], ["--config-dir"], ["-cd", "x" * 5000]):
            with pytest.raises(ConfigError, match="no such folder"):
                command.parse(arguments)
    with pytest.raises(ConfigError, match="no such folder"):
        train(["--config-dir", "nothere"])


@pytest.mark.parametrize(
    ("name", "argument"),
    [
        ("predict", "window=1e-9"),
        ("features", "stride=1e-9"),
        ("predict", "window=inf"),
        ("predict", "topk=" + "9" * 100),
        ("evaluate", "resamples=10000000000"),
        ("repro-check", "steps=10000000000"),
        ("convert", "num_classes=10000000000"),
        ("show", "sample=" + "9" * 100),
    ],
)
def test_absurd_number_of_a_command_is_refused(name: str, argument: str) -> None:
    key = argument.partition("=")[0]
    command = dict(commands(composes=False))[name]
    with pytest.raises(ConfigError, match=f"^{key}=.*: must be (>=|<=|<|between)"):
        command.parse([*(["run=a", "input=b"] if name in ("predict", "features") else []), argument])


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["dataset", "index", "", "x.csv"], "argument VIDEOS: must not be empty"),
        (["dataset", "index", ".", "x.csv", "--workers", "1000000000"], "--workers: must be at least 0, at most 1000"),
        (["sbatch", ""], "name the file to write"),
        (["sbatch", "x", "--port", "100000"], "--port: must be at least 1, at most 65535"),
        (["compare", ""], "name run folders"),
        (["convert", "", "x.pth"], "IN=: must not be empty"),
        (["train", "--resume", ""], "not a run folder"),
    ],
)
def test_empty_or_absurd_argument_is_refused(
    arguments: list[str], fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert fault in capsys.readouterr().err
