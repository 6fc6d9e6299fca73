"""Evaluated steps and best scores of runs, compared with recorded ones of mmcv's EvalHook."""

import json

import pytest
from support.paths import GOLDEN_DIR

from vexp.evaluation.best_score import Best
from vexp.evaluation.config import Eval
from vexp.evaluation.metrics import METRICS, Metric

CASES = json.loads((GOLDEN_DIR / "evalhook.json").read_text())["cases"]
SCHEDULES = [case for case in CASES if case["tag"].startswith("schedule")]


def evaluated_steps(options, first_step, steps_per_epoch, total_steps):
    """Return the steps at which the training loop evaluates, without at_end."""
    before = [first_step] if options.before_training(first_step, steps_per_epoch) else []
    due = options.every().due
    return before + [step for step in range(first_step + 1, total_steps + 1) if due(step, steps_per_epoch)]


def options_of(case):
    names = ("start", "interval", "by_epoch", "save_best", "rule")
    return Eval(at_end=False, **{name: case["kw"][name] for name in names if name in case["kw"]})


@pytest.mark.parametrize("case", SCHEDULES, ids=lambda case: f"{case['tag']} {case['kw']}")
def test_evaluated_steps_equal_mmcv(case):
    options, per_epoch = options_of(case), case["iters"]
    first = case["start_epoch"] * per_epoch
    total = case["epochs"] * per_epoch
    steps = evaluated_steps(options, first, per_epoch, total)
    # Intended difference: mmcv skips the evaluation before training unless the *next* epoch falls on the interval.
    # Here it takes place whenever start is set and reached.
    before_training = options.start is not None and options.start <= case["start_epoch"]
    expected = case["steps"]
    if before_training and expected[0] != first:
        expected = [first, *expected]
        assert (case["start_epoch"] + 1 - options.start) % options.interval != 0
    assert steps == expected


@pytest.mark.parametrize("interval", [1, 2, 3])
def test_resume_at_eval_start_evaluates_before_training(interval):
    """The documented ``--resume epoch_3 eval.interval=1 eval.start=3``; mmcv evaluates with an interval of 1 only."""
    options = Eval(interval=interval, start=3)
    assert options.before_training(9, 3)
    assert not options.before_training(8, 3)  # in the middle of epoch 3
    assert not Eval(interval=interval).before_training(9, 3)
    assert Eval(start=0).before_training(0, 3)


def test_by_epoch_evaluates_run_of_max_steps():
    """Epochs also end in a run of max_steps; the iteration runner of mmcv never evaluates it."""
    (case,) = [case for case in CASES if case["tag"] == "by_epoch=True on the iter runner"]
    assert case["steps"] == []
    assert evaluated_steps(options_of(case), 0, 3, 10) == [3, 6, 9]


def scores_recorded(case):
    """Return whether the recorded scores are those of the metric that the hook compares."""
    return case["values"] and case["kw"].get("save_best", "auto") in ("auto", case["metric"])


@pytest.mark.parametrize("rule", [None, "less"])
def test_constant_score_is_best_only_once(rule):
    """Recorded with save_best=top5_acc, which is 1 at every evaluation."""
    (case,) = [case for case in CASES if case["kw"] == {"save_best": "top5_acc", "rule": rule}]
    best = Best("top5_acc", Eval(save_best="top5_acc", rule=rule).greater_is_better())
    accepted = [best.update({"top5_acc": 1.0, "top1_acc": value}, i, i) for i, value in enumerate(case["values"])]
    assert [best.score] * len(case["best"]) == case["best"]
    assert accepted == [True] + [False] * 6


def test_save_best_null_has_no_best_metric():
    (case,) = [case for case in CASES if case["kw"] == {"save_best": None, "rule": "greater"}]
    assert case["best"] == [None] * 7
    assert Eval(save_best=None, rule="greater").best_metric() is None


def test_eval_rejects_options_that_mmcv_rejects_during_training():
    """The hook raises for a metric that is not measured only after the first epoch."""
    with pytest.raises(ValueError, match="interval=0"):
        Eval(interval=0)
    with pytest.raises(ValueError, match=r"save_best=nothing_acc.*top1_acc"):
        Eval(save_best="nothing_acc").check_metrics("recognition")


@pytest.mark.parametrize(
    "case", [case for case in CASES if scores_recorded(case)], ids=lambda case: f"{case['tag']} {case['kw']}"
)
def test_best_score_equals_mmcv(case, monkeypatch):
    metric = case["metric"]
    monkeypatch.setitem(METRICS, "recorded", Metric(len, result=metric))
    options = Eval()
    options.metrics, options.save_best, options.rule = ["recorded"], metric, case["kw"].get("rule")
    if metric in ("loss_acc", "stoploss", "mIoU"):  # intended difference: whole words, and loss first
        assert case["tag"] == "rule inference"
        options.rule = "greater"
    best = Best(metric, options.greater_is_better())
    for i, (value, expected) in enumerate(zip(case["values"], case["best"], strict=True)):
        best.update({metric: float(value)}, i, i)
        if case["tag"] == "best loss reaching exactly zero is never saved" and i >= 2:
            assert best.score == 0.0  # intended difference
        else:
            assert best.score == expected


def test_greater_is_better_matches_whole_words_unlike_mmcv(monkeypatch):
    for name, greater in (("loss_acc", False), ("stoploss", None), ("mIoU", None), ("error", False), ("f1", True)):
        monkeypatch.setitem(METRICS, "new", Metric(len, result=name))
        options = Eval()
        options.metrics, options.save_best = ["new"], name
        if greater is None:
            with pytest.raises(ValueError, match=r"set eval\.rule"):
                options.greater_is_better()
        else:
            assert options.greater_is_better() == greater
