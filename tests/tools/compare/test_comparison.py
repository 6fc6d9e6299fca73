"""Comparison of runs that are finished, failed, unfinished, or were measured on other data."""

import json
import math

import numpy as np
import pytest
from support.run_folders import CLASSES, make_run

from vexp.tools.compare.comparison import Comparison
from vexp.tools.compare.conclusion import conclusion, format_metric
from vexp.tools.compare.config import Compare
from vexp.tools.compare.runs import find_runs, read_runs
from vexp.tools.compare.tables import console_tables, explanation, runs_csv


def compared(folder, **options):
    runs, faults = read_runs(find_runs([folder]))
    return Comparison(runs, Compare(**options), faults)


def sweep(folder, table, **changes):
    """Write one run per score, such as ``{"sgd": [0.5, 0.6]}``; all evaluations of a run have its score."""
    for optimizer, scores in table.items():
        for seed, score in enumerate(scores):
            overrides = [f"optimizer={optimizer}", f"seed={seed}"]
            make_run(
                folder / f"{optimizer}-{seed}", overrides, scores=[0.1, score], **changes.get(f"{optimizer}-{seed}", {})
            )
    return folder


def setting(comparison, name):
    return next(s for s in comparison.settings if comparison.name_of(s) == f"optimizer={name}")


def test_compare_averages_over_seeds(tmp_path):
    scores = {"sgd": [0.5, 0.7, 0.6], "adamw": [0.8, 0.9, 0.7]}
    comparison = compared(sweep(tmp_path / "s", scores))
    assert (comparison.metric, comparison.greater["val/top1_acc"], comparison.greater["val/loss"]) == (
        "val/top1_acc",
        True,
        False,
    )
    assert [comparison.name_of(s) for s in comparison.settings] == [
        "optimizer=adamw",
        "optimizer=sgd",
    ]  # the best first
    for name, values in scores.items():
        found = setting(comparison, name).stats["val/top1_acc"]
        assert (found.n, found.mean, found.std) == (
            3, pytest.approx(np.mean(values)), pytest.approx(np.std(values, ddof=1)),
        )  # fmt: skip
        losses = [2.2 - 2 * value for value in values]
        assert setting(comparison, name).stats["val/loss"].mean == pytest.approx(np.mean(losses))
    assert {comparison.runs[i].name for i in comparison.best["val/top1_acc"]} == {"adamw-1"}
    assert comparison.noise["val/top1_acc"] == pytest.approx(0.1)
    assert comparison.notes == []
    (effect,) = comparison.effects["val/top1_acc"]
    assert [(level.value, level.mean) for level in effect.levels] == [
        ("adamw", pytest.approx(0.8)),
        ("sgd", pytest.approx(0.6)),
    ]


def test_compare_excludes_unfinished_runs_from_means(tmp_path):
    bad = {
        "sgd-0": {"status": "failed", "error": "boom"},
        "sgd-1": {"status": None},
        "adamw-1": {"status": "interrupted"},
    }
    comparison = compared(sweep(tmp_path / "s", {"sgd": [0.99, 0.99, 0.6], "adamw": [0.8, 0.99]}, **bad))
    assert len(comparison.runs) == 5
    assert setting(comparison, "sgd").left_out == ["1 failed", "1 unfinished"]
    assert [setting(comparison, name).stats["val/top1_acc"].n for name in ("sgd", "adamw")] == [1, 1]
    assert {comparison.runs[i].name for i in comparison.best["val/top1_acc"]} == {"adamw-0"}  # not one of the 0.99
    assert [level.runs for level in comparison.effects["val/top1_acc"][0].levels] == [1, 1]
    assert "sgd-0: failed, not in any mean: boom" in comparison.notes
    assert len(comparison.notes) == 3


@pytest.mark.parametrize(
    ("changes", "flag"),
    [
        ({"classes": CLASSES[:5]}, "5 classes, but most runs have 8"),
        ({"classes": CLASSES[::-1]}, "8 classes with different names"),
        ({"unscored": 3}, "37 of 40 videos scored, but 40 of 40"),
    ],
)
def test_compare_flags_incomparable_runs(tmp_path, changes, flag):
    comparison = compared(sweep(tmp_path / "s", {"sgd": [0.5, 0.6, 0.7], "adamw": [0.99]}, **{"adamw-0": changes}))
    odd = next(i for i, run in enumerate(comparison.runs) if run.name == "adamw-0")
    assert len(comparison.flags[odd]) == 1
    assert flag in comparison.flags[odd][0]
    assert sum(map(len, comparison.flags)) == 1
    assert comparison.best["val/top1_acc"].isdisjoint({odd})
    assert (comparison.settings[-1].comparable, comparison.name_of(comparison.settings[-1])) == (
        False,
        "optimizer=adamw",
    )
    assert comparison.effects["val/top1_acc"] == []
    assert f"adamw-0: not comparable: {comparison.flags[odd][0]}" in comparison.notes


def test_compare_averages_only_comparable_runs(tmp_path):
    comparison = compared(sweep(tmp_path / "s", {"sgd": [0.5, 0.7, 0.99]}, **{"sgd-2": {"unscored": 1}}))
    assert comparison.settings[0].left_out == ["1 not comparable"]
    assert comparison.settings[0].stats["val/top1_acc"].mean == pytest.approx(0.6)


def test_compare_flags_other_split_unless_over(tmp_path):
    for number in range(3):
        overrides = ["seed=0", *(["data.val.indices=8"] if number == 2 else [])]
        make_run(tmp_path / "s" / str(number), overrides)
    comparison = compared(tmp_path / "s")
    assert comparison.flags == [[], [], ["data.val.indices=8, but null in most runs"]]
    comparison = compared(tmp_path / "s", over=["seed", "data.val.indices"])
    assert comparison.flags == [[], [], []]
    assert len(comparison.settings) == 1


def test_compare_runs_of_other_tasks_do_not_count_as_most(tmp_path):
    """Two runs of another task, which have other data and another metric, beside one that has the metric."""
    make_run(tmp_path / "s" / "a", ["seed=0"], scores=[0.5])
    for name in ("b", "c"):
        path = make_run(tmp_path / "s" / name, ["data.motion_seed=3"]) / "metrics.jsonl"
        path.write_text(path.read_text().replace('"top1_acc"', '"auc"'))
    comparison = compared(tmp_path / "s", metric="top1_acc")
    assert comparison.flags[0] == []
    assert comparison.flags[1] == ["data.motion_seed=3, but 0 in most runs with val/top1_acc"]
    assert comparison.best["val/top1_acc"] == {0}
    assert conclusion(comparison) == ["val/top1_acc 0.5000 (1 run, higher is better)"]
    assert [note for note in comparison.notes if note.startswith("b: ")] == [
        "b: not in any mean: val/top1_acc has not been recorded"
    ]


def test_compare_ignores_training_keys_for_comparability(tmp_path):
    for number, override in enumerate(("data.batch_size=8", "data.train.indices=16", "data.num_workers=3")):
        make_run(tmp_path / "s" / str(number), [override])
    assert compared(tmp_path / "s").flags == [[], [], []]


def test_compare_flags_other_rules_of_the_metrics_of_tasks(tmp_path):
    for number in range(3):
        make_run(tmp_path / "s" / str(number), ["eval.rounding=3"] if number == 2 else [])
    assert compared(tmp_path / "s").flags == [[], [], ["eval.rounding=3, but null in most runs"]]


def test_compare_notes_other_version(tmp_path):
    comparison = compared(sweep(tmp_path / "s", {"sgd": [0.5, 0.6, 0.7]}, **{"sgd-1": {"version": "0.0.9"}}))
    assert comparison.notes == ["sgd-1: run with vexp 0.0.9, but most with 0.1.0: metrics may not be comparable"]


def test_compare_at_best_or_last(tmp_path):
    make_run(tmp_path / "s" / "a", scores=[0.2, 0.9, 0.9, 0.4])
    best = compared(tmp_path / "s").scores[0]
    assert (best.step, best.values["val/top1_acc"], best.values["val/loss"]) == (
        20,
        0.9,
        pytest.approx(0.4),
    )  # the earlier
    last = compared(tmp_path / "s", at="last").scores[0]
    assert (last.step, last.values["val/top1_acc"]) == (40, 0.4)
    assert compared(tmp_path / "s", metric="loss", rule="greater").scores[0].step == 10
    assert compared(tmp_path / "s", metric="train/loss").metric == "train/loss"


def test_compare_gives_reason_of_nonfinite_values(tmp_path):
    comparison = compared(sweep(tmp_path / "s", {"sgd": [math.nan, 0.6, 0.8]}), at="last")
    score = comparison.scores[0]
    assert "val/top1_acc" not in score.values
    assert score.absent["val/top1_acc"] == "nan at step 20"
    assert comparison.settings[0].left_out == ["1 without a finite value"]
    assert comparison.settings[0].stats["val/top1_acc"].n == 2
    assert "sgd-0: not in any mean: nan at step 20" in comparison.notes
    assert compared(tmp_path / "s").scores[0].values["val/top1_acc"] == 0.1  # its best is finite


def test_compare_run_without_evaluation(tmp_path):
    sweep(tmp_path / "s", {"sgd": [0.5, 0.6]}, **{"sgd-1": {"status": None}})
    (tmp_path / "s" / "sgd-1" / "metrics.jsonl").unlink()
    comparison = compared(tmp_path / "s")
    assert comparison.scores[1].absent["val/top1_acc"] == "val/top1_acc has not been recorded: unfinished"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "top1"}, "metric=top1: is not recorded by any run; recorded metrics: .*val/top1_acc"),
        ({"metric": "train/lr"}, "metric=train/lr: set rule=greater or rule=less"),
        ({"over": ["sed"]}, "sed: no run has this key"),
        ({"keys": ["optimiser"]}, "optimiser: no run has this key"),
    ],
)
def test_compare_rejects_options(tmp_path, options, message):
    sweep(tmp_path / "s", {"sgd": [0.5]})
    with pytest.raises(ValueError, match=message):
        compared(tmp_path / "s", **options)


def test_compare_keys_only_limits_shown_columns(tmp_path):
    for number, policy in enumerate(("step", "cosine")):
        for optimizer in ("sgd", "adamw"):
            make_run(
                tmp_path / "s" / f"{policy}-{optimizer}", [f"optimizer={optimizer}", f"lr_policy={policy}"], seed=number
            )
    comparison = compared(tmp_path / "s", keys=["optimizer"])
    assert [column.key for column in comparison.shown] == ["optimizer"]
    assert len(comparison.settings) == 4
    assert [effect.key for effect in comparison.effects["val/top1_acc"]] == ["optimizer"]
    assert comparison.notes == ["keys= hides other keys that vary: lr_policy; they still distinguish settings"]


LEADS = "optimizer=adamw leads with val/top1_acc"


@pytest.mark.parametrize(
    ("table", "first", "second"),
    [
        # one setting
        ({"sgd": [0.5]}, "val/top1_acc 0.5000 (1 run, higher is better)", None),
        # no repetitions
        (
            {"sgd": [0.5], "adamw": [0.75]},
            f"{LEADS} 0.7500 (1 run,",
            "second, optimizer=sgd, is 0.25 behind; the noise is unknown",
        ),
        # 0.2 / sqrt(2 * 0.1^2 / 3) = 2.45
        ({"sgd": [0.4, 0.5, 0.6], "adamw": [0.6, 0.7, 0.8]}, f"{LEADS} 0.7000 ± 0.1000", "behind, 2.4 standard errors"),
        # 0.1 / sqrt(2 * 0.1^2 / 3) = 1.22
        ({"sgd": [0.5, 0.6, 0.7], "adamw": [0.6, 0.7, 0.8]}, LEADS, "within two standard errors (2 x 0.082) of the"),
        # a tie
        (
            {"sgd": [0.5, 0.5], "adamw": [0.5, 0.5]},
            "leads with val/top1_acc 0.5000 ± 0.0000",
            "reaches the same value.",
        ),
    ],
)
def test_conclusion_states_lead_and_noise(tmp_path, table, first, second):
    lines = conclusion(compared(sweep(tmp_path / "s", table)))
    assert first in lines[0]
    assert lines[1:] == [] if second is None else second in lines[1]


def test_conclusion_without_finished_runs(tmp_path):
    comparison = compared(sweep(tmp_path / "s", {"sgd": [0.5]}, **{"sgd-0": {"status": None}}))
    assert conclusion(comparison) == ["No finished run has a finite val/top1_acc yet."]


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0.0000"), (0.91254, "0.9125"), (1e-5, "1e-05"), (123.456, "123.5"), (-2.5, "-2.5000")]
)
def test_format_metric_digits(value, text):
    assert format_metric(value) == text


def test_compare_crowded_shows_uncommon_values(tmp_path):
    """With seven keys that each vary in one run, columns would be unreadable."""
    keys = [
        "epochs",
        "data.batch_size",
        "grad.accumulate",
        "grad.max_nonfinite_steps",
        "eval.topk",
        "model.width",
        "optimizer.lr",
    ]
    for i in range(8):
        overrides = [f"{key}={9 if place == i else 3}" for place, key in enumerate(keys)]
        make_run(tmp_path / f"run{i}", overrides, score=0.1 * i)
    comparison = compared(tmp_path)
    named = [comparison.name_of(s) for s in comparison.settings]
    assert sorted(named) == sorted(["the most common values", *(f"{key}=9" for key in keys)])
    header = [str(column.header) for column in console_tables(comparison)[0].columns]
    assert header[:2] == ["uncommon values", "val/top1_acc"]
    assert "most common values: epochs=3, data.batch_size=3, " in explanation(comparison)
    assert runs_csv(comparison).startswith("run,status,epochs,data.batch_size,")  # the file has all


def test_compare_shows_metrics_of_run_of_another_task(tmp_path):
    for name, score in (("a", 0.5), ("b", 0.6)):
        make_run(tmp_path / "s" / name, ["optimizer=sgd", f"seed={ord(name)}"], scores=[score])
    other = make_run(tmp_path / "s" / "c", ["optimizer=adamw"], scores=[0.5])
    values = {"mAP@0.5IOU": 0.25, "loss": 0.5}
    lines = [{"mode": "val", "step": 10 * epoch, "epoch": epoch} | values for epoch in (1, 2)]
    (other / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    result = {"status": "done", "step": 20, "best": {"metric": "mAP@0.5IOU", "score": 0.25, "step": 10, "epoch": 1}}
    (other / "result.json").write_text(json.dumps(result))
    comparison = compared(tmp_path / "s")
    assert (comparison.metric, comparison.metrics[-1]) == ("val/top1_acc", "val/mAP@0.5IOU")
    assert comparison.scores[2].step == 10
    assert comparison.scores[2].values == {"val/mAP@0.5IOU": 0.25, "val/loss": 0.5}
    assert comparison.scores[2].absent["val/top1_acc"] == "val/top1_acc has not been recorded"
    assert comparison.scores[0].absent["val/mAP@0.5IOU"] == "not measured"
    assert comparison.best["val/top1_acc"] == {1}
    assert compared(tmp_path / "s", metric="mAP@0.5IOU").best["val/mAP@0.5IOU"] == {2}
