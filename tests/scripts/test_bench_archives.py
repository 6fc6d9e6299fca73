"""The benchmark of large archives."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from support.paths import ROOT


@pytest.mark.slow
def test_every_row_is_measured(tmp_path: Path) -> None:
    specification = importlib.util.spec_from_file_location("bench_archives", ROOT / "scripts/bench/archives.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    lines: list[str] = []
    assert module.main(["--files", "300", "--folder", str(tmp_path)], say=lines.append) == 0
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[1:]]
    assert [row[:2] for row in rows] == [[kind, row] for kind in ("zip", "tar") for row in module.ROWS]
    for *_, memory in rows:
        assert 0 < float(memory) < 200
    assert not list(tmp_path.iterdir())
