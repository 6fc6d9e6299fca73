"""``scripts/bench/compare.py``, with few runs."""

import subprocess
import sys

import pytest
from support.paths import ROOT


@pytest.mark.slow
def test_bench_compare_measures_command_and_refresh(tmp_path):
    script = ROOT / "scripts" / "bench" / "compare.py"
    command = [sys.executable, str(script), "--runs", "12", "--no-browser", "--keep", str(tmp_path)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert printed.startswith("12 runs, ")
    names = ("command [s]", "peak memory [MB]", "page [MB]", "json [MB]", "sql [MB]", "--watch, round without a change")
    assert all(name in printed for name in names)
    assert len(list((tmp_path / "runs_12").iterdir())) == 12
