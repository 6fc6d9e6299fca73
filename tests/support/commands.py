"""Run commands of vexp in tests: the one place to change when the commands change."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from importlib import import_module
from io import StringIO
from unittest import mock


def run_command(name: str, *words: object) -> str:
    """Run ``python -m vexp.NAME WORDS`` in this process, which saves the start of a new one; return its stdout.

    Raises:
        SystemExit: the command ends with an error; its message is on stderr.
    """
    output = StringIO()
    argv = [f"vexp.{name}", *map(str, words)]
    with mock.patch.object(sys, "argv", argv), redirect_stdout(output):
        import_module("vexp.train" if name == "train" else f"vexp.cli.{name}").main()
    return output.getvalue()
