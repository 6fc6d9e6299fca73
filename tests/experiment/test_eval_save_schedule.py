"""Schedule: its lists agree with its predicates, and a run follows it."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.run_files import read_metrics

from vexp import compose, train
from vexp.core.log import plural
from vexp.experiment.eval_save_schedule import Schedule, step_plan, total_steps
from vexp.experiment.setup import build_experiment


def make_schedule(*overrides: str, samples: int = 16, validates: bool = True) -> Schedule:
    config = compose([*overrides])
    plan = step_plan(config, samples)
    return Schedule(config, plan, total_steps(config, plan), validates)


OVERRIDES = [
    "data.batch_size=4",
    "epochs=3",
    "eval.interval=2",
    "log.interval=3",
    "log.by_epoch=true",
    "checkpoint.interval=2",
]


def test_schedule_lists_steps_of_its_predicates() -> None:
    schedule = make_schedule(*OVERRIDES, "log.ignore_last=false")
    assert ([*schedule.evaluations()], [*schedule.checkpoints()]) == ([8, 12], [8, 12])  # at_end and save_last
    assert [*schedule.log_lines()] == [3, 4, 7, 8, 11, 12]
    assert not schedule.evaluates_before(0)
    assert make_schedule(*OVERRIDES, "eval.start=1").evaluates_before(4)


def test_schedule_without_validation_split_never_evaluates() -> None:
    schedule = make_schedule(*OVERRIDES, "eval.start=0", validates=False)
    assert ([*schedule.evaluations()], schedule.evaluates_before(0)) == ([], False)


@pytest.mark.parametrize("by_epoch", [True, False])
@pytest.mark.parametrize("interval", [1, 3, 4, 5, 100])
@pytest.mark.parametrize("end", [True, False])
def test_schedule_counts_steps_of_its_predicates(by_epoch: bool, interval: int, end: bool) -> None:
    config = compose(["data.batch_size=4", "max_steps=26", "epochs=null"])
    config.eval.by_epoch = config.checkpoint.by_epoch = config.log.by_epoch = by_epoch
    config.eval.interval = config.checkpoint.interval = config.log.interval = interval
    config.eval.at_end = config.checkpoint.save_last = end
    config.log.ignore_last = not end
    for start in (None, 0, 1, 5):
        config.eval.start = start
        schedule = Schedule(config, step_plan(config, 14), 26, validates=True)
        for steps, happens in (
            (schedule.evaluations(), schedule.evaluates_after),
            (schedule.checkpoints(), schedule.saves_after),
            (schedule.log_lines(), schedule.logs_after),
        ):
            expected = [step for step in range(1, 27) if happens(step)]
            assert ([*steps], steps[-2:], len(steps)) == (expected, expected[-2:], len(expected))


def test_schedule_of_long_run_needs_no_list() -> None:
    schedule = make_schedule("data.batch_size=4", "epochs=1000000000", "log.interval=3", "log.ignore_last=false")
    assert schedule.describe_steps(schedule.evaluations()).endswith(" 4 ... 999999999, 1000000000")
    assert len(schedule.log_lines()) == 2 * 10**9
    assert not schedule.warnings()


def test_schedule_saves_after_early_stop() -> None:
    schedule = make_schedule(*OVERRIDES)
    assert not schedule.saves_after(4)
    assert schedule.saves_after(4, early_stopped=True)
    assert not make_schedule(*OVERRIDES, "checkpoint.save_last=false").saves_after(4, early_stopped=True)


@pytest.mark.integration
def test_run_logs_evaluates_and_saves_at_scheduled_steps(tmp_path: Path, tiny: list[str]) -> None:
    overrides = [*tiny, "eval.interval=3", "eval.by_epoch=false", "log.interval=3", "log.by_epoch=true",
                 "checkpoint.by_epoch=false", "checkpoint.interval=5", "checkpoint.max_keep_ckpts=-1"]  # fmt: skip
    config = compose(overrides)
    schedule = build_experiment(config).schedule
    train.run(config, tmp_path)
    assert [record["step"] for record in read_metrics(tmp_path, "val")] == [*schedule.evaluations()] == [3, 6, 8]
    assert [record["step"] for record in read_metrics(tmp_path, "train")] == [*schedule.log_lines()] == [3, 7]
    steps = sorted(int(path.stem[5:]) for path in (tmp_path / "checkpoints").glob("step_*.pth"))
    assert steps == [*schedule.checkpoints()] == [5, 8]


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        (["data.batch_size=4", "epochs=3"], "12 optimizer steps = 3 epochs of 4 steps, 4 samples per step"),
        (["data.batch_size=16", "epochs=1"], "1 optimizer step = 1 epoch of 1 step, 16 samples per step"),
        (
            ["data.batch_size=2", "grad.accumulate=2", "nproc=2", "epochs=1"],
            "2 optimizer steps = 1 epoch of 2 steps, 8 samples per step (batch 2 x accumulate 2 x 2 processes)",
        ),
    ],
)
def test_schedule_texts_of_run_length(overrides: list[str], text: str) -> None:
    schedule = make_schedule(*overrides)
    assert f"{schedule.length_text()}, {schedule.step_text()}" == text


def test_describe_steps_by_epoch_or_step() -> None:
    schedule = make_schedule(*OVERRIDES)
    assert schedule.describe_steps([]) == "none"
    assert schedule.describe_steps([4]) == "1: after epoch 1"
    assert schedule.describe_steps([4, 8, 11]) == "3: after steps 4, 8, 11"
    assert schedule.describe_steps(range(4, 4 * 13, 4)) == "12: after epochs 1, 2, 3, 4 ... 11, 12"


@pytest.mark.parametrize(
    ("count", "noun", "text"), [(1, "step", "1 step"), (2, "clip", "2 clips"), (3, "process", "3 processes")]
)
def test_plural_of_count(count: int, noun: str, text: str) -> None:
    assert plural(count, noun) == text
