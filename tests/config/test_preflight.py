"""Files that a run will read are checked early, with a hint where a saved run's relative paths began."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vexp import compose
from vexp.config.preflight import check_inputs, working_directory_hint
from vexp.config.provenance import Provenance
from vexp.core.errors import UserError


def test_check_inputs_in_other_folder_names_folder_of_the_saved_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, run = tmp_path / "started", tmp_path / "run"
    started.mkdir()
    run.mkdir()
    overrides = ["data=video_list", "data.train.ann_file=train.txt", "eval=never"]
    (started / "train.txt").write_text("a.mp4 0\n")
    (run / "env.json").write_text(json.dumps({"cwd": str(started)}))
    provenance = Provenance(saved=run / "config.yaml")
    config = compose(overrides)
    monkeypatch.chdir(started)
    check_inputs(config, provenance)
    assert working_directory_hint(run) == []
    monkeypatch.chdir(run)
    with pytest.raises(UserError, match=r"(?s)train\.txt: no such file.*was started in .*/started, "):
        check_inputs(config, provenance)
    (run / "env.json").unlink()
    assert working_directory_hint(run) == []  # a folder without it
