"""Checks in processes of their own: what crashes, hangs or prints there is one line here.

``python -m vexp.tools.doctor.subprocess_check MODULE FUNCTION [ARGUMENT ...]`` is what such a process runs.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from vexp.tools.doctor.check_result import CheckResult, problem

_MARK = "vexp-findings:"
_LIMIT = 120  # seconds; a busy machine takes 20 for the benchmark


def guarded(name: str, check: Any, *arguments: Any, fix: str = "", needed: bool = False) -> list[CheckResult]:
    """The findings of a check; where it fails one that says how, under ``name``."""
    try:
        findings: list[CheckResult] = check(*arguments)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # also a SystemExit: whatever is broken, the report goes on
        return [problem(name, error, fix=fix, needed=needed)]
    return findings


def in_process(
    name: str, module: str, function: str, *arguments: Path | str, fix: str = "", needed: bool = False
) -> list[CheckResult]:
    """The findings of ``vexp.tools.doctor.MODULE.FUNCTION(*arguments)``, from a process of its own."""
    words = [sys.executable, "-m", "vexp.tools.doctor.subprocess_check", module, function, *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, errors="replace", timeout=_LIMIT, check=False, env=environment
        )
    except subprocess.TimeoutExpired:
        return [problem(name, f"hangs: no answer within {_LIMIT} seconds", fix=fix, needed=needed)]
    except OSError as error:
        return [problem(name, error, fix=fix, needed=needed)]
    for line in reversed(done.stdout.splitlines()):
        if line.startswith(_MARK):
            rows = json.loads(line.removeprefix(_MARK))
            if isinstance(rows, str):
                return [problem(name, rows, fix=fix, needed=needed)]
            return [CheckResult(**row) for row in rows]
    return [problem(name, _ended(done), fix=fix, needed=needed)]


def _ended(done: subprocess.CompletedProcess[str]) -> str:
    if done.returncode < 0:
        try:
            return f"crashes when it is imported or used: {signal.Signals(-done.returncode).name}"
        except ValueError:
            return f"crashes when it is imported or used: signal {-done.returncode}"
    last = (done.stderr.strip().splitlines() or ["without a word"])[-1]
    return f"ends with status {done.returncode}: {last}"


def _main() -> None:
    module, function, *arguments = sys.argv[1:]
    try:
        check = getattr(importlib.import_module(f"vexp.tools.doctor.{module}"), function)
        paths = [Path(text) if os.sep in text else text for text in arguments]
        answer: Any = [finding.plain() for finding in check(*paths)]
    except BaseException as error:  # as above
        answer = f"{type(error).__name__}: {error}"
    print(f"\n{_MARK}{json.dumps(answer)}", flush=True)
    os._exit(0)  # what a broken library does when it is taken down says nothing


if __name__ == "__main__":
    _main()
