"""Whole runs, as equalities: what must not change a result, and what must."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from vexp import checkpoint, compose, train
from vexp.cli import evaluate
from vexp.config.compose import compose as compose_from
from vexp.config.saved import read_saved_config
from vexp.core.errors import UserError


def run(folder: Path, words: list[str]) -> dict[str, Any]:
    return train.run(compose(words), folder, overrides=words)


def records(folder: Path) -> list[dict[str, Any]]:
    """metrics.jsonl without timings."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if not k.startswith("time/")} for line in lines]


def weights(folder: Path, name: str = "last.pth") -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = checkpoint.load(folder / "checkpoints" / name)["model"]
    return state


def assert_same_weights(first: Path, second: Path) -> None:
    a, b = weights(first), weights(second)
    assert a.keys() == b.keys()
    assert all(torch.equal(a[key], b[key]) for key in a)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that others are held against: dropout, EMA, clipping, a ragged last step, every checkpoint kept."""
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


def test_run_folder(straight: Path) -> None:
    found = {str(path.relative_to(straight)) for path in straight.rglob("*") if path.is_file()}
    assert found >= {
        "config.yaml", "overrides.yaml", "env.json", "log.txt", "metrics.jsonl", "result.json",
        "checkpoints/best.pth", "checkpoints/best.json", "checkpoints/last.pth", "checkpoints/step_6.pth",
        "eval/predictions.csv", "eval/per_class.csv", "eval/report.json",
    }  # fmt: skip
    assert not [name for name in found if name.endswith((".tmp", ".png"))]  # log.plots=false
    result = json.loads((straight / "result.json").read_text())
    assert result["status"] == "done"
    assert result["overrides"] == STRAIGHT
    last = [record for record in records(straight) if record["mode"] == "val"][-1]
    assert result["metrics"]["val/top1_acc"] == last["top1_acc"]


def test_records(straight: Path) -> None:
    """16 samples in steps of 6: 3 steps an epoch; lines every 2 steps, evaluations after each epoch."""
    assert [(r["mode"], r["step"], r["epoch"]) for r in records(straight)] == [
        ("train", 2, 1), ("val", 3, 1), ("train", 4, 2), ("train", 6, 2), ("val", 6, 2),
    ]  # fmt: skip
    assert set(records(straight)[0]) == {"mode", "step", "epoch", "lr", "loss", "top1_acc", "grad_norm"}
    assert set(records(straight)[1]) == {"mode", "step", "epoch", "top1_acc", "top5_acc", "mean_class_accuracy", "loss"}


@pytest.mark.parametrize("workers", [1, 2])
def test_the_number_of_workers_changes_nothing(straight: Path, tmp_path: Path, workers: int) -> None:
    run(tmp_path, [*STRAIGHT, f"data.num_workers={workers}"])
    assert records(tmp_path) == records(straight)
    assert_same_weights(tmp_path, straight)


def test_another_seed_is_another_run(straight: Path, tmp_path: Path) -> None:
    run(tmp_path, [*STRAIGHT, "seed=1", "log.plots=true"])
    assert records(tmp_path) != records(straight)
    for picture in ("curves.png", "eval/confusion.png"):
        assert (tmp_path / picture).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("step", [1, 3, 5])
def test_resuming_changes_nothing(straight: Path, tmp_path: Path, step: int) -> None:
    """In the middle of an epoch and of a log window, or between epochs: equal to the bit."""
    run(tmp_path, [*STRAIGHT, f"resume={straight}/checkpoints/step_{step}.pth"])
    assert records(tmp_path) == [record for record in records(straight) if record["step"] > step]
    assert_same_weights(tmp_path, straight)


def test_resuming_in_place_cuts_what_came_after(straight: Path, tmp_path: Path) -> None:
    """A run that is killed after step 5 with a checkpoint of step 4: step 5 is written once."""
    run(tmp_path, STRAIGHT)
    for name in ("step_5.pth", "step_6.pth", "best.pth", "last.pth"):
        (tmp_path / "checkpoints" / name).unlink()
    run(tmp_path, [*STRAIGHT, "resume=auto"])
    assert records(tmp_path) == records(straight)
    assert_same_weights(tmp_path, straight)


def test_a_changed_rate_takes_effect_on_resume_and_is_said(straight: Path, tmp_path: Path) -> None:
    """The originals kept the checkpoint's rate silently."""
    run(tmp_path, [*STRAIGHT, f"resume={straight}/checkpoints/step_3.pth", "optimizer.lr=0.01", "lr=fixed"])
    assert [record["lr"] for record in records(tmp_path) if record["mode"] == "train"] == [0.01, 0.01]
    assert "changed since: optimizer.lr 0.1 -> 0.01" in (tmp_path / "log.txt").read_text()


def test_optical_flow_is_refused_by_a_net_of_three_channels(tmp_path: Path, tiny: list[str]) -> None:
    with pytest.raises(UserError, match=r"channels=3: img_norm\.mean has 2 values; .* optical flow needs 2"):
        run(tmp_path, [*tiny, "img_norm=flow"])


def test_batches_and_accumulation_are_interchangeable(tmp_path: Path, tiny: list[str]) -> None:
    """8 samples at once, or 4 x 2, without batch norm: the same updates, the ragged tail (11 = 8 + 2 + 1) too."""
    words = [*tiny, "model.norm=group", "optimizer=sgd", "optimizer.lr=0.01", "data.train.indices=11"]
    run(tmp_path / "whole", [*words, "data.batch_size=8"])
    run(tmp_path / "parts", [*words, "data.batch_size=2", "grad.accumulate=4", "data.eval_batch_size=8"])
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    for key in whole:
        torch.testing.assert_close(whole[key], parts[key], rtol=1e-4, atol=1e-5)


def test_the_loss_scale_survives_a_resume(tmp_path: Path, tiny: list[str]) -> None:
    """fp16 with a scale that grows and falls: the original's scaler began anew at 65536."""
    words = [*tiny, "amp=fp16", "optimizer=sgd", "optimizer.lr=0.01", "max_steps=3", "epochs=null", "eval=never",
             "data.train.indices=4", "checkpoint.interval=1", "checkpoint.max_keep_ckpts=-1"]  # fmt: skip
    run(tmp_path / "straight", words)
    state = checkpoint.load(tmp_path / "straight" / "checkpoints" / "epoch_1.pth")
    assert state["scaler"]["_growth_tracker"] + state["skipped"] == 1  # one step was taken or left out
    run(tmp_path / "again", [*words, f"resume={tmp_path}/straight/checkpoints/epoch_1.pth"])
    first, second = (checkpoint.load(tmp_path / name / "checkpoints" / "last.pth") for name in ("straight", "again"))
    assert first["scaler"] == second["scaler"]
    assert_same_weights(tmp_path / "straight", tmp_path / "again")
    assert [r["loss_scale"] for r in records(tmp_path / "straight")][1:] == [
        r["loss_scale"] for r in records(tmp_path / "again")
    ]


@pytest.mark.parametrize("split", ["val", "test"])
def test_evaluate_gives_the_number_of_the_training(
    straight: Path, tmp_path: Path, split: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    best = json.loads((straight / "checkpoints" / "best.json").read_text())
    trained = next(r for r in records(straight) if r["mode"] == "val" and r["step"] == best["step"])
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


def test_rerun_repeats_a_run(straight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    train.main(["--rerun", str(straight)])
    (folder,) = (tmp_path / "runs" / "motion").iterdir()
    assert records(folder) == records(straight)
    assert (folder / "config.yaml").read_text() == (straight / "config.yaml").read_text()


def test_a_saved_config_reads_back_and_takes_overrides(straight: Path) -> None:
    saved = read_saved_config(straight / "config.yaml")
    assert compose_from([], saved=saved) == compose(STRAIGHT)
    changed = compose_from(["optimizer=adamw", "lr=step", "seed=3", "~pipeline.train.flip"], saved=saved)
    assert (type(changed.optimizer).__name__, type(changed.lr_policy).__name__, changed.seed) == ("AdamW", "Step", 3)
    assert changed.model == compose(STRAIGHT).model
    assert "flip" not in changed.pipeline.train


def test_init_from_starts_anew_with_the_weights(straight: Path, tmp_path: Path) -> None:
    run(tmp_path, [*STRAIGHT, f"init_from={straight}", "optimizer.lr=0", "ema=never", "optimizer.weight_decay=0"])
    averaged = checkpoint.load(straight / "checkpoints" / "last.pth")["ema"]
    started = weights(tmp_path, "step_1.pth")
    for key in (key for key in started if "running" not in key and "num_batches" not in key):
        assert torch.equal(started[key], averaged[f"module.{key}"])


@pytest.mark.parametrize(
    ("words", "message"),
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
)
def test_what_cannot_work_is_refused(straight: Path, tmp_path: Path, words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        run(tmp_path, [*STRAIGHT, *(word.format(straight=straight) for word in words)])
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["status"] == "failed"
    assert message.split()[0] in result["error"]


def test_evaluation_before_training_measures_the_weights_it_is_filed_under(straight: Path, tmp_path: Path) -> None:
    """Resuming after epoch 1 with eval.start=1 evaluates first, as epoch 1, and then trains in train mode."""
    words = [*STRAIGHT, f"resume={straight}/checkpoints/step_3.pth", "eval.start=1"]
    run(tmp_path, words)
    first = records(tmp_path)[0]
    assert first == next(record for record in records(straight) if record["mode"] == "val" and record["step"] == 3)
    assert_same_weights(tmp_path, straight)


def test_an_evaluation_that_is_made_again_is_written_once(straight: Path, tmp_path: Path) -> None:
    """Going on in place with eval.start reached: the epoch is measured before training, and stands once."""
    run(tmp_path, [*STRAIGHT, "max_steps=3", "epochs=null", "lr=fixed"])
    run(tmp_path, [*STRAIGHT, "lr=fixed", "eval.start=1", "resume=auto"])
    steps = [record["step"] for record in records(tmp_path) if record["mode"] == "val"]
    assert steps == [3, 6]
