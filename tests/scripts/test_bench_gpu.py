"""scripts/bench/gpu.sh runs every part without a GPU, so that a mistake is not found on the machine that has one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.paths import ROOT

PARTS = {"tests", "precision", "loader", "memory", "nvdec", "processes", "compiled"}


@pytest.mark.slow
def test_dry_run_of_every_part(tmp_path: Path) -> None:
    command = ["bash", str(ROOT / "scripts/bench/gpu.sh"), "--dry-run", "--out", str(tmp_path), "--seconds", "1500"]
    done = subprocess.run(
        command, env=os.environ | {"PYTHON": sys.executable}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "gpu.json").read_text())
    assert {name for name, part in result["parts"].items() if part["rows"] and not part["problem"]} == PARTS
    rows = {name: part["rows"] for name, part in result["parts"].items()}
    assert rows["tests"][0]["status"] == 0
    assert [row for row in rows["precision"] if "error" in row] == []
    assert rows["memory"] == [{"views": 8, "in one forward pass": 2, "largest difference": 0.0}]
    assert [row["status"] for row in rows["processes"]] == [0, 0]
    losses = [row["last loss"] for row in rows["processes"]]
    assert losses[0] == pytest.approx(losses[1], rel=0.1)  # batch norm sees the part of a process
    page = (tmp_path / "gpu.md").read_text()
    assert "not measured on a GPU" in page
    assert page.count("\n## ") == len(PARTS)


@pytest.mark.slow
def test_without_a_gpu_it_is_refused() -> None:
    command = ["bash", str(ROOT / "scripts/bench/gpu.sh")]
    environment = os.environ | {"PYTHON": sys.executable, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, "torch finds no GPU" in done.stderr) == (2, True)
