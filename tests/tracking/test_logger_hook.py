"""When a line is written and what it averages, held against mmcv's LoggerHook as recorded; differences on purpose."""

import json

import pytest
import torch
from support.paths import GOLDEN_DIR

from vexp.tracking.config import Log
from vexp.tracking.meter import Meter

CASES = json.loads((GOLDEN_DIR / "loggerhook.json").read_text())["cases"]


def ours(case):
    """[step, loss, sq] of every line, of a run that is driven as the loop drives it."""
    log = Log(**case["kw"])
    meter = Meter(log.interval, reset=log.reset_flag)
    per_epoch, rows = case["iters"], []
    for step in range(1, case["epochs"] * per_epoch + 1):
        if log.by_epoch and (step - 1) % per_epoch == 0:
            meter.restart()
        last = step % per_epoch == 0
        size = case["samples"] - case["batch"] * (per_epoch - 1) if last else case["batch"]
        meter.add(step, size, {"loss": torch.tensor(float(step)), "sq": float(step * step)})
        if log.due(step, per_epoch):
            mean = meter.mean()
            rows.append([step, pytest.approx(mean["loss"]), pytest.approx(mean["sq"])])
    return rows


#: tag -> (why ours is another, ours)
ON_PURPOSE = {
    "by_epoch=False on the epoch runner": (
        "theirs forgets at every epoch's start: the line of step 9 averages 8 and 9 alone",
        [[3, 2.0, 14 / 3], [6, 5.0, 77 / 3], [9, 8.0, 194 / 3], [12, 11.0, 365 / 3]],
    ),
    "with evaluation by iter": (
        "theirs forgets at every evaluation: the line of step 6 averages 5 and 6 alone",
        [[3, 2.0, 14 / 3], [6, 5.0, 77 / 3], [10, 9.0, 245 / 3], [13, 12.0, 434 / 3]],
    ),
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['tag']} {case['kw']}")
def test_logged_steps_equal_mmcv(case):
    _, expected = ON_PURPOSE.get(case["tag"], ("", case["log"]))
    assert ours(case) == expected
    assert (expected != case["log"]) == (case["tag"] in ON_PURPOSE)
