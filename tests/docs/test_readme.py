"""The README is what a newcomer reads in three minutes, and its commands compose."""

from __future__ import annotations

import re

import pytest
from support.documents import README, check_command, commands


@pytest.mark.parametrize("command", commands(README))
def test_readme_command_composes(command: str) -> None:
    if "sdg" not in command and "lr=0.01" not in command:  # shown with the refusal, which test_docs.py compares
        check_command(command)


def test_readme_is_short() -> None:
    prose = re.sub(r"```.*?```|\]\([^)]*\)", "", README.read_text(), flags=re.DOTALL)
    assert len(prose.split()) < 750
