"""scripts/harness/fuzz.py: damaged files, configs and command lines: a thousand in the slow lane."""

from __future__ import annotations

import subprocess
import sys

import pytest
from support.paths import ROOT

SCRIPT = ROOT / "scripts" / "harness" / "fuzz.py"


@pytest.mark.parametrize(
    "cases", [pytest.param(20, marks=pytest.mark.integration), pytest.param(1000, marks=pytest.mark.slow)]
)
def test_fuzz_finds_no_traceback_hang_or_file_outside(cases: int) -> None:
    done = subprocess.run([sys.executable, SCRIPT, "--cases", str(cases)], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1].endswith(" 0 failed"), done.stdout[-3000:]
