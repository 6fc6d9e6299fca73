"""Files that ``vexp plan`` writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from vexp import compose
from vexp.tools import plan


@pytest.mark.parametrize("write", [plan.write_csv, plan.draw])
def test_write_leaves_the_previous_file_if_it_fails(
    write: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_plan = plan.build_plan(compose(["epochs=1"]))
    path = tmp_path / "lr.png"
    path.write_text("previous")

    def no_rate(*_: object) -> float:
        raise OSError("no space left")

    monkeypatch.setattr(plan.RunPlan, "lr", no_rate)
    with pytest.raises(OSError, match="no space left"):
        write(run_plan, path)  # type: ignore[operator]
    assert path.read_text() == "previous"
    assert [file.name for file in tmp_path.iterdir()] == ["lr.png"]
