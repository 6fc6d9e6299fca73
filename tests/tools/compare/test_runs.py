"""Reading run folders in every state."""

import json

import numpy as np
import pytest
from support.run_folders import CLASSES, make_run

from vexp.core.errors import UserError
from vexp.tools.compare.runs import find_runs, read_run, read_runs

OVERRIDES = ["optimizer=sgd", "seed=3"]


def test_read_run_finished(tmp_path):
    run = read_run(make_run(tmp_path / "a", OVERRIDES, scores=[0.25, 0.75, 0.5]), "a")
    assert (run.status, run.why, run.notes, run.version) == ("done", "", [], "0.1.0")
    assert (run.config["optimizer.type"], run.config["seed"]) == ("sgd", "3")
    assert run.overrides == {"optimizer": "sgd", "seed": "3"}
    top1 = run.series["val/top1_acc"]
    assert (top1.steps.tolist(), top1.values.tolist()) == ([10, 20, 30], [0.25, 0.75, 0.5])
    assert len(run.series["train/loss"].steps) == 30
    assert not [name for name in run.series if name.count("/") > 1]  # no timings, no rates of groups
    assert (run.steps_per_epoch, run.seconds, run.best_metric, run.classes) == (10, 131.0, "top1_acc", CLASSES)


@pytest.mark.parametrize(
    ("changes", "status", "why"),
    [
        # a kill -9, or still at work
        ({"status": None}, "unfinished", "no result.json: the run is still running or was killed after step 40"),
        # the first line of the error
        ({"status": "failed", "error": "no frames\nin a.mp4"}, "failed", "no frames"),
        # SIGTERM
        ({"status": "interrupted"}, "interrupted", "interrupted after step 40"),
    ],
)
def test_read_run_not_finished(tmp_path, changes, status, why):
    run = read_run(make_run(tmp_path / "a", OVERRIDES, **changes), "a")
    assert (run.status, run.why) == (status, why)


def test_read_run_continued_after_result_is_unfinished(tmp_path):
    folder = make_run(tmp_path / "a", OVERRIDES)
    result = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps(result | {"step": 30}))
    run = read_run(folder, "a")
    assert (run.status, run.why) == ("unfinished", "result.json is from step 30, but the run continued to step 40")


def test_read_run_skips_incomplete_line(tmp_path):
    folder = make_run(tmp_path / "a", OVERRIDES)
    text = (folder / "metrics.jsonl").read_text()
    (folder / "metrics.jsonl").write_text(text[:-20])
    run = read_run(folder, "a")
    assert run.notes == ["metrics.jsonl: line 44 is incomplete and left out"]
    assert run.series["val/top1_acc"].steps.tolist() == [10, 20, 30]


def test_read_run_with_invalid_files(tmp_path):
    folder = make_run(tmp_path / "a", OVERRIDES, scores=[0.5, float("nan")])
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('17\n[]\n{"mode": "val"}\n{"mode": "val", "step": 20, "epoch": 2, "note": "text"}\n')
    for name in ("result.json", "eval/report.json", "env.json", "overrides.yaml", "eval/per_class.csv"):
        (folder / name).write_bytes(b"\xff[{")
    run = read_run(folder, "a")
    assert np.isnan(run.series["val/top1_acc"].values[1])
    assert (run.status, run.report, run.overrides, run.version, run.classes) == ("unfinished", {}, {}, None, [])


def test_find_runs_at_any_depth_without_copies(tmp_path):
    """Hydra saves a config.yaml in .hydra, wandb one in the run folder."""
    for name in ("s/b", "s/deep/er/a"):
        make_run(tmp_path / name, OVERRIDES)
    for copy in ("s/.hydra", "s/b/wandb/files"):
        (tmp_path / copy).mkdir(parents=True)
        (tmp_path / copy / "config.yaml").write_text("a: 1")
    found = find_runs([tmp_path / "s" / "b", tmp_path / "s"])
    assert [path.relative_to(tmp_path).as_posix() for path in found] == ["s/b", "s/deep/er/a"]  # each once
    assert [run.name for run in read_runs(found)[0]] == ["b", "deep/er/a"]


def test_find_runs_without_runs_raises(tmp_path):
    with pytest.raises(UserError, match="nowhere: no such folder"):
        find_runs([tmp_path / "nowhere"])
    with pytest.raises(UserError, match="contains no run folder"):
        find_runs([tmp_path])


def test_read_runs_reports_job_without_config(tmp_path):
    make_run(tmp_path / "s" / "good", OVERRIDES)
    bad = tmp_path / "s" / "bad"
    bad.mkdir()
    (bad / "result.json").write_text(
        json.dumps({"status": "failed", "error": "UserError: lr=3: no such option\n  options"})
    )
    runs, faults = read_runs(find_runs([tmp_path / "s"]))
    assert [run.name for run in runs] == ["good"]
    assert faults == [f"{bad}: left out, because it failed at its start: UserError: lr=3: no such option"]


@pytest.mark.parametrize("content", [b"a: [1", b"- 1", b"\xff\xfe\x00", b""])
def test_read_runs_reports_unreadable_config(tmp_path, content):
    bad = make_run(tmp_path / "s" / "bad", OVERRIDES)
    (bad / "config.yaml").write_bytes(content)
    runs, faults = read_runs([make_run(tmp_path / "s" / "good", OVERRIDES), bad])
    assert [run.name for run in runs] == ["good"]
    assert len(faults) == 1
    assert faults[0].startswith(f"{bad}: left out, because its config.yaml cannot be read: ")
