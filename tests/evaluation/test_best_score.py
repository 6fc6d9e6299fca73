"""The best score so far: updates, patience, and the state that a resumed run restores."""

import math

import numpy as np
import pytest

from vexp import checkpoint
from vexp.core.errors import UserError
from vexp.evaluation.best_score import Best

NAN = math.nan


@pytest.mark.parametrize(
    ("greater", "scores", "accepted_scores"),
    [
        (True, [0.1, 0.2, 0.3], [1, 1, 1]),
        (True, [0.3, 0.2, 0.3, 0.4], [1, 0, 0, 1]),  # a tie keeps the earlier score
        (True, [0.0, 0.0, 0.1], [1, 0, 1]),  # 0 is a score; an equal one is no improvement
        (True, [-1.0, -2.0, 0.0], [1, 0, 1]),
        (True, [NAN, 0.1, NAN, 0.2], [0, 1, 0, 1]),  # NaN is never accepted and never kept
        (True, [NAN, NAN], [0, 0]),
        (True, [0.5, math.inf, 1.0], [1, 1, 0]),
        (False, [0.3, 0.2, 0.2, 0.4, 0.1], [1, 1, 0, 0, 1]),
        (False, [0.0, 0.5, 0.0, -0.1], [1, 0, 0, 1]),
        (False, [NAN, 2.0, NAN, 1.0], [0, 1, 0, 1]),
    ],
)
def test_update_accepts_only_strictly_better_score(greater, scores, accepted_scores):
    best = Best("top1_acc", greater)
    for i, (score, accepted) in enumerate(zip(scores, accepted_scores, strict=True), 1):
        before = best.record()
        assert best.update({"loss": 9.0, "top1_acc": score}, step=10 * i, epoch=i) == bool(accepted)
        if accepted:
            assert (best.score, best.step, best.epoch) == (score, 10 * i, i)
        else:
            assert best.record() == before


def test_update_without_metric_raises():
    with pytest.raises(UserError, match=r"eval\.save_best=top1_acc: .* loss, top5_acc"):
        Best("top1_acc", True).update({"loss": 1.0, "top5_acc": 0.5}, 1, 1)


@pytest.mark.parametrize("score", [None, 0.0, 0.75])
def test_load_state_dict_restores_best_score(score):
    """The iteration runner of mmcv does not restore it."""
    before = Best("top1_acc", True)
    if score is not None:
        before.update({"top1_acc": score}, 20, 2)
    after = Best("top1_acc", True)
    after.load_state_dict(before.state_dict())
    assert after == before
    assert after.update({"top1_acc": 0.5}, 30, 3) == (score != 0.75)


def test_load_state_dict_ignores_score_of_other_metric():
    before = Best("loss", False)
    before.update({"loss": 0.1}, 20, 2)
    after = Best("top1_acc", True)
    after.load_state_dict(before.state_dict())
    assert after == Best("top1_acc", True)
    assert after.update({"top1_acc": 0.05}, 30, 3)


def test_state_dict_holds_plain_values():
    best = Best("top1_acc", True)
    best.update({"top1_acc": 0.5}, 20, 2)
    assert best.record() == {"metric": "top1_acc", "score": 0.5, "step": 20, "epoch": 2}
    assert best.state_dict() == best.record() | {"offered": 20, "waited": 0}


def test_numpy_score_is_saved_as_float(tmp_path):
    best = Best("top1_acc", True)
    best.update({"top1_acc": np.float64(0.5)}, 20, 2)
    assert type(best.state_dict()["score"]) is float
    checkpoint.save(tmp_path / "last.pth", {"best": best.state_dict()})
    assert checkpoint.load(tmp_path / "last.pth")["best"] == best.state_dict()  # with weights_only=True


@pytest.mark.parametrize("greater", [True, False])
def test_update_accepts_score_of_zero(greater):
    best = Best("x", greater)
    assert best.update({"x": 0}, 1, 1)
    assert (best.score, type(best.score)) == (0.0, float)
    assert best.update({"x": 0.1}, 2, 2) == greater  # mmcv replaces a loss of 0 by a worse one
    assert best.score == (0.1 if greater else 0.0)


# ---- patience ----


@pytest.mark.parametrize(
    ("scores", "waited", "ends_after"),
    [
        ([0.1, 0.2, 0.3, 0.4], [0, 0, 0, 0], None),
        ([0.3, 0.2, 0.1, 0.4], [0, 1, 2, 2], 3),  # no evaluation follows
        ([0.3, 0.2, 0.4, 0.3, 0.4], [0, 1, 0, 1, 2], 5),  # a tie is no improvement
        ([NAN, NAN, 0.1], [1, 2, 2], 2),
        ([0.0, 0.0, 0.0], [0, 1, 2], 3),
    ],
)
def test_patience_is_exceeded_after_evaluations_without_improvement(scores, waited, ends_after):
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


def test_patience_unset_is_never_exceeded():
    best = Best("x", True)
    for i in range(100):
        best.update({"x": 0.0}, i, i)
    assert (best.waited, best.patience_exceeded) == (99, False)


def test_patience_after_resume_counts_repeated_evaluation_once():
    before = Best("x", True, patience=3)
    for step, score in ((10, 0.5), (20, 0.4), (30, 0.3)):
        before.update({"x": score}, step, step // 10)
    after = Best("x", True, patience=3)
    after.load_state_dict(before.state_dict())
    assert after == before
    after.update({"x": 0.3}, 30, 3)  # eval.start: the resumed run evaluates its checkpoint again
    assert (after.waited, after.patience_exceeded) == (2, False)
    after.update({"x": 0.3}, 40, 4)
    assert (after.waited, after.patience_exceeded) == (3, True)
