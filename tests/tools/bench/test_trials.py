"""Which overrides ``vexp bench`` tries within its time, and what it makes of the measurements."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from vexp.core.errors import ConfigError, UserError
from vexp.tools.bench import trials
from vexp.tools.bench.advice import Candidate
from vexp.tools.bench.measure import Speeds
from vexp.tools.bench.proxies import with_proxies

CANDIDATES = [Candidate("data.num_workers=1", ""), Candidate("data.num_workers=0", "")]


class Run:
    """A run of which one measurement has each of some speeds, in samples per second."""

    def __init__(self, *speeds: float) -> None:
        self.speeds = list(speeds)
        self.overhead = 1.0
        self.exp = SimpleNamespace(plan=SimpleNamespace(samples_per_step=10))

    def training(self, seconds: float) -> float:
        return self.speeds.pop(0)

    step = training


@pytest.fixture(autouse=True)
def fixed_candidates(monkeypatch):
    monkeypatch.setattr(trials, "candidates", lambda run, limit: CANDIDATES)


def measured(monkeypatch, run, *others, seconds=600.0, speeds=Speeds(50, 100, 48)):  # noqa: B008 - it is frozen
    remaining = list(others)
    monkeypatch.setattr(trials, "Measurement", lambda config: remaining.pop(0))

    def compose(override):
        if not remaining:
            raise UserError("the batch is larger than the data set")
        return SimpleNamespace(data=SimpleNamespace(cache=None))

    found = trials.Trials(run, speeds, compose, Path())
    return found, found.measure(seconds)


def test_trial_is_certain_if_every_pair_agrees(monkeypatch):
    _, (first, second) = measured(monkeypatch, Run(10, 12, 10, 12), Run(11, 13), Run(11, 11))
    assert (first.before, first.after, first.is_certain) == (11, 12, True)
    assert (second.after, second.is_certain) == (11, False)


def test_override_that_a_run_refuses_is_listed_with_the_reason(monkeypatch):
    found, (trial,) = measured(monkeypatch, Run(10, 10), Run(9, 9))
    assert trial.gain == pytest.approx(-0.1)
    assert found.failed == {"data.num_workers=0": "the batch is larger than the data set"}


@pytest.mark.parametrize(
    ("seconds", "speeds", "tried"),
    [
        (2.1, Speeds(50, 100, 48), False),  # a pair takes twice 0.1 s of a step and 1 s to start
        (2.3, Speeds(50, 100, 48), True),
        (14.9, Speeds(50, 2, 2), False),  # steps of 5 s, which are timed without loading; one more warms up
        (15.1, Speeds(50, 2, 2), True),
    ],
)
def test_override_is_tried_only_if_there_is_time(monkeypatch, seconds, speeds, tried):
    others = Run(20, 20), Run(20, 20)
    found, results = measured(monkeypatch, Run(10, 10, 10, 10), *others, seconds=seconds, speeds=speeds)
    assert bool(results) == tried
    assert (found.untried == [candidate.override for candidate in CANDIDATES]) == (not tried)


def test_proxies_are_refused_for_other_data_than_videos(tmp_path):
    run = SimpleNamespace(exp=SimpleNamespace(train_set=SimpleNamespace(source="raw frames")))
    with pytest.raises(ConfigError, match="is for video files"):
        with_proxies(run, tmp_path, 1.0)
