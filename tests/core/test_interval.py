"""Interval.due: truth tables over whole runs, by epoch and by step."""

import pytest
from omegaconf import OmegaConf

from vexp.core.interval import Interval


def due_steps(every, steps, steps_per_epoch):
    return [step for step in range(steps + 1) if every.due(step, steps_per_epoch)]


@pytest.mark.parametrize(
    ("interval", "start", "epochs"),
    [
        (1, None, [1, 2, 3, 4, 5, 6, 7]),  # every epoch
        (2, None, [2, 4, 6]),  # multiples of the interval; the last epoch is none
        (3, None, [3, 6]),
        (9, None, []),  # longer than the run
        (1, 0, [1, 2, 3, 4, 5, 6, 7]),  # start 0 equals no start during training
        (2, 0, [2, 4, 6]),
        (1, 1, [1, 2, 3, 4, 5, 6, 7]),
        (2, 1, [1, 3, 5, 7]),  # counted from the start
        (3, 1, [1, 4, 7]),
        (1, 3, [3, 4, 5, 6, 7]),  # nothing before the start
        (2, 3, [3, 5, 7]),
        (3, 3, [3, 6]),
        (2, 5, [5, 7]),
        (1, 20, []),  # starts after the run
        (-1, None, []),  # never
        (-1, 2, []),
    ],
)
def test_due_by_epoch_and_by_step(interval, start, epochs):
    # 7 epochs of 3 steps: due only at the last step of an epoch.
    assert due_steps(Interval(interval, True, start), 21, 3) == [3 * epoch for epoch in epochs]
    # 7 steps: the same numbers count steps, for any length of an epoch.
    assert due_steps(Interval(interval, False, start), 7, 3) == epochs
    assert due_steps(Interval(interval, False, start), 7, 100) == epochs


def test_due_is_false_before_first_step():
    assert not Interval(1, True).due(0, 3)
    assert not Interval(1, False).due(0, 3)
    assert not Interval(1, False, 0).due(0, 3)


def test_due_ignores_unfinished_epoch():
    assert due_steps(Interval(1, True), 10, 4) == [4, 8]  # max_steps=10 ends in the third epoch


@pytest.mark.parametrize("interval", [0, -2, -100])
def test_interval_rejects_zero_and_other_negatives(interval):
    with pytest.raises(ValueError, match=rf"interval={interval}: must be >= 1, or -1 for never"):
        Interval(interval, True)


def test_interval_rejects_negative_start():
    with pytest.raises(ValueError, match="start=-1: must be >= 0"):
        Interval(1, True, -1)


def test_interval_from_keywords_and_config_node():
    assert Interval(interval=2, by_epoch=False, start=3) == Interval(2, False, 3)
    assert OmegaConf.to_object(OmegaConf.structured(Interval(2, True))) == Interval(2, True)
