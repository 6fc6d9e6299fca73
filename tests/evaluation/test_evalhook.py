"""When a run evaluates and which score is its best, against what mmcv's EvalHook was recorded to do."""

import json

import pytest
from support.paths import GOLDEN_DIR

from vexp.evaluation.best_score import Best
from vexp.evaluation.config import Eval
from vexp.evaluation.metrics import METRICS, Metric

CASES = json.loads((GOLDEN_DIR / "evalhook.json").read_text())["cases"]
SCHEDULES = [case for case in CASES if case["tag"].startswith("schedule")]


def evaluated_steps(options, first_step, steps_per_epoch, total_steps):
    """The loop's questions, without at_end."""
    before = [first_step] if options.before_training(first_step, steps_per_epoch) else []
    due = options.every().due
    return before + [step for step in range(first_step + 1, total_steps + 1) if due(step, steps_per_epoch)]


def options_of(case):
    names = ("start", "interval", "by_epoch", "save_best", "rule")
    return Eval(at_end=False, **{name: case["kw"][name] for name in names if name in case["kw"]})


@pytest.mark.parametrize("case", SCHEDULES, ids=lambda case: f"{case['tag']} {case['kw']}")
def test_the_steps_that_are_evaluated(case):
    options, per_epoch = options_of(case), case["iters"]
    first = case["start_epoch"] * per_epoch
    total = case["epochs"] * per_epoch
    ours = evaluated_steps(options, first, per_epoch, total)
    # Differs on purpose: mmcv leaves out the evaluation before training unless the *next* epoch falls on the interval.
    # The text promises it whenever start is set and reached.
    promised = options.start is not None and options.start <= case["start_epoch"]
    theirs = case["steps"]
    if promised and theirs[0] != first:
        theirs = [first, *theirs]
        assert (case["start_epoch"] + 1 - options.start) % options.interval != 0
    assert ours == theirs


@pytest.mark.parametrize("interval", [1, 2, 3])
def test_the_example_of_the_text_resumes_with_an_evaluation(interval):
    """``--resume epoch_3 eval.interval=1 eval.start=3``; mmcv does it with an interval of 1 only."""
    options = Eval(interval=interval, start=3)
    assert options.before_training(9, 3)
    assert not options.before_training(8, 3)  # in the middle of epoch 3
    assert not Eval(interval=interval).before_training(9, 3)
    assert Eval(start=0).before_training(0, 3)


def test_bug_by_epoch_never_evaluated_a_run_that_is_counted_in_steps():
    """With max_steps an epoch still has an end (mmcv's iteration runner: recorded as no evaluation at all)."""
    (case,) = [case for case in CASES if case["tag"] == "by_epoch=True on the iter runner"]
    assert case["steps"] == []
    assert evaluated_steps(options_of(case), 0, 3, 10) == [3, 6, 9]


def scored(case):
    """Whether the scores that the hook compared were recorded (else they are of another metric)."""
    return case["values"] and case["kw"].get("save_best", "auto") in ("auto", case["metric"])


@pytest.mark.parametrize("rule", [None, "less"])
def test_a_score_that_stays_the_same_is_the_best_once(rule):
    """Recorded with save_best=top5_acc, whose score was 1 at every evaluation: strict improvement."""
    (case,) = [case for case in CASES if case["kw"] == {"save_best": "top5_acc", "rule": rule}]
    best = Best("top5_acc", Eval(save_best="top5_acc", rule=rule).greater_is_better())
    better = [best.update({"top5_acc": 1.0, "top1_acc": value}, i, i) for i, value in enumerate(case["values"])]
    assert [best.score] * len(case["best"]) == case["best"]
    assert better == [True] + [False] * 6


def test_without_save_best_no_score_is_the_best():
    (case,) = [case for case in CASES if case["kw"] == {"save_best": None, "rule": "greater"}]
    assert case["best"] == [None] * 7
    assert Eval(save_best=None, rule="greater").best_metric() is None


def test_what_the_hook_refused_while_running_is_refused_beforehand():
    """Recorded: interval=0 and a metric without a rule at the start, a metric that is not measured after an epoch."""
    with pytest.raises(ValueError, match="interval=0"):
        Eval(interval=0)
    with pytest.raises(ValueError, match=r"save_best=nothing_acc.*top1_acc"):
        Eval(save_best="nothing_acc")


@pytest.mark.parametrize(
    "case", [case for case in CASES if scored(case)], ids=lambda case: f"{case['tag']} {case['kw']}"
)
def test_the_best_score(case, monkeypatch):
    metric = case["metric"]
    monkeypatch.setitem(METRICS, "recorded", Metric(len, result=metric))
    options = Eval()
    options.metrics, options.save_best, options.rule = ["recorded"], metric, case["kw"].get("rule")
    if metric in ("loss_acc", "stoploss", "mIoU"):  # differs on purpose: words, not parts of words, and loss first
        assert case["tag"] == "rule inference"
        options.rule = "greater"
    best = Best(metric, options.greater_is_better())
    for i, (value, theirs) in enumerate(zip(case["values"], case["best"], strict=True)):
        best.update({metric: float(value)}, i, i)
        if case["tag"] == "best loss reaching exactly zero is never saved" and i >= 2:
            assert best.score == 0.0  # differs on purpose
        else:
            assert best.score == theirs


def test_the_rule_of_names_that_mmcv_takes_by_a_part_of_a_word(monkeypatch):
    for name, greater in (("loss_acc", False), ("stoploss", None), ("mIoU", None), ("error", False), ("f1", True)):
        monkeypatch.setitem(METRICS, "new", Metric(len, result=name))
        options = Eval()
        options.metrics, options.save_best = ["new"], name
        if greater is None:
            with pytest.raises(ValueError, match=r"set eval\.rule"):
                options.greater_is_better()
        else:
            assert options.greater_is_better() == greater
