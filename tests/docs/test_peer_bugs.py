"""Bugs of mmcv 1.7 and mmaction2 0.24.1 in checkpoints, logs, metrics and seeds: one test each, named after the bug.

The sources of mmcv are cited in tests/checkpoint/test_checkpoint_hook.py and tests/tracking/test_logger_hook.py.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vexp import checkpoint, compose, train
from vexp.checkpoint import Checkpoint, prunable
from vexp.core.errors import ConfigError, UserError
from vexp.data.loading.dataloader import StepPlan, TrainSampler
from vexp.evaluation import metrics
from vexp.evaluation.best_score import Best
from vexp.model.weights.load import load_checkpoint
from vexp.tracking.config import Log
from vexp.tracking.meter import Meter

WORDS = [
    "data.train_clips=2", "data.val_clips=1", "data.batch_size=6", "data.num_workers=0", "model.width=8", "epochs=2",
    "model.dropout=0.3", "log=text", "log.interval=1", "device=cpu", "checkpoint.interval=1",
    "checkpoint.by_epoch=false", "checkpoint.max_keep_ckpts=-1", "eval.interval=1",
]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two epochs of three steps, a checkpoint after each step."""
    folder = tmp_path_factory.mktemp("peer") / "run"
    train.run(compose(WORDS), folder, overrides=WORDS)
    return folder


def records(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if not key.startswith("time/")} for line in lines]


# ---- checkpoints ----


@pytest.mark.integration
def test_the_checkpoint_of_an_epoch_does_not_know_its_own_score(run: Path) -> None:
    """Theirs is written before the evaluation: a run resumed from it can crown a worse epoch."""
    scores = {record["step"]: record["top1_acc"] for record in records(run) if record["mode"] == "val"}
    known = checkpoint.load(run / "checkpoints" / "step_3.pth")["best"]
    assert (known["step"], known["score"]) == (3, scores[3])


def test_the_last_checkpoint_is_one_too_many() -> None:
    """Interval 2, keep 1, 7 epochs: theirs leaves epoch_6 and epoch_7."""
    written = ["epoch_6.pth", "epoch_7.pth"]
    assert prunable(written, 1, written) == ["epoch_6.pth"]


def test_files_from_before_a_gap_are_never_cleaned() -> None:
    """Theirs stops deleting at the first number that is missing, and knows no other interval than today's."""
    written = [f"epoch_{n}.pth" for n in (1, 2, 3, 10, 12)]
    assert prunable(written, 2, written) == ["epoch_1.pth", "epoch_2.pth", "epoch_3.pth"]


@pytest.mark.integration
def test_the_iteration_in_a_checkpoint_is_one_too_small(run: Path) -> None:
    """Their iter_18.pth has iteration 17: resuming repeats a step."""
    for step in range(1, 7):
        assert checkpoint.load(run / "checkpoints" / f"step_{step}.pth")["step"] == step


@pytest.mark.integration
def test_a_checkpoint_within_an_epoch_says_that_the_epoch_is_complete(run: Path) -> None:
    """Theirs is called epoch_<n>.pth and skips the rest of the epoch when resumed."""
    assert Checkpoint(by_epoch=False).name(2, 3) == "step_2.pth"
    assert checkpoint.load(run / "checkpoints" / "step_2.pth")["epoch"] == 1  # within the first


@pytest.mark.integration
def test_a_checkpoint_by_steps_is_overwritten_within_the_epoch(run: Path) -> None:
    """And max_keep_ckpts does nothing: theirs has one name an epoch."""
    names = sorted(path.name for path in (run / "checkpoints").glob("step_*.pth"))
    assert names == [f"step_{step}.pth" for step in range(1, 7)]
    assert prunable(names, 2, names) == names[:4]


def test_by_epoch_with_a_length_in_steps_saves_nothing() -> None:
    """Silently, theirs."""
    every = Checkpoint(interval=1).every()
    assert [step for step in range(1, 10) if every.due(step, 3)] == [3, 6, 9]


def test_a_best_score_of_numpy_makes_a_checkpoint_that_cannot_be_loaded(tmp_path: Path) -> None:
    """weights_only refuses numpy scalars."""
    best = Best("top1_acc", greater=True)
    best.update({"top1_acc": np.float64(0.5)}, 3, 1)  # type: ignore[dict-item]
    checkpoint.save(tmp_path / "a.pth", {"best": best.state_dict()})
    assert torch.load(tmp_path / "a.pth", weights_only=True)["best"]["score"] == 0.5


# ---- logs ----


def test_an_earlier_logger_never_sees_a_line_of_a_later_one(tmp_path: Path) -> None:
    """Their loggers share a buffer that the last one clears; here one interval and one record for all."""
    from vexp.tracking.backends import read_records
    from vexp.tracking.logger import MetricLogger

    board = MetricLogger(tmp_path, Log(csv=True), first_step=1, config={})
    board.write({"mode": "train", "step": 1, "epoch": 1, "loss": 0.5})
    board.close()
    assert len(read_records(tmp_path / "metrics.jsonl")) == len((tmp_path / "metrics.csv").read_text().split()) - 1 == 1


def test_json_lines_keeps_learning_rate_of_one_millionth(tmp_path: Path) -> None:
    """Their JSON keeps five decimals."""
    from vexp.tracking.backends import JsonLines, read_records

    sink = JsonLines(tmp_path / "metrics.jsonl")
    record = {"mode": "train", "step": 1, "epoch": 1, "lr": 1.25e-6}
    sink.write(record)
    sink.close()
    assert read_records(tmp_path / "metrics.jsonl") == [record]


def test_an_evaluation_within_an_epoch_shortens_the_next_average() -> None:
    """Theirs clears the buffer when it evaluates by iteration."""
    meter = Meter(3, reset=False)
    for step in range(1, 7):
        meter.add(step, 1, {"loss": float(step)})
        if step == 4:
            meter.mean()  # a line that an evaluation would have forced
    assert meter.mean() == {"loss": 5.0}


def test_a_length_in_steps_logs_nothing() -> None:
    """by_epoch=True on their iteration runner: the inner counter is reset at every step."""
    log = Log(interval=2, by_epoch=True)
    assert [step for step in range(1, 7) if log.due(step, 3)] == [2, 5]


def test_only_the_rate_of_the_first_group_is_logged() -> None:
    from vexp.optim.lr_table import learning_rates

    weights = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimizer = torch.optim.SGD([{"params": [w], "lr": rate} for w, rate in zip(weights, (0.1, 0.2), strict=True)])
    for group, name in zip(optimizer.param_groups, ("body", "head"), strict=True):
        group |= {"name": name, "initial_lr": group["lr"]}
    assert learning_rates(optimizer) == {"lr": 0.1, "lr/body": 0.1, "lr/head": 0.2}


# ---- metrics ----


def test_a_score_of_nan_counts_as_the_highest() -> None:
    """Their argsort puts NaN last, which is first."""
    with pytest.raises(ValueError, match="NaN"):
        metrics.top_k_accuracy(np.array([[0.9, np.nan]]), np.array([1]), (1,))


def test_top1_and_mean_class_accuracy_disagree_on_ties() -> None:
    """Theirs takes the last class for one and the first for the other; the lower number wins here, in both."""
    scores, labels = np.zeros((2, 3)), np.array([0, 0])
    assert metrics.top_k_accuracy(scores, labels, (1,)) == [1.0]
    assert metrics.mean_class_accuracy(scores, labels) == 1.0


def test_a_class_that_is_only_predicted_lowers_the_mean() -> None:
    scores, labels = np.array([[1.0, 0], [0, 1.0]]), np.array([0, 0])
    assert metrics.mean_class_accuracy(scores, labels) == 0.5  # of class 0 alone; theirs: 0.25


def test_a_sample_without_positives_makes_the_whole_result_nan() -> None:
    labels = np.array([[1, 0], [0, 0]])
    assert metrics.mmit_mean_average_precision(np.array([[0.9, 0.1], [0.2, 0.3]]), labels) == 1.0


# ---- seeds, resuming, loading ----


def test_every_epoch_replays_the_same_augmentation(run: Path) -> None:
    """Their workers are made anew every epoch with the same seed."""
    draws = [np.random.default_rng([0, epoch, 5]).random(4).tolist() for epoch in range(3)]
    assert len({tuple(draw) for draw in draws}) == 3
    from vexp.experiment.setup import make_dataset

    train_set = make_dataset(compose(WORDS), "train")
    assert train_set is not None
    first, second, again = (train_set[(epoch, 5)] for epoch in (0, 1, 0))
    assert torch.equal(first.frames, again.frames)  # type: ignore[union-attr]
    assert first.frames.shape != second.frames.shape or not torch.equal(first.frames, second.frames)  # type: ignore[union-attr]


def test_a_resumed_run_replays_the_order_of_the_first_epoch() -> None:
    """Theirs saves no random state."""
    plan = StepPlan(16, 6, 1, False)
    whole = list(TrainSampler(plan, seed=0, shuffle=True, first_step=0, total_steps=6))
    assert list(TrainSampler(plan, seed=0, shuffle=True, first_step=3, total_steps=6)) == whole[3:]
    assert [index for _, index in whole[0]] != [index for _, index in whole[3]]


@pytest.mark.integration
def test_a_resumed_run_has_another_dropout(run: Path, tmp_path: Path) -> None:
    """The generators are part of the checkpoint: equal to the bit, from within an epoch."""
    train.run(compose([*WORDS, f"resume={run}/checkpoints/step_4.pth"]), tmp_path / "resumed")
    assert records(tmp_path / "resumed") == [record for record in records(run) if record["step"] > 4]


@pytest.mark.integration
def test_resuming_a_finished_run_says_nothing_and_does_nothing(run: Path, tmp_path: Path) -> None:
    """Here a message states it, and files that a kill prevented are written."""
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    assert train.run(compose([*WORDS, "resume=auto"]), folder)["status"] == "done"
    assert "training is complete" in (folder / "log.txt").read_text()
    assert records(folder) == records(run)


def test_a_file_of_which_nothing_fits_loads_with_success(tmp_path: Path) -> None:
    torch.save({"state_dict": {"a": torch.zeros(1)}}, tmp_path / "other.pth")
    with pytest.raises(UserError, match=r"other\.pth"):
        load_checkpoint(torch.nn.Linear(2, 2), tmp_path / "other.pth")


def test_benchmarking_passes_for_reproducible() -> None:
    """The recipe that is handed around sets both."""
    with pytest.raises(ConfigError, match="deterministic=true: cudnn_benchmark=true"):
        compose(["deterministic=true", "cudnn_benchmark=true"])


def test_a_misspelt_setting_is_merged_without_a_word() -> None:
    with pytest.raises(ConfigError, match="interval"):
        compose(["checkpoint.intervall=1"])
