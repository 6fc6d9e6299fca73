"""scripts/bench/proxy_cache.py runs and its figures are complete."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.paths import ROOT


@pytest.mark.slow
def test_quick_run(tmp_path: Path) -> None:
    script = ROOT / "scripts/bench/proxy_cache.py"
    command = [sys.executable, script, "--quick", "--media", tmp_path / "media", "--json", tmp_path / "out.json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / "out.json").read_text())
    assert (figures["videos"], len(figures["rounds"])) == (8, 2)
    assert all(value > 0 for value in figures["rounds"][0].values())
