"""scripts/bench/data.py runs, both paths make the same pixels, and its figures are complete."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.paths import ROOT

SCRIPT = ROOT / "scripts/bench/data.py"


@pytest.mark.slow
def test_quick_run_of_every_case(tmp_path: Path) -> None:
    words = [
        "--quick",
        "--media",
        tmp_path / "media",
        "--json",
        tmp_path / "all.json",
        "--markdown",
        tmp_path / "all.md",
    ]
    command = [sys.executable, str(SCRIPT), *map(str, words)]
    subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
    cases = {case["case"]: case for case in json.loads((tmp_path / "all.json").read_text())["cases"]}
    assert len(cases) == 14
    assert all(case["ratio"] > 0 and case["ratio_wall"] > 0 for case in cases.values())
    for name, case in cases.items():
        if "proxy" not in name and "loader" not in name:
            # Same frames, box and resample; decord and PyAV convert colours with the same library.
            assert case["grey_levels"] < (1e-3 if "raw" in name or "spatial" in name else 0.6), name
    assert cases["340x256 GOP 250, (b) MJPEG proxy"]["b_decoded"] == 1
    assert cases["340x256 raw frames 16x4"]["a_bytes"] == 4 * cases["340x256 raw frames 16x4"]["b_bytes"]
    assert len((tmp_path / "all.md").read_text().splitlines()) == 4 + len(cases)
