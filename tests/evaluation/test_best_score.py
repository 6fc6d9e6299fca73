"""The best score so far: sequences of offers, and what comes back after a restart."""

import math

import numpy as np
import pytest

from vexp import checkpoint
from vexp.core.errors import UserError
from vexp.evaluation.best_score import Best

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
        before = best.record()
        assert best.update({"loss": 9.0, "top1_acc": score}, step=10 * i, epoch=i) == bool(wins)
        if wins:
            assert (best.score, best.step, best.epoch) == (score, 10 * i, i)
        else:
            assert best.record() == before


def test_a_metric_that_was_not_measured():
    with pytest.raises(UserError, match=r"eval\.save_best=top1_acc: .* loss, top5_acc"):
        Best("top1_acc", True).update({"loss": 1.0, "top5_acc": 0.5}, 1, 1)


@pytest.mark.parametrize("score", [None, 0.0, 0.75])
def test_bug_a_run_counted_in_steps_forgot_its_best_on_resume(score):
    """The iteration runner of mmcv did not restore it; here it is part of the state, whatever is counted."""
    before = Best("top1_acc", True)
    if score is not None:
        before.update({"top1_acc": score}, 20, 2)
    after = Best("top1_acc", True)
    after.load_state_dict(before.state_dict())
    assert after == before
    assert after.update({"top1_acc": 0.5}, 30, 3) == (score != 0.75)


def test_a_score_of_another_metric_is_not_taken_over():
    before = Best("loss", False)
    before.update({"loss": 0.1}, 20, 2)
    after = Best("top1_acc", True)
    after.load_state_dict(before.state_dict())
    assert after == Best("top1_acc", True)
    assert after.update({"top1_acc": 0.05}, 30, 3)


def test_the_state_is_plain():
    best = Best("top1_acc", True)
    best.update({"top1_acc": 0.5}, 20, 2)
    assert best.record() == {"metric": "top1_acc", "score": 0.5, "step": 20, "epoch": 2}
    assert best.state_dict() == best.record() | {"offered": 20, "waited": 0}


def test_bug_a_numpy_score_made_a_checkpoint_that_cannot_be_loaded(tmp_path):
    best = Best("top1_acc", True)
    best.update({"top1_acc": np.float64(0.5)}, 20, 2)
    assert type(best.state_dict()["score"]) is float
    checkpoint.save(tmp_path / "last.pth", {"best": best.state_dict()})
    assert checkpoint.load(tmp_path / "last.pth")["best"] == best.state_dict()  # with weights_only=True


@pytest.mark.parametrize("greater", [True, False])
def test_bug_a_score_of_exactly_zero_was_no_score(greater):
    best = Best("x", greater)
    assert best.update({"x": 0}, 1, 1)
    assert (best.score, type(best.score)) == (0.0, float)
    assert best.update({"x": 0.1}, 2, 2) == greater  # a worse loss took the place of the perfect one
    assert best.score == (0.1 if greater else 0.0)


# ---- patience ----


@pytest.mark.parametrize(
    ("scores", "waited", "ends_after"),
    [
        ([0.1, 0.2, 0.3, 0.4], [0, 0, 0, 0], None),
        ([0.3, 0.2, 0.1, 0.4], [0, 1, 2, 2], 3),  # what comes after the end is never measured
        ([0.3, 0.2, 0.4, 0.3, 0.4], [0, 1, 0, 1, 2], 5),  # a tie is no improvement
        ([NAN, NAN, 0.1], [1, 2, 2], 2),
        ([0.0, 0.0, 0.0], [0, 1, 2], 3),
    ],
)
def test_patience_ends_a_run_that_does_not_improve(scores, waited, ends_after):
    best = Best("x", True, patience=2)
    for i, (score, expected) in enumerate(zip(scores, waited, strict=True), 1):
        assert not best.patience_exceeded
        best.update({"x": score}, 10 * i, i)
        assert best.waited == expected
        if best.patience_exceeded:
            assert i == ends_after
            break
    else:
        assert ends_after is None


def test_without_patience_a_run_never_ends_early():
    best = Best("x", True)
    for i in range(100):
        best.update({"x": 0.0}, i, i)
    assert (best.waited, best.patience_exceeded) == (99, False)


def test_patience_survives_a_restart_and_counts_an_evaluation_made_again_once():
    before = Best("x", True, patience=3)
    for step, score in ((10, 0.5), (20, 0.4), (30, 0.3)):
        before.update({"x": score}, step, step // 10)
    after = Best("x", True, patience=3)
    after.load_state_dict(before.state_dict())
    assert after == before
    after.update({"x": 0.3}, 30, 3)  # eval.start: the resumed run measures its checkpoint again
    assert (after.waited, after.patience_exceeded) == (2, False)
    after.update({"x": 0.3}, 40, 4)
    assert after.patience_exceeded
