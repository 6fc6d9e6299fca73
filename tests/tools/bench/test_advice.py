"""What ``vexp bench`` concludes from measured speeds."""

import pytest

from vexp.tools.bench.advice import Candidate, Trial, conclusion, limit_of
from vexp.tools.bench.measure import CORES, LOADING, STEP, SampleCost, Speeds

COST = SampleCost(decode=8.0, resize=1.0, transport=1.0, copy=0.0, step=10.0)


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


@pytest.mark.parametrize(
    ("training", "costs", "limit"),
    [
        (95, (8, 1, 1, 0, 10), "step"),
        (95, (8, 1, 1, 6, 4), "copy"),
        (48, (8, 1, 1, 0, 10), "decode"),
        (48, (2, 5, 1, 0, 10), "resize"),
        (48, (2, 1, 5, 9, 1), "transport"),
    ],
)
def test_limit_of_table(training, costs, limit):
    assert limit_of(Speeds(loading=50, step=100, training=training), SampleCost(*costs)) == limit


def trial(override, before, after, note="", is_certain=True):
    return Trial(Candidate(override, note), before, after, is_certain)


def test_conclusion_names_overrides_that_were_not_tried():
    text = conclusion(Speeds(200, 100, 103), COST, [], ["backend.channels_last=true", "data.batch_size=16"])
    assert text == (
        "The limit is the training step: training reaches 100% of the speed of the step alone. No override was tried. "
        "There was no time to try backend.channels_last=true, data.batch_size=16: raise seconds."
    )


@pytest.mark.parametrize(
    ("speeds", "trials", "text"),
    [
        (
            Speeds(200, 100, 95),
            [trial("data.batch_size=16", 100, 110, "changes the training"), trial("backend.tf32=all", 100, 104)],
            "The limit is the training step: training reaches 95% of the speed of the step alone. "
            "data.batch_size=16 gained 10% when tried (changes the training).",
        ),
        (
            Speeds(50, 100, 48),
            [trial("data.num_workers=4", 48, 49), trial("data.num_workers=1", 48, 60, is_certain=False)],
            "The limit is decoding (80% of the time to load a sample): training reaches 48% of the speed of the step "
            "alone. No override that was tried gained 3% or more in every measurement.",
        ),
        (
            Speeds(110, 100, 60),
            [],
            "The limit is decoding (80% of the time to load a sample), which competes with the training step for the "
            "CPU cores: training reaches 60% of the speed of the step alone. No override was tried.",
        ),
    ],
)
def test_conclusion_of_table(speeds, trials, text):
    assert conclusion(speeds, COST, trials) == text
