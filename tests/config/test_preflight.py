"""What a run will read is asked for early, and where a saved run's relative paths began is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vexp import compose
from vexp.config.preflight import check_inputs, working_directory_hint
from vexp.config.provenance import Provenance
from vexp.core.errors import UserError


def test_a_run_that_is_repeated_elsewhere_is_told_where_its_paths_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, run = tmp_path / "started", tmp_path / "run"
    started.mkdir()
    run.mkdir()
    words = ["data=video_list", "data.train.ann_file=train.txt", "eval=never"]
    (started / "train.txt").write_text("a.mp4 0\n")
    (run / "env.json").write_text(json.dumps({"cwd": str(started)}))
    origins = Provenance(saved=run / "config.yaml")
    config = compose(words)
    monkeypatch.chdir(started)
    check_inputs(config, origins)
    assert working_directory_hint(run) == []
    monkeypatch.chdir(run)
    with pytest.raises(UserError, match=r"(?s)train\.txt: no such file.*was started in .*/started, where its relative"):
        check_inputs(config, origins)
    (run / "env.json").unlink()
    assert working_directory_hint(run) == []  # a folder without it
