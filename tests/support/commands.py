"""Run commands of vexp in the process of the test."""

from __future__ import annotations

from contextlib import redirect_stdout
from io import StringIO

from vexp.__main__ import main


def run_command(name: str, *arguments: object) -> str:
    """Run ``vexp NAME ARGUMENTS`` in this process, which saves starting a new one; return its stdout."""
    output = StringIO()
    with redirect_stdout(output):
        status = main([name, *map(str, arguments)])
    assert status == 0, f"vexp {name} ended with exit status {status}"
    return output.getvalue()
