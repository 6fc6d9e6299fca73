"""Whole runs, compared with each other: settings that must not change a result, and settings that must."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from support.run_files import assert_same_weights, read_checkpoint, read_metrics
from support.tables import default_lane_has

from vexp import compose, train
from vexp.cli import evaluate
from vexp.config.compose import compose as compose_from
from vexp.config.saved import read_saved_config
from vexp.core.errors import UserError


def run(folder: Path, overrides: list[str]) -> dict[str, Any]:
    return train.run(compose(overrides), folder, overrides=overrides)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reference run: dropout, EMA, clipping, a shorter last step, and every checkpoint kept."""
    folder = tmp_path_factory.mktemp("straight")
    run(folder, STRAIGHT)
    return folder


STRAIGHT = [
    "optimizer=sgd", "data.train_clips=2", "data.val_clips=1", "data.batch_size=3", "grad.accumulate=2",
    "data.num_workers=0", "epochs=2",
    "model.width=8", "model.dropout=0.2", "ema=average", "grad=clip", "log=text", "log.plots=false", "log.interval=2",
    "device=cpu",
    "checkpoint.interval=1", "checkpoint.by_epoch=false", "checkpoint.max_keep_ckpts=-1",
]  # fmt: skip


def test_run_writes_files_of_run_folder(straight: Path) -> None:
    files = {str(path.relative_to(straight)) for path in straight.rglob("*") if path.is_file()}
    assert files >= {
        "config.yaml", "overrides.yaml", "env.json", "log.txt", "metrics.jsonl", "result.json",
        "checkpoints/best.pth", "checkpoints/best.json", "checkpoints/last.pth", "checkpoints/step_6.pth",
        "eval/predictions.csv", "eval/per_class.csv", "eval/report.json",
    }  # fmt: skip
    assert not [name for name in files if name.endswith((".tmp", ".png"))]  # log.plots=false
    result = json.loads((straight / "result.json").read_text())
    assert result["status"] == "done"
    assert result["overrides"] == STRAIGHT
    last = read_metrics(straight, "val")[-1]
    assert result["metrics"]["val/top1_acc"] == last["top1_acc"]


def test_run_records_metrics_at_scheduled_steps(straight: Path) -> None:
    """16 samples in steps of 6 are 3 steps per epoch; log lines every 2 steps, evaluations after each epoch."""
    assert [(r["mode"], r["step"], r["epoch"]) for r in read_metrics(straight)] == [
        ("train", 2, 1), ("val", 3, 1), ("train", 4, 2), ("train", 6, 2), ("val", 6, 2),
    ]  # fmt: skip
    training, validation = read_metrics(straight)[:2]
    assert set(training) == {"mode", "step", "epoch", "lr", "loss", "top1_acc", "grad_norm"}
    assert set(validation) == {"mode", "step", "epoch", "top1_acc", "top5_acc", "mean_class_accuracy", "loss"}


@pytest.mark.integration
@pytest.mark.parametrize("workers", [1, 2])
def test_run_is_equal_for_every_number_of_workers(straight: Path, tmp_path: Path, workers: int) -> None:
    run(tmp_path, [*STRAIGHT, f"data.num_workers={workers}"])
    assert read_metrics(tmp_path) == read_metrics(straight)
    assert_same_weights(tmp_path, straight)


@pytest.mark.integration
def test_run_with_other_seed_differs(straight: Path, tmp_path: Path) -> None:
    run(tmp_path, [*STRAIGHT, "seed=1", "log.plots=true"])
    assert read_metrics(tmp_path) != read_metrics(straight)
    for plot in ("curves.png", "eval/confusion.png"):
        assert (tmp_path / plot).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("step", default_lane_has(1, [1, 3, 5]))
def test_resume_in_other_folder_equals_uninterrupted_run(straight: Path, tmp_path: Path, step: int) -> None:
    """Equal to the bit in the middle of an epoch and of a logging interval, and between epochs."""
    run(tmp_path, [*STRAIGHT, f"resume={straight}/checkpoints/step_{step}.pth"])
    assert read_metrics(tmp_path) == [record for record in read_metrics(straight) if record["step"] > step]
    assert_same_weights(tmp_path, straight)


@pytest.mark.integration
def test_resume_in_place_truncates_later_records(straight: Path, tmp_path: Path) -> None:
    """A run is killed after step 5 with a checkpoint of step 4; step 5 must be recorded once."""
    run(tmp_path, STRAIGHT)
    for name in ("step_5.pth", "step_6.pth", "best.pth", "last.pth"):
        (tmp_path / "checkpoints" / name).unlink()
    run(tmp_path, [*STRAIGHT, "resume=auto"])
    assert read_metrics(tmp_path) == read_metrics(straight)
    assert_same_weights(tmp_path, straight)


@pytest.mark.integration
def test_resume_applies_and_logs_changed_learning_rate(straight: Path, tmp_path: Path) -> None:
    """The learning rate of the checkpoint is not kept, unlike in mmcv."""
    run(tmp_path, [*STRAIGHT, f"resume={straight}/checkpoints/step_3.pth", "optimizer.lr=0.01", "lr=fixed"])
    assert [record["lr"] for record in read_metrics(tmp_path, "train")] == [0.01, 0.01]
    assert "changed since: optimizer.lr 0.1 -> 0.01" in (tmp_path / "log.txt").read_text()


def test_run_rejects_optical_flow_for_model_of_three_channels(tmp_path: Path, tiny: list[str]) -> None:
    with pytest.raises(UserError, match=r"channels=3: img_norm\.mean has 2 values; .* optical flow needs 2"):
        run(tmp_path, [*tiny, "img_norm=flow"])


@pytest.mark.integration
def test_accumulation_matches_larger_batches(tmp_path: Path, tiny: list[str]) -> None:
    """Without batch norm, batches of 8 and 4 x 2 give the same updates, also in the shorter last step (11 = 8 + 3)."""
    overrides = [*tiny, "model.norm=group", "optimizer=sgd", "optimizer.lr=0.01", "data.train.indices=11"]
    run(tmp_path / "whole", [*overrides, "data.batch_size=8"])
    run(tmp_path / "parts", [*overrides, "data.batch_size=2", "grad.accumulate=4", "data.eval_batch_size=8"])
    whole, parts = (read_checkpoint(tmp_path / name)["model"] for name in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    for key in whole:
        torch.testing.assert_close(whole[key], parts[key], rtol=1e-4, atol=1e-5)


@pytest.mark.integration
def test_resume_restores_loss_scale(tmp_path: Path, tiny: list[str]) -> None:
    """The loss scale of fp16 changes during training; mmcv resets it to 65536."""
    overrides = [*tiny, "amp=fp16", "optimizer=sgd", "optimizer.lr=0.01", "max_steps=3", "epochs=null", "eval=never",
             "data.train.indices=4", "checkpoint.interval=1", "checkpoint.max_keep_ckpts=-1"]  # fmt: skip
    run(tmp_path / "straight", overrides)
    state = read_checkpoint(tmp_path / "straight", "epoch_1.pth")
    assert state["scaler"]["_growth_tracker"] + state["skipped"] == 1  # one step, taken or skipped
    run(tmp_path / "again", [*overrides, f"resume={tmp_path}/straight/checkpoints/epoch_1.pth"])
    assert read_checkpoint(tmp_path / "straight")["scaler"] == read_checkpoint(tmp_path / "again")["scaler"]
    assert_same_weights(tmp_path / "straight", tmp_path / "again")
    assert [r["loss_scale"] for r in read_metrics(tmp_path / "straight")][1:] == [
        r["loss_scale"] for r in read_metrics(tmp_path / "again")
    ]


@pytest.mark.parametrize("split", default_lane_has(1, ["val", "test"]))
def test_evaluate_equals_best_evaluation_of_training(
    straight: Path, tmp_path: Path, split: str, capsys: pytest.CaptureFixture[str]
) -> None:
    best = json.loads((straight / "checkpoints" / "best.json").read_text())
    trained = next(r for r in read_metrics(straight, "val") if r["step"] == best["step"])
    evaluate.main([f"run={straight}", f"split={split}", f"out={tmp_path}"])
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["metrics"] == {name: trained[name] for name in report["metrics"]}
    assert report["views"] == "1 clip x 1 crop"
    assert report["split"] == "val"
    assert ("data.test is not set" in capsys.readouterr().out) == (split == "test")
    rows = list(csv.DictReader((tmp_path / "predictions.csv").read_text().splitlines()))
    assert len(rows) == report["videos"] == 8
    assert sum(int(row["correct"]) for row in rows) / 8 == trained["top1_acc"]
    if split == "val":
        assert (tmp_path / "predictions.csv").read_text() == (straight / "eval" / "predictions.csv").read_text()


@pytest.mark.integration
def test_rerun_equals_run(straight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    train.main(["--rerun", str(straight)])
    (folder,) = (tmp_path / "runs" / "motion").iterdir()
    assert read_metrics(folder) == read_metrics(straight)
    assert (folder / "config.yaml").read_text() == (straight / "config.yaml").read_text()


def test_saved_config_composes_with_overrides(straight: Path) -> None:
    saved = read_saved_config(straight / "config.yaml")
    assert compose_from([], saved=saved) == compose(STRAIGHT)
    changed = compose_from(["optimizer=adamw", "lr=step", "seed=3", "~pipeline.train.flip"], saved=saved)
    assert (type(changed.optimizer).__name__, type(changed.lr_policy).__name__, changed.seed) == ("AdamW", "Step", 3)
    assert changed.model == compose(STRAIGHT).model
    assert "flip" not in changed.pipeline.train


@pytest.mark.integration
def test_init_from_starts_with_averaged_weights(straight: Path, tmp_path: Path) -> None:
    run(tmp_path, [*STRAIGHT, f"init_from={straight}", "optimizer.lr=0", "ema=never", "optimizer.weight_decay=0"])
    averaged = read_checkpoint(straight)["ema"]
    started = read_checkpoint(tmp_path, "step_1.pth")["model"]
    parameters = [key for key in started if "running" not in key and "num_batches" not in key]
    assert "head.weight" in parameters
    assert [key for key in parameters if not torch.equal(started[key], averaged[f"module.{key}"])] == []


@pytest.mark.parametrize(
    ("overrides", "message"),
    default_lane_has(
        3,
        [
            (["resume={straight}", "epochs=2"], "nothing is left"),
            (["init_from={straight}", "model.width=16"], "does not belong to this model"),
            (["resume={straight}/checkpoints/step_1.pth", "ema=never"], "saved with ema on"),
            (["resume={straight}/checkpoints/none.pth"], "no such checkpoint"),
            (["device=cuda:99"], "torch finds"),
            (["lr=cosine_restart", "lr.periods=[1]"], "lr_policy"),
            (["optimizer.lr=1e30", "grad=plain"], "is not finite"),
            (["data.train.indices=[99]"], "outside 0..15"),
            (["pipeline.val.crop.crop_size=500"], "crop_size"),
        ],
    ),
)
def test_run_rejects_invalid_overrides(straight: Path, tmp_path: Path, overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        run(tmp_path, [*STRAIGHT, *(override.format(straight=straight) for override in overrides)])
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["status"] == "failed"
    assert message.split()[0] in result["error"]


@pytest.mark.integration
def test_evaluation_before_training_equals_that_of_resumed_epoch(straight: Path, tmp_path: Path) -> None:
    """Resuming after epoch 1 with eval.start=1 repeats its evaluation; the training is not changed."""
    overrides = [*STRAIGHT, f"resume={straight}/checkpoints/step_3.pth", "eval.start=1"]
    run(tmp_path, overrides)
    first = read_metrics(tmp_path)[0]
    assert first == next(record for record in read_metrics(straight, "val") if record["step"] == 3)
    assert_same_weights(tmp_path, straight)


@pytest.mark.integration
def test_repeated_evaluation_is_recorded_once(straight: Path, tmp_path: Path) -> None:
    """Resuming in place with eval.start repeats the evaluation of the epoch; metrics.jsonl lists it once."""
    run(tmp_path, [*STRAIGHT, "max_steps=3", "epochs=null", "lr=fixed"])
    run(tmp_path, [*STRAIGHT, "lr=fixed", "eval.start=1", "resume=auto"])
    assert [record["step"] for record in read_metrics(tmp_path, "val")] == [3, 6]
