"""Small sweeps in this process: what is run, skipped, refused and printed."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
import yaml
from support.sweeps import SHORT, jobs, result
from support.tables import default_lane_has

from vexp import train
from vexp.config.overrides import groups_text


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", sys.argv)


def sweep(*overrides: str) -> int:
    """The exit status of ``python -m vexp.train -m OVERRIDES``."""
    return train.main(["-m", *SHORT, "max_steps=1", "epochs=null", "sweep.name=s", *overrides])


def test_sweep_runs_every_job_and_lists_failed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep("lr=step", "data.train.indices=4,[99]") == 1
    printed = capsys.readouterr()
    assert [result(job)["status"] for job in jobs(tmp_path)] == ["failed", "done"]
    assert printed.err.count("vexp: error: data.train.indices: 99 is outside 0..7") == 1
    assert "failed: data.train.indices=[99]: data.train.indices: 99" in printed.err
    assert "2 jobs: 1 done, 1 failed; in runs/sweeps/s" in printed.out


@pytest.mark.integration
def test_sweep_runs_each_job_once_and_retries_failed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep("lr=step", "data.train.indices=4,[99]") == 1
    capsys.readouterr()
    times = [(job / "result.json").stat().st_mtime_ns for job in jobs(tmp_path)]
    # in another order, one of them twice, a new one; and none begins after the first that fails
    assert sweep("lr=step", "data.train.indices=[99],4,[99],[98]", "sweep.fail_fast=true") == 1
    printed = capsys.readouterr()
    assert "3 jobs: 1 done before, 1 to retry, 1 new" in printed.out
    assert printed.err.count("vexp: error:") == 1
    assert "stopped by sweep.fail_fast" in printed.out
    again = [(job / "result.json").stat().st_mtime_ns for job in jobs(tmp_path)]
    assert [now == then for now, then in zip(again, times, strict=True)] == [False, True]
    assert sweep("lr=step,step", "data.train.indices=4") == 0  # swept now, and not then: the same folder
    assert "1 jobs: 1 done before" in capsys.readouterr().out
    assert len(jobs(tmp_path)) == 2
    left = [path.name for path in (tmp_path / "runs" / "sweeps" / "s").iterdir()]
    assert sorted(left) == [".lock", *(job.name for job in jobs(tmp_path))]  # nothing but the jobs


@pytest.mark.slow
def test_sweep_with_changed_job_refuses_keeps_or_reruns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep("seed=0,1") == 0
    job = jobs(tmp_path)[0]
    saved = yaml.safe_load((job / "config.yaml").read_text())
    saved["optimizer"]["lr"] = 0.5
    (job / "config.yaml").write_text(yaml.safe_dump(saved))
    capsys.readouterr()
    assert sweep("seed=0,1") == 1
    printed = capsys.readouterr()
    assert (
        "was run with other settings: optimizer.lr 0.5 -> 0.003. Choose another folder (sweep.name=NEW)" in printed.err
    )
    assert "2 jobs: 1 done before, 1 with other settings" in printed.out
    assert "1 changed" in printed.out
    assert sweep("seed=0,1", "sweep.changed=keep") == 0
    assert "2 jobs: 2 done before" in capsys.readouterr().out
    assert sweep("seed=0,1", "sweep.changed=rerun") == 0
    assert (tmp_path / "runs" / "sweeps" / "s" / ".replaced" / f"{job.name}.1" / "result.json").exists()
    assert sweep("seed=0,1") == 0
    assert "2 jobs: 2 done before" in capsys.readouterr().out


#: overrides -> what is printed, before a folder is made and a job begun
REFUSED = [
    (["lr=step,cosine", "optimizer=sgd,sdg"], "optimizer=sdg: no such option"),
    (["seed=0,1", "optimizer=sgd,adamw", "optimizer.momentum=0.9"], "AdamW has no 'momentum'"),
    (
        ["seed=0,1", "optimizer.lr=interval(0,1)"],
        "a grid needs values, a,b,c or range(...); hydra/sweeper=optuna accepts intervals",
    ),
    (["seed=0,1", "init_from=nowhere.pth"], "nowhere.pth"),
    (["hydra/sweeper=optuna", "seed=0,1", "hydra.sweeper.n_trails=9"], "did you mean hydra.sweeper.n_trials?"),
    (["hydra/sweeper=optuna", "seed=0,1", "hydra.sweeper.n_trials=0"], "hydra.sweeper.n_trials=0: must be >= 1"),
    (["hydra/launcher=ray", "seed=0,1", "hydra.launcher.n_cpus=9"], "did you mean hydra.launcher.num_cpus?"),
    (["hydra/sweeper=optuna"], "no key has values to choose from"),
    (["hydra/sweeper=optuna", "seed=0,-1"], "seed=-1: must be >= 0"),
]


@pytest.mark.parametrize(("overrides", "message"), default_lane_has(1, REFUSED))
def test_invalid_sweep_is_refused_before_first_job(
    overrides: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if "optuna" in overrides[0] and importlib.util.find_spec("optuna") is None:
        pytest.skip("optuna is not installed")
    assert sweep(*overrides) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("vexp: error: ")
    assert message in printed.err
    assert not list(tmp_path.rglob("*.*"))


def test_sweep_under_torchrun_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert sweep("seed=0,1") == 2
    assert "torchrun has started 2 processes" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.*"))
    monkeypatch.delenv("RANK")  # a scheduler's own variable means nothing alone
    assert sweep("seed=0,1", "optimizer=sdg") == 2
    assert "optimizer=sdg: no such option" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("word", "extra"),
    [
        ("hydra/launcher=parallel", "joblib"),
        ("hydra/launcher=slurm", "slurm"),
        ("hydra/launcher=ray", "ray"),
        ("hydra/sweeper=optuna", "optuna"),
    ],
)
def test_missing_extra_is_an_error_with_pip_command(
    word: str, extra: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from hydra.core.config_store import ConfigStore
    from hydra.core.plugins import Plugins

    Plugins.instance()  # has stored what is installed by now
    store = ConfigStore.instance().repo["hydra"]["launcher"]
    for name in ("joblib.yaml", "submitit_slurm.yaml"):
        monkeypatch.delitem(store, name, raising=False)
    for name in ("optuna", "ray"):
        monkeypatch.setitem(sys.modules, name, None)
    assert sweep(word, "seed=0,1") == 2
    option = {"joblib": "hydra/launcher=joblib", "slurm": "hydra/launcher=submitit_slurm"}.get(extra, word)
    expected = f"vexp: error: {option}: needs a package that is not installed: pip install 'vexp[{extra}]'\n"
    assert capsys.readouterr().err == expected


def test_help_lists_launchers_and_sweepers() -> None:
    assert "  hydra/launcher=parallel|ray|slurm" in groups_text()
    assert "  hydra/sweeper=grid|optuna" in groups_text()
