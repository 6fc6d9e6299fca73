"""The end of a run whose files were deleted, renamed or replaced while it was running."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from vexp import compose, train
from vexp.core.errors import UserError
from vexp.training.recorder import Recorder

pytestmark = pytest.mark.integration


def run_disturbed(
    folder: Path, tiny: list[str], monkeypatch: pytest.MonkeyPatch, disturb: Callable[[Path], object]
) -> None:
    """Run two steps into ``folder``, with ``disturb(folder)`` before the second is recorded."""
    record = Recorder.record

    def disturbed(self: Recorder, state: object, values: object) -> None:
        if state.step == 2:  # type: ignore[attr-defined]
            disturb(folder)
        record(self, state, values)  # type: ignore[arg-type]

    monkeypatch.setattr(Recorder, "record", disturbed)
    train.run(compose([*tiny, "epochs=null", "max_steps=2"]), folder)


@pytest.mark.parametrize(
    ("disturb", "lost"),
    [
        (lambda folder: (folder / "metrics.jsonl").unlink(), "metrics.jsonl"),
        (lambda folder: (folder / "log.txt").rename(folder / "old.txt"), "log.txt"),
        (lambda folder: (folder / "log.txt").unlink() or (folder / "log.txt").write_text("new"), "log.txt"),
        (lambda folder: folder.rename(folder.with_name("renamed")), "metrics.jsonl and log.txt"),
        (shutil.rmtree, "metrics.jsonl and log.txt"),
    ],
    ids=["metrics_deleted", "log_renamed", "log_replaced", "folder_renamed", "folder_deleted"],
)
def test_run_that_lost_records_fails_at_its_end(
    disturb: Callable[[Path], object], lost: str, tmp_path: Path, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    with pytest.raises(UserError, match=f"{folder}: {lost} or the folder was deleted, renamed or replaced"):
        run_disturbed(folder, tiny, monkeypatch, disturb)
    result = json.loads((folder / "result.json").read_text())
    assert (result["status"], result["step"]) == ("failed", 2)
    assert lost in result["error"]
    assert (folder / "config.yaml").is_file()  # written again, so that the run can be resumed
    assert (folder / "checkpoints" / "last.pth").is_file()


def test_deleted_settings_are_written_again(
    tmp_path: Path, tiny: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def disturb(folder: Path) -> None:
        for name in ("config.yaml", "overrides.yaml", "env.json"):
            (folder / name).unlink()

    run_disturbed(tmp_path, tiny, monkeypatch, disturb)
    assert json.loads((tmp_path / "result.json").read_text())["status"] == "done"
    assert "warning: config.yaml, overrides.yaml, env.json: deleted during the run" in capsys.readouterr().out
    assert train.run(compose([*tiny, "resume=auto", "epochs=null", "max_steps=2"]), tmp_path)["status"] == "done"
