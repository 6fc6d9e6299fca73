"""Every line of every example of a sweep composes, for the first value of each swept key."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from vexp import compose
from vexp.config.command_line import split_flags

SCRIPTS = sorted((Path(__file__).parents[1] / "multirun_examples").glob("*.sh"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_every_line_composes(script: Path) -> None:
    lines = script.read_text().splitlines()
    assert lines[1].startswith("# ")
    assert "?" in lines[1], "an example opens with the question that it answers"
    commands = [shlex.split(line) for line in lines if line and not line.startswith("#")]
    assert commands
    for command in commands:
        alone = command[0] == "torchrun"  # one run of many processes; the others are sweeps
        if alone:
            command = ["python", *command[command.index("-m") :]]
        assert command[:3] == ["python", "-m", "vexp.train"]
        flags, words = split_flags(command[3:])
        assert alone or "-m" in flags
        for word in words:
            key, _, values = word.partition("=")
            swept = [str(i) for i in range(5)] if values == "range(5)" else values.split(",")
            for value in swept:
                compose([f"{key}={value}"])
