"""The mean and the band over the runs of a setting."""

import math

import numpy as np
import pytest

from vexp.tools.compare.curves import band
from vexp.tools.compare.metrics_file import Series

NAN = math.nan


def series(steps, values):
    return Series(np.array(steps), np.array(values, np.float64))


@pytest.mark.parametrize(
    ("runs", "steps", "mean", "low", "high", "std", "count"),
    [
        # equal steps
        ([([1, 2], [1, 5]), ([1, 2], [3, 5])], [1, 2], [2, 5], [1, 5], [3, 5], [math.sqrt(2), 0], [2, 2]),
        # a run counts between its first and its last step, interpolated
        ([([0, 4], [0, 4]), ([2, 6], [6, 6])], [0, 2, 4, 6], [0, 4, 5, 6], [0, 2, 4, 6], [0, 6, 6, 6],
         [NAN, math.sqrt(8), math.sqrt(2), NAN], [1, 2, 2, 1]),
        # values that are not finite do not count
        ([([1, 2], [NAN, 1]), ([1, 2], [math.inf, 3])], [1, 2], [NAN, 2], [NAN, 1], [NAN, 3],
         [NAN, math.sqrt(2)], [0, 2]),
        # one run, with a step that was evaluated twice
        ([([3, 1, 3], [1, 2, 1])], [1, 3], [2, 1], [2, 1], [2, 1], [NAN, NAN], [1, 1]),
    ],
)  # fmt: skip
def test_band(runs, steps, mean, low, high, std, count):
    found = band([series(*run) for run in runs], 100)
    for name, expected in {"steps": steps, "mean": mean, "low": low, "high": high, "std": std, "count": count}.items():
        np.testing.assert_allclose(getattr(found, name), expected, err_msg=name)


def test_band_keeps_evenly_spaced_steps():
    runs = [series(np.arange(1, 1002), np.full(1001, value)) for value in (1.0, 2.0)]
    found = band(runs, 11)
    assert found.steps.tolist() == list(range(1, 1002, 100))
    assert set(found.mean.tolist()) == {1.5}
