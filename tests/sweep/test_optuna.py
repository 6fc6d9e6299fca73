"""Searches with Optuna: distributions, results that the study receives, and resuming a killed search."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from support.run_files import read_metrics
from support.sweeps import finish_times, jobs, kill_when, start, sweep, unfinished_jobs

from vexp.config.schema import Config
from vexp.config.sweep import Sweep
from vexp.sweep import optuna as searching
from vexp.sweep.job_overrides import SweepOverrides
from vexp.sweep.job_state import DONE, Job, Objective

optuna = pytest.importorskip("optuna")
distributions = optuna.distributions


@pytest.mark.parametrize(
    ("word", "wanted"),
    [
        ("x=interval(0.1,1.0)", distributions.FloatDistribution(0.1, 1.0)),
        ("x=tag(log,interval(1e-4,1e-1))", distributions.FloatDistribution(1e-4, 1e-1, log=True)),
        ("x=int(interval(1,5))", distributions.IntDistribution(1, 5)),
        ("x=range(0,9,2)", distributions.IntDistribution(0, 8, step=2)),
        ("x=sgd,adamw", distributions.CategoricalDistribution(["sgd", "adamw"])),
        ("x=choice(1,2)", distributions.CategoricalDistribution(["1", "2"])),
        ("x=[1,2],[3]", distributions.CategoricalDistribution(["[1,2]", "[3]"])),
    ],
)
def test_distribution_of_swept_override(word: str, wanted: Any) -> None:
    (override,) = OverridesParser.create().parse_overrides([word])
    assert searching.distribution(override) == wanted


class Pretended:
    """An invocation whose jobs are a formula: the best x is 0.3; below 0.2 it is not finite, above 0.8 it fails."""

    def __init__(self, folder: Path, config: Config, *, stop_after: int | None = None) -> None:
        self.folder, self.template, self.left = folder, config, stop_after
        self.jobs: dict[Path, Job] = {}
        self.config, self.stopped = None, None
        self.ran: list[float] = []

    def compose(self, overrides: list[str]) -> Job:
        return Job(overrides, " ".join(overrides), self.folder / "_".join(overrides), self.template)

    def run(self, jobs: list[Job]) -> None:
        for job in jobs:
            job.refresh()
            if job.state == DONE:
                continue
            if self.left == 0:
                self.stopped = "SIGTERM"
                return
            self.left = None if self.left is None else self.left - 1
            x = float(job.overrides[-1].partition("=")[2])
            self.ran.append(x)
            value = math.nan if x < 0.2 else (x - 0.3) ** 2
            result = {"status": "failed" if x > 0.8 else "done", "metrics": {"val/loss": value}}
            job.folder.mkdir(exist_ok=True)
            (job.folder / "result.json").write_text(json.dumps(result))
            job.ran = True


@pytest.mark.slow
def test_study_receives_results_and_resumes(tmp_path: Path) -> None:
    """Failed and not finite trials end none; what was begun and not ended is run first, with the same values."""
    config = object.__new__(Config)
    config.sweep = Sweep(objective="val/loss")
    options, objective = searching.SearchOptions(n_trials=20), Objective("loss", False)
    read = SweepOverrides.parse(["x=interval(0.0,1.0)"], None)
    states = optuna.trial.TrialState

    def go_on(stop_after: int | None) -> tuple[Any, Pretended]:
        pretended: Any = Pretended(tmp_path, config, stop_after=stop_after)
        pretended.overrides = read
        study = searching.open_study(pretended, options, objective)
        searching.run_trials(pretended, study, options, objective, max_parallel=3)
        return study, pretended

    study, first = go_on(7)
    assert len(first.ran) == 7
    begun = [trial.params["x"] for trial in study.get_trials(states=(states.RUNNING,))]
    assert len(begun) == 2
    study, second = go_on(None)
    assert second.ran[:2] == begun
    assert len(study.trials) == 20
    assert len(first.ran) + len(second.ran) == 20
    for trial in study.trials:
        x = trial.params["x"]
        assert trial.state == (states.FAIL if x < 0.2 or x > 0.8 else states.COMPLETE)
    assert {trial.state for trial in study.trials} == {states.FAIL, states.COMPLETE}
    assert study.best_params["x"] == pytest.approx(0.3, abs=0.15)
    assert len({*first.ran, *second.ran}) == 20  # the proposals go on, not again
    assert go_on(None)[1].ran == []


OVERRIDES = [
    "hydra/sweeper=optuna", "hydra.sweeper.n_trials=20", "hydra.sweeper.sampler=random", "sweep.name=s",
    "optimizer.lr=tag(log,interval(1e-4,1e-1))", "data.train.indices=8,4,[99]",
]  # fmt: skip


@pytest.mark.slow
def test_killed_search_resumes_to_n_trials(tmp_path: Path) -> None:
    """By the command itself, with trials that cannot be run among them."""
    for enough in (3, 7):
        process = start(tmp_path, OVERRIDES)
        kill_when(
            process, lambda enough=enough: len(finish_times(tmp_path)) >= enough and bool(unfinished_jobs(tmp_path))
        )
    before, (half,) = finish_times(tmp_path), unfinished_jobs(tmp_path)
    status, output = sweep(tmp_path, OVERRIDES)
    after = finish_times(tmp_path)
    assert after.items() >= before.items()
    assert half in after
    study = optuna.load_study(study_name="s", storage=f"sqlite:///{tmp_path}/runs/sweeps/s/optuna.db")
    states = [trial.state.name for trial in study.trials]
    failed = states.count("FAIL")
    assert (len(states), states.count("COMPLETE")) == (20, len(after))
    assert failed == 20 - len(after) > 0
    assert status == 1
    assert "20 jobs: " in output
    assert f"{failed} failed" in output
    for job in (job for job in jobs(tmp_path) if job.name in after):
        steps = [record["step"] for record in read_metrics(job) if record["mode"] == "train"]
        assert steps == sorted({*steps})
