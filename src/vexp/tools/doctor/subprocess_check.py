"""Checks that cannot bring the report down: exceptions, crashes and hangs become a result.

The subprocess of a check runs ``python -m vexp.tools.doctor.subprocess_check MODULE FUNCTION [ARGUMENT ...]``.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vexp.tools.doctor.check_result import CheckResult, failure

_MARKER = "vexp-check-results:"  # distinguishes the results from what a package prints
_TIMEOUT = 120  # seconds; a busy machine needs 20 for the benchmark


def run_check(
    name: str, check: Callable[..., list[CheckResult]], *arguments: Any, fix: str = "", needed: bool = False
) -> list[CheckResult]:
    """Return the results of a check, or one failure called ``name`` if it raises."""
    try:
        return check(*arguments)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # includes SystemExit: the report continues whatever is broken
        return [failure(name, error, fix=fix, needed=needed)]


def run_in_subprocess(
    name: str, module: str, function: str, *arguments: Path | str, fix: str = "", needed: bool = False
) -> list[CheckResult]:
    """Return the results of ``vexp.tools.doctor.MODULE.FUNCTION(*arguments)``, run in a subprocess."""
    command = [sys.executable, "-m", "vexp.tools.doctor.subprocess_check", module, function, *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    error: Exception | str
    try:
        process = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT, check=False, env=environment
        )
        results = [line.removeprefix(_MARKER) for line in process.stdout.splitlines() if line.startswith(_MARKER)]
        content = json.loads(results[-1]) if results else _exit_message(process)
        if not isinstance(content, str):
            return [CheckResult(**result) for result in content]
        error = content
    except subprocess.TimeoutExpired:
        error = f"the check hangs: no result within {_TIMEOUT} seconds"
    except OSError as os_error:
        error = os_error
    return [failure(name, error, fix=fix, needed=needed)]


def _exit_message(process: subprocess.CompletedProcess[str]) -> str:
    if (code := process.returncode) < 0:
        name = next((one.name for one in signal.Signals if one == -code), f"signal {-code}")
        return f"the package crashes when it is imported or used: {name}"
    last_line = (process.stderr.strip().splitlines() or ["no error message"])[-1]
    return f"the check exits with status {code}: {last_line}"


def _main() -> None:
    module, function, *arguments = sys.argv[1:]
    try:
        check = getattr(importlib.import_module(f"vexp.tools.doctor.{module}"), function)
        paths = [Path(text) if os.sep in text else text for text in arguments]
        results: Any = [asdict(result) for result in check(*paths)]
    except BaseException as error:  # includes SystemExit
        results = f"{type(error).__name__}: {error}"
    print(f"\n{_MARKER}{json.dumps(results)}", flush=True)
    os._exit(0)  # a broken library can crash in its exit handlers


if __name__ == "__main__":
    _main()
