"""Parsing of the arguments that a command declares."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from vexp.cli.arguments import CommandLine
from vexp.core.errors import ConfigError
from vexp.core.fields import ValidatedConfig, option


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
