"""A short form of scripts/harness/crash_harness.py: one fault of every kind, each followed by a resume."""

import subprocess
import sys

import pytest
from support.paths import ROOT

SCRIPT = ROOT / "scripts" / "harness" / "crash_harness.py"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the harness forks, and reads /proc")
def test_crash_harness_finds_no_difference() -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--faults", "14", "--each-kind"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].split()[:3] == ["all", "14", "14"]
