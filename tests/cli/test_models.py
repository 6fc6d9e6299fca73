"""``vexp models``."""

from __future__ import annotations

import sys

import pytest

from vexp.cli import models


def test_the_list_has_sizes_papers_and_published_numbers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["models", "tiny3d", "x3d_s", "tsm_r50"])
    models.main()
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= models.WIDTH
    rows = {(" ".join(line.split())) for line in lines}
    assert "x3d_s 13x160x160 3.79 1.96 Feichtenhofer, CVPR 2020 mmaction2" in rows
    assert "tsm_r50 8x224x224 24.3 +0.1% 33 -0.9% the paper, table 2" in rows
    assert sum("tiny3d" in row for row in rows) == 1  # nobody published it


def test_an_unknown_name_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["models", "x3d_xs"])
    with pytest.raises(SystemExit, match="2"):
        models.main()
    assert "x3d_xs: no such net (command line); did you mean x3d_s" in capsys.readouterr().err
