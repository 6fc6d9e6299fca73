"""What a comparison says of runs that ended well, badly, not at all, or were measured on something else."""

import math

import numpy as np
import pytest
from support.run_folders import CLASSES, make_run

from vexp.tools.compare.comparison import compare
from vexp.tools.compare.conclusion import value_text, verdict
from vexp.tools.compare.config import Compare
from vexp.tools.compare.runs import find_runs, read_runs
from vexp.tools.compare.tables import console_tables, explanation, runs_csv


def compared(folder, **options):
    runs, faults = read_runs(find_runs([folder]))
    return compare(runs, Compare(**options), faults)


def sweep(folder, table, **changes):
    """``{"sgd": [0.5, 0.6]}``: a run for each score, which every one of its evaluations has."""
    for optimizer, scores in table.items():
        for seed, score in enumerate(scores):
            words = [f"optimizer={optimizer}", f"seed={seed}"]
            make_run(
                folder / f"{optimizer}-{seed}", words, scores=[0.1, score], **changes.get(f"{optimizer}-{seed}", {})
            )
    return folder


def setting(made, name):
    return next(s for s in made.settings if made.name_of(s) == f"optimizer={name}")


def test_seeds_are_averaged(tmp_path):
    scores = {"sgd": [0.5, 0.7, 0.6], "adamw": [0.8, 0.9, 0.7]}
    made = compared(sweep(tmp_path / "s", scores))
    assert (made.metric, made.greater["val/top1_acc"], made.greater["val/loss"]) == ("val/top1_acc", True, False)
    assert [made.name_of(s) for s in made.settings] == ["optimizer=adamw", "optimizer=sgd"]  # the best first
    for name, values in scores.items():
        found = setting(made, name).stats["val/top1_acc"]
        assert (found.n, found.mean, found.std) == (
            3, pytest.approx(np.mean(values)), pytest.approx(np.std(values, ddof=1)),
        )  # fmt: skip
        losses = [2.2 - 2 * value for value in values]
        assert setting(made, name).stats["val/loss"].mean == pytest.approx(np.mean(losses))
    assert {made.runs[i].name for i in made.best["val/top1_acc"]} == {"adamw-1"}
    assert made.noise["val/top1_acc"] == pytest.approx(0.1)
    assert made.notes == []
    (effect,) = made.effects["val/top1_acc"]
    assert [(level.value, level.mean) for level in effect.levels] == [
        ("adamw", pytest.approx(0.8)),
        ("sgd", pytest.approx(0.6)),
    ]


def test_runs_that_did_not_finish_are_shown_and_in_no_mean(tmp_path):
    bad = {
        "sgd-0": {"status": "failed", "error": "boom"},
        "sgd-1": {"status": None},
        "adamw-1": {"status": "interrupted"},
    }
    made = compared(sweep(tmp_path / "s", {"sgd": [0.99, 0.99, 0.6], "adamw": [0.8, 0.99]}, **bad))
    assert len(made.runs) == 5
    assert setting(made, "sgd").left_out == ["1 failed", "1 unfinished"]
    assert [setting(made, name).stats["val/top1_acc"].n for name in ("sgd", "adamw")] == [1, 1]
    assert {made.runs[i].name for i in made.best["val/top1_acc"]} == {"adamw-0"}  # not one of the 0.99
    assert [level.runs for level in made.effects["val/top1_acc"][0].levels] == [1, 1]
    assert "sgd-0: failed, in no mean: boom" in made.notes
    assert len(made.notes) == 3


@pytest.mark.parametrize(
    ("changes", "flag"),
    [
        ({"classes": CLASSES[:5]}, "5 classes, most runs have 8"),
        ({"classes": CLASSES[::-1]}, "8 classes with other names or another order"),
        ({"unscored": 3}, "37 of 40 videos scored, in most runs 40 of 40 videos scored"),
    ],
)
def test_numbers_of_something_else_are_flagged(tmp_path, changes, flag):
    made = compared(sweep(tmp_path / "s", {"sgd": [0.5, 0.6, 0.7], "adamw": [0.99]}, **{"adamw-0": changes}))
    odd = next(i for i, run in enumerate(made.runs) if run.name == "adamw-0")
    assert made.flags[odd] == [flag]
    assert sum(map(len, made.flags)) == 1
    assert made.best["val/top1_acc"].isdisjoint({odd})
    assert (made.settings[-1].comparable, made.name_of(made.settings[-1])) == (False, "optimizer=adamw")
    assert made.effects["val/top1_acc"] == []
    assert f"adamw-0: not comparable: {flag}" in made.notes


def test_within_a_setting_only_like_is_averaged(tmp_path):
    made = compared(sweep(tmp_path / "s", {"sgd": [0.5, 0.7, 0.99]}, **{"sgd-2": {"unscored": 1}}))
    assert made.settings[0].left_out == ["1 not comparable"]
    assert made.settings[0].stats["val/top1_acc"].mean == pytest.approx(0.6)


def test_another_data_split_is_flagged_unless_runs_are_repeated_over_it(tmp_path):
    for number in range(3):
        words = ["seed=0", *(["data.val.indices=8"] if number == 2 else [])]
        make_run(tmp_path / "s" / str(number), words)
    made = compared(tmp_path / "s")
    assert made.flags == [[], [], ["data.val.indices=8, in most runs null"]]
    made = compared(tmp_path / "s", over=["seed", "data.val.indices"])
    assert made.flags == [[], [], []]
    assert len(made.settings) == 1


def test_settings_of_training_do_not_make_runs_incomparable(tmp_path):
    for number, word in enumerate(("data.batch_size=8", "data.train.indices=16", "data.num_workers=3")):
        make_run(tmp_path / "s" / str(number), [word])
    assert compared(tmp_path / "s").flags == [[], [], []]


def test_another_version_is_noted(tmp_path):
    made = compared(sweep(tmp_path / "s", {"sgd": [0.5, 0.6, 0.7]}, **{"sgd-1": {"version": "0.0.9"}}))
    assert made.notes == ["sgd-1: made with vexp 0.0.9, most with 0.1.0: metrics may not be comparable"]


def test_the_best_evaluation_or_the_last(tmp_path):
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


def test_values_that_are_not_finite_have_a_reason(tmp_path):
    made = compared(sweep(tmp_path / "s", {"sgd": [math.nan, 0.6, 0.8]}), at="last")
    score = made.scores[0]
    assert "val/top1_acc" not in score.values
    assert score.absent["val/top1_acc"] == "nan at step 20"
    assert made.settings[0].left_out == ["1 without a finite value"]
    assert made.settings[0].stats["val/top1_acc"].n == 2
    assert "sgd-0: in no mean: nan at step 20" in made.notes
    assert compared(tmp_path / "s").scores[0].values["val/top1_acc"] == 0.1  # its best is finite


def test_a_run_without_evaluation(tmp_path):
    sweep(tmp_path / "s", {"sgd": [0.5, 0.6]}, **{"sgd-1": {"status": None}})
    (tmp_path / "s" / "sgd-1" / "metrics.jsonl").unlink()
    made = compared(tmp_path / "s")
    assert made.scores[1].absent["val/top1_acc"] == "val/top1_acc has not been recorded: unfinished"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "top1"}, "metric=top1: no run has recorded it; recorded: .*val/top1_acc"),
        ({"metric": "train/lr"}, "metric=train/lr: say rule=greater or rule=less"),
        ({"over": ["sed"]}, "sed: no run has this key"),
        ({"keys": ["optimiser"]}, "optimiser: no run has this key"),
    ],
)
def test_options_that_fit_no_run(tmp_path, options, message):
    sweep(tmp_path / "s", {"sgd": [0.5]})
    with pytest.raises(ValueError, match=message):
        compared(tmp_path / "s", **options)


def test_keys_choose_what_is_shown_but_mix_nothing(tmp_path):
    for number, policy in enumerate(("step", "cosine")):
        for optimizer in ("sgd", "adamw"):
            make_run(
                tmp_path / "s" / f"{policy}-{optimizer}", [f"optimizer={optimizer}", f"lr_policy={policy}"], seed=number
            )
    made = compared(tmp_path / "s", keys=["optimizer"])
    assert [column.key for column in made.shown] == ["optimizer"]
    assert len(made.settings) == 4
    assert [effect.key for effect in made.effects["val/top1_acc"]] == ["optimizer"]
    assert made.notes == ["keys= leaves out what differs, too: lr_policy; settings are told apart by it"]


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
            "next, optimizer=sgd, is 0.25 behind; how much of that is luck is not",
        ),
        # 0.2 / sqrt(2 * 0.1^2 / 3) = 2.45
        ({"sgd": [0.4, 0.5, 0.6], "adamw": [0.6, 0.7, 0.8]}, f"{LEADS} 0.7000 ± 0.1000", "behind, 2.4 standard errors"),
        # 0.1 / sqrt(2 * 0.1^2 / 3) = 1.22
        ({"sgd": [0.5, 0.6, 0.7], "adamw": [0.6, 0.7, 0.8]}, LEADS, "within two standard errors (2 x 0.082) of the"),
        # a tie
        ({"sgd": [0.5, 0.5], "adamw": [0.5, 0.5]}, "leads with val/top1_acc 0.5000 ± 0.0000", "reaches the same."),
    ],
)
def test_the_verdict(tmp_path, table, first, second):
    lines = verdict(compared(sweep(tmp_path / "s", table)))
    assert first in lines[0]
    assert lines[1:] == [] if second is None else second in lines[1]


def test_nothing_finished(tmp_path):
    made = compared(sweep(tmp_path / "s", {"sgd": [0.5]}, **{"sgd-0": {"status": None}}))
    assert verdict(made) == ["No finished run has a finite val/top1_acc yet."]


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0.0000"), (0.91254, "0.9125"), (1e-5, "1e-05"), (123.456, "123.5"), (-2.5, "-2.5000")]
)
def test_numbers_are_written_to_be_read(value, text):
    assert value_text(value) == text


def test_many_keys_are_told_by_what_is_not_usual(tmp_path):
    """Seven keys that differ, each in a run of its own: nobody reads that in columns."""
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
        words = [f"{key}={9 if place == i else 3}" for place, key in enumerate(keys)]
        make_run(tmp_path / f"run{i}", words, score=0.1 * i)
    made = compared(tmp_path)
    named = [made.name_of(s) for s in made.settings]
    assert sorted(named) == sorted(["the usual values", *(f"{key}=9" for key in keys)])
    header = [str(column.header) for column in console_tables(made)[0].columns]
    assert header[:2] == ["other than usual", "val/top1_acc"]
    assert "the usual values: epochs=3, data.batch_size=3, " in explanation(made)
    assert runs_csv(made).startswith("run,status,epochs,data.batch_size,")  # the file has all
