"""What ``vexp bench`` concludes from measured speeds."""

import pytest

from vexp.tools.bench.advice import Candidate, Trial, conclusion
from vexp.tools.bench.measure import CORES, LOADING, STEP, SampleCost, Speeds

COST = SampleCost(decode=8.0, transform=1.0, collate=1.0)


@pytest.mark.parametrize(
    ("speeds", "limit", "share"),
    [
        (Speeds(loading=200, step=100, training=95), STEP, 0.95),
        (Speeds(loading=200, step=100, training=90), STEP, 0.9),
        (Speeds(loading=50, step=100, training=48), LOADING, 0.48),
        (Speeds(loading=110, step=100, training=60), CORES, 0.6),
        (Speeds(loading=50, step=100, training=30), CORES, 0.3),
    ],
)
def test_speeds_limit_of_table(speeds, limit, share):
    assert (speeds.limit, speeds.share) == (limit, pytest.approx(share))


def trial(override, before, after, note=""):
    return Trial(Candidate(override, note), before, after)


@pytest.mark.parametrize(
    ("speeds", "trials", "text"),
    [
        (
            Speeds(200, 100, 95),
            [trial("data.batch_size=16", 100, 110, "changes the training"), trial("backend.tf32=all", 100, 104)],
            "The training step is the limit: training reaches 95% of the speed of the step alone. "
            "data.batch_size=16 gained 10% when tried (changes the training).",
        ),
        (
            Speeds(50, 100, 48),
            [trial("data.num_workers=4", 48, 49)],
            "Data loading is the limit, mostly decoding (80% of a sample's CPU time): training reaches 48% of the "
            "speed of the step alone. No override that was tried gained 3% or more.",
        ),
        (
            Speeds(110, 100, 60),
            [],
            "Workers and training step compete for the CPU cores: training reaches 60% of the speed of the step alone. "
            "Loading is mostly decoding (80% of a sample's CPU time). No override was tried.",
        ),
    ],
)
def test_conclusion_of_table(speeds, trials, text):
    assert conclusion(speeds, COST, trials) == text
