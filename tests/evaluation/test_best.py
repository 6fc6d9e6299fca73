"""The best score so far: sequences of offers, and what comes back after a restart."""

import math

import pytest

from vexp.errors import UserError
from vexp.evaluation.best import Best

NAN = math.nan


@pytest.mark.parametrize(
    ("greater", "scores", "taken"),
    [
        (True, [0.1, 0.2, 0.3], [1, 1, 1]),
        (True, [0.3, 0.2, 0.3, 0.4], [1, 0, 0, 1]),  # a tie keeps the earlier
        (True, [0.0, 0.0, 0.1], [1, 0, 1]),  # 0 is a score: the second 0 is no improvement
        (True, [-1.0, -2.0, 0.0], [1, 0, 1]),
        (True, [NAN, 0.1, NAN, 0.2], [0, 1, 0, 1]),  # NaN never wins, and never stands in the way
        (True, [NAN, NAN], [0, 0]),
        (True, [0.5, math.inf, 1.0], [1, 1, 0]),
        (False, [0.3, 0.2, 0.2, 0.4, 0.1], [1, 1, 0, 0, 1]),
        (False, [0.0, 0.5, 0.0, -0.1], [1, 0, 0, 1]),
        (False, [NAN, 2.0, NAN, 1.0], [0, 1, 0, 1]),
    ],
)
def test_only_a_strictly_better_score_is_taken(greater, scores, taken):
    best = Best("top1_acc", greater)
    for i, (score, wins) in enumerate(zip(scores, taken, strict=True), 1):
        before = best.state_dict()
        assert best.offer({"loss": 9.0, "top1_acc": score}, step=10 * i, epoch=i) == bool(wins)
        if wins:
            assert (best.score, best.step, best.epoch) == (score, 10 * i, i)
        else:
            assert best.state_dict() == before


def test_a_metric_that_was_not_measured():
    with pytest.raises(UserError, match=r"eval\.save_best=top1_acc: the evaluation gave loss, top5_acc"):
        Best("top1_acc", True).offer({"loss": 1.0, "top5_acc": 0.5}, 1, 1)


@pytest.mark.parametrize("score", [None, 0.0, 0.75])
def test_the_state_comes_back(score):
    before = Best("top1_acc", True)
    if score is not None:
        before.offer({"top1_acc": score}, 20, 2)
    after = Best("top1_acc", True)
    after.load_state_dict(before.state_dict())
    assert after == before
    assert after.offer({"top1_acc": 0.5}, 30, 3) == (score != 0.75)


def test_a_score_of_another_metric_is_not_taken_over():
    before = Best("loss", False)
    before.offer({"loss": 0.1}, 20, 2)
    after = Best("top1_acc", True)
    after.load_state_dict(before.state_dict())
    assert after == Best("top1_acc", True)
    assert after.offer({"top1_acc": 0.05}, 30, 3)


def test_the_state_is_plain():
    best = Best("top1_acc", True)
    best.offer({"top1_acc": 0.5}, 20, 2)
    assert best.state_dict() == {"metric": "top1_acc", "score": 0.5, "step": 20, "epoch": 2}
    assert type(best.state_dict()["score"]) is float
