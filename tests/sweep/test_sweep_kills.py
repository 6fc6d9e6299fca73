"""A grid of 24 jobs that is killed, and one of whose jobs cannot succeed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from support.run_files import read_metrics
from support.sweeps import GRID, SHORT, finish_times, jobs, kill_when, result, start, sweep, unfinished_jobs

from vexp import checkpoint

pytestmark = pytest.mark.slow
#: The overrides of each launcher, with two jobs at a time, and its package.
LAUNCHERS = {
    "basic": ([], "hydra"),
    "parallel": (["hydra/launcher=parallel"], "hydra_plugins.hydra_joblib_launcher"),
    "ray": (["hydra/launcher=ray", "hydra.launcher.address=local", "+hydra.launcher.init.num_cpus=2"], "ray"),
}


@pytest.fixture(scope="module")
def unkilled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unkilled")
    status, output = sweep(folder, GRID)
    assert (status, len(finish_times(folder))) == (0, 24), output
    return folder


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_killed_sweep_resumes_to_same_results(unkilled: Path, tmp_path: Path, launcher: str) -> None:
    """Every job ends exactly once, as if nothing had been."""
    chosen, package = LAUNCHERS[launcher]
    pytest.importorskip(package, reason=f"{package} is not installed")
    overrides = [*GRID, *chosen]
    before: dict[str, int] = {}
    for kill in range(3):
        process, enough = start(tmp_path, overrides), 4 + 6 * kill
        kill_when(
            process, lambda enough=enough: len(finish_times(tmp_path)) >= enough and bool(unfinished_jobs(tmp_path))
        )
        time.sleep(3 if launcher == "ray" else 1)  # the orphans of a launcher end by themselves
        done, half = finish_times(tmp_path), unfinished_jobs(tmp_path)
        assert half or launcher != "basic"  # the orphans of the others may finish their jobs within the second
        assert len(done) < 24
        assert done.items() >= before.items()  # what had ended was not run again
        before = done
    assert start(tmp_path, overrides).wait(timeout=600) == 0
    output = (tmp_path / "output.txt").read_text()
    assert f"{len(before)} done before" in output
    assert not half or "to resume" in output
    after = finish_times(tmp_path)
    assert len(after) == 24
    assert after.items() >= before.items()
    for one, other in zip(jobs(unkilled), jobs(tmp_path), strict=True):
        assert one.name == other.name
        assert read_metrics(one) == read_metrics(other)
        same = ("status", "step", "metrics", "best", "overrides")
        assert [result(one)[key] for key in same] == [result(other)[key] for key in same]
        states = [checkpoint.load(job / "checkpoints" / "last.pth")["model"] for job in (one, other)]
        assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_failed_job_alone_is_retried(unkilled: Path, tmp_path: Path) -> None:
    """It is printed at once and in the table, the other 23 finish, and only that one is tried again."""
    chosen = jobs(unkilled)[7].name
    broken = tmp_path / "runs" / "sweeps" / "s" / chosen
    broken.mkdir(parents=True)
    (broken / "checkpoints").touch()  # a file where a folder must be
    status, output = sweep(tmp_path, GRID)
    assert status == 1
    assert (len(finish_times(tmp_path)), result(broken)["status"]) == (23, "failed")
    assert f"job {chosen} failed\nvexp: error: " in output
    assert "24 jobs: 23 done, 1 failed" in output
    row = next(line for line in output.splitlines() if " failed " in f"{line} " and "optimizer=" in line)
    assert all(
        word in row for word in result(broken)["overrides"] if word.startswith(("lr_policy", "optimizer", "seed"))
    )
    before = finish_times(tmp_path)
    (broken / "checkpoints").unlink()
    status, output = sweep(tmp_path, GRID)
    assert (status, "24 jobs: 23 done before, 1 to retry" in output) == (0, True), output
    after = finish_times(tmp_path)
    assert after.items() >= before.items()
    assert len(after) == 24
    assert read_metrics(broken) == read_metrics(jobs(unkilled)[7])


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_sigterm_stops_sweep_with_checkpoints(tmp_path: Path, launcher: str) -> None:
    """SIGTERM to the sweep alone: its running jobs save a checkpoint, 75, and the same command goes on."""
    chosen, package = LAUNCHERS[launcher]
    pytest.importorskip(package, reason=f"{package} is not installed")
    overrides = ["seed=range(4)", "sweep.name=s", "epochs=40", "checkpoint.interval=-1", *chosen]
    process = start(tmp_path, overrides)
    until = time.monotonic() + 120
    while not any((job / "metrics.jsonl").exists() and len(read_metrics(job)) > 4 for job in jobs(tmp_path)):
        assert time.monotonic() < until
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 75
    output = (tmp_path / "output.txt").read_text()
    assert "stopped by SIGTERM; run the same command again to resume" in output
    found = [result(job).get("status") for job in jobs(tmp_path)]
    assert set(found) == {"interrupted"}
    assert len(found) == (1 if launcher == "basic" else 2)
    assert all((job / "checkpoints" / "last.pth").exists() or result(job)["step"] == 0 for job in jobs(tmp_path))
    assert not (tmp_path / "runs" / "sweeps" / "s" / ".stop").exists()


def test_third_job_equals_job_alone(tmp_path: Path) -> None:
    """No seed, switch, thread count or handler leaks from the jobs before."""
    fixed = ["model.dropout=0.3", "backend.tf32=all"]
    status, output = sweep(tmp_path, ["deterministic=true,false", "backend.threads=2,1", "sweep.name=s", *fixed])
    assert status == 0, output
    swept = {"deterministic=False", "backend.threads=2"}  # the third
    third = next(job for job in jobs(tmp_path) if swept <= {*result(job)["overrides"]})
    alone = ["deterministic=false", "backend.threads=2", *fixed, "run_name=alone"]
    subprocess.run([sys.executable, "-m", "vexp.train", *SHORT, *alone], cwd=tmp_path, check=True, capture_output=True)
    (single,) = (tmp_path / "runs" / "alone").iterdir()
    assert read_metrics(third) == read_metrics(single)


def test_preempted_submitit_job_is_requeued(tmp_path: Path) -> None:
    """The signal of Slurm's time limit: a checkpoint of that step, queued again, gone on with in the same folder."""
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    overrides = ["seed=0,1", "sweep.name=s", "epochs=12", "checkpoint.interval=-1", "hydra/launcher=submitit_local"]
    process = start(tmp_path, overrides)
    until = time.monotonic() + 120
    while not (
        jobs(tmp_path)
        and all((job / "metrics.jsonl").exists() and len(read_metrics(job)) > 4 for job in jobs(tmp_path))
    ):
        assert time.monotonic() < until
        time.sleep(0.02)
    job = jobs(tmp_path)[0]
    holder = int((job / ".lock").read_text().split()[1])
    os.kill(holder, signal.SIGUSR2)
    assert process.wait(timeout=200) == 0
    assert [result(job)["status"] for job in jobs(tmp_path)] == ["done", "done"]
    log = (job / "log.txt").read_text()
    assert "stopped by SIGUSR2 after step" in log
    assert "resumed from" in log
    steps = [record["step"] for record in read_metrics(job) if record["mode"] == "train"]
    assert steps == list(range(1, 25))
    assert json.loads((job / "result.json").read_text())["step"] == 24
