"""Evaluation in whole runs: the same number wherever it is measured, early stopping, other kinds of labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vexp import checkpoint, compose, train
from vexp.cli import evaluate
from vexp.core.errors import UserError
from vexp.data.batch.batch import Batch
from vexp.experiment.setup import build_experiment
from vexp.training.run import new_state
from vexp.training.step import train_step


def run(folder: Path, words: list[str]) -> dict[str, Any]:
    return train.run(compose(words), folder, overrides=words)


def records(folder: Path, mode: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in r.items() if not k.startswith("time/")} for r in lines if r["mode"] == mode]


def door(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    evaluate.main(words)


# ---- evaluate == the number of the training ----

VIEWS = {
    "1 clip x 1 crop": ["pipeline.val.sample.num_clips=1"],
    "10 clips x 3 crops": [
        "pipeline.val.sample.num_clips=10", "pipeline.val.sample.clip_len=2", "pipeline.val.resize.scale=[-1,32]",
        "transform@pipeline.val.crop=three_crop", "pipeline.val.crop.crop_size=32",
    ],
}  # fmt: skip


@pytest.fixture(scope="module", params=VIEWS)
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("trained")
    words = [
        "data.train_clips=2", "data.val_clips=1", "data.batch_size=4", "data.num_workers=0", "model.width=8",
        "log=text", "log.plots=false", "device=cpu", "epochs=1", "ema=average", "loss.class_weights=auto",
        "data.train.indices=13",
        "eval.save_view_logits=true",
    ]  # fmt: skip
    run(folder, [*words, *VIEWS[request.param]])
    return folder, request.param


@pytest.mark.parametrize(
    ("batch", "chunk"),
    [
        (4, "null"),  # as in training: equal to the bit, the loss too
        (3, "7"),  # chunks that end within videos
        pytest.param(1, "null", marks=pytest.mark.slow),
        pytest.param(8, "1", marks=pytest.mark.slow),
        pytest.param(8, "30", marks=pytest.mark.slow),
    ],
)
def test_evaluate_gives_the_number_of_the_training(
    trained: tuple[Path, str], batch: int, chunk: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Predictions and what is counted are equal for any batch and chunk, logits to 1e-5; all is equal for the same."""
    folder, views = trained
    words = [f"data.eval_batch_size={batch}", f"eval.max_views_per_forward={chunk}"]
    door(monkeypatch, f"run={folder}", f"out={tmp_path}", *words)
    report = json.loads((tmp_path / "report.json").read_text())
    (during,) = records(folder, "val")
    assert report["views"] == views
    counted = [name for name in report["metrics"] if name != "loss"]
    assert {name: report["metrics"][name] for name in counted} == {name: during[name] for name in counted}
    assert report["metrics"]["loss"] == pytest.approx(during["loss"], rel=1e-5)
    here, there = (np.load(path / "view_logits.npz") for path in (tmp_path, folder / "eval"))
    np.testing.assert_allclose(here["logits"], there["logits"], rtol=1e-5, atol=1e-5)
    assert (here["logits"].mean(1).argmax(1) == there["logits"].mean(1).argmax(1)).all()
    if (batch, chunk) == (4, "null"):
        assert report["metrics"]["loss"] == during["loss"]
        np.testing.assert_array_equal(here["logits"], there["logits"])
        assert (tmp_path / "predictions.csv").read_text() == (folder / "eval" / "predictions.csv").read_text()


def test_rescoring_a_run_repeats_its_number_without_its_data(
    trained: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, views = trained
    monkeypatch.setenv("VEXP_CACHE", str(tmp_path / "no data here"))
    door(monkeypatch, f"rescore={folder}", f"out={tmp_path / 'same'}", "resamples=20")
    report = json.loads((tmp_path / "same" / "report.json").read_text())
    assert report["metrics"] == {k: v for k, v in records(folder, "val")[0].items() if k in report["metrics"]}
    assert (tmp_path / "same" / "predictions.csv").read_text() == (folder / "eval" / "predictions.csv").read_text()
    assert f"8 videos, {views}, mean_prob" in (shown := capsys.readouterr().out)
    assert "20 bootstrap resamples of the videos, seed 0" in shown
    words = ["eval.view_reduction=max_prob", "eval.metrics=[expected_calibration_error]"]
    door(monkeypatch, f"rescore={folder / 'eval' / 'view_logits.npz'}", f"out={tmp_path / 'other'}", *words)
    report = json.loads((tmp_path / "other" / "report.json").read_text())
    assert list(report["metrics"]) == ["expected_calibration_error", "loss"]
    assert not (tmp_path / "no data here").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data.batch_size=2"], "data.batch_size=2: with rescore= only overrides of the eval group"),
        (["resamples=none"], "resamples=none: must be a whole number"),
        (["eval.view_reduction=median"], "view_reduction=median: must be one of"),
        (["split=test"], "no such file"),
    ],
)
def test_what_rescoring_cannot_do(
    trained: tuple[Path, str], words: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError) as refused:
        door(monkeypatch, f"rescore={trained[0]}", *words)
    assert message in str(refused.value)


def test_automatic_class_weights_are_said_and_kept_as_numbers(trained: tuple[Path, str]) -> None:
    folder, _ = trained
    saved = checkpoint.load(folder / "checkpoints" / "last.pth")["config"]["loss"]["class_weights"]
    counts = np.array([2, 2, 2, 2, 2, 1, 1, 1])  # the list goes round the classes
    np.testing.assert_allclose(saved, 1 / counts / np.mean(1 / counts))
    assert "loss: class weights clockwise 0.727" in (folder / "log.txt").read_text()


# ---- when ----


def test_bug_an_evaluation_cut_short_the_window_of_the_next_training_line(tmp_path: Path, tiny: list[str]) -> None:
    """Evaluating every step changes nothing in the training lines, weights included (batch norm, dropout, order)."""
    words = [*tiny, "model.dropout=0.3", "log.interval=3", "log.by_epoch=false", "epochs=1", "data.val.indices=2"]
    run(tmp_path / "never", [*words, "eval=never"])
    run(tmp_path / "often", [*words, "eval.by_epoch=false", "eval.start=0"])
    assert records(tmp_path / "often", "train") == records(tmp_path / "never", "train")
    assert [r["step"] for r in records(tmp_path / "often", "val")] == list(range(5))
    first, second = (
        checkpoint.load(tmp_path / run / "checkpoints" / "last.pth")["model"] for run in ("never", "often")
    )
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_bug_the_best_of_an_evaluation_before_training_left_no_checkpoint(tmp_path: Path, tiny: list[str]) -> None:
    """... or one that was called epoch 1. Here the untrained weights stay the best: all later steps do nothing."""
    run(tmp_path, [*tiny, "eval.start=0", "optimizer=sgd", "optimizer.lr=0", "model.norm=group"])
    best = json.loads((tmp_path / "checkpoints" / "best.json").read_text())
    state = checkpoint.load(tmp_path / "checkpoints" / "best.pth")
    assert (best["step"], best["epoch"], state["step"], state["epoch"]) == (0, 0, 0, 0)
    assert list(best) == ["metric", "score", "step", "epoch"]
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["best"] == best


def test_bug_accuracies_of_exactly_zero_left_no_best_checkpoint(tmp_path: Path, tiny: list[str]) -> None:
    words = [*tiny, "optimizer=sgd", "optimizer.lr=0", "eval.metrics=[top_k_accuracy]", "eval.topk=1", "epochs=1"]
    run(tmp_path, [*words, "data.train.indices=[0]", "data.val.indices=[1,2]"])
    assert [r["top1_acc"] for r in records(tmp_path, "val")] == [0.0]
    best = json.loads((tmp_path / "checkpoints" / "best.json").read_text())
    assert (best["metric"], best["score"]) == ("top1_acc", 0.0)
    assert (tmp_path / "checkpoints" / "best.pth").is_file()


# ---- early stopping ----

STALLED = [
    "data.train.indices=4",
    "data.val.indices=2",
    "optimizer=sgd",
    "optimizer.lr=0",
    "model.norm=group",
    "epochs=6",
    "checkpoint.interval=2",
]


def test_a_run_that_does_not_improve_ends_early(tmp_path: Path, tiny: list[str]) -> None:
    """Without a learning rate all evaluations are equal: the first is the best, patience runs out two later."""
    words = [*tiny, *STALLED, "eval.patience=2", "checkpoint.max_keep_ckpts=-1"]
    result = run(tmp_path / "whole", words)
    assert (result["status"], result["step"]) == ("done", 3)
    assert "stopped early: no better top1_acc in 2 evaluations" in (tmp_path / "whole" / "log.txt").read_text()
    saved = sorted(path.name for path in (tmp_path / "whole" / "checkpoints").glob("*.pth"))
    assert saved == ["best.pth", "epoch_2.pth", "epoch_3.pth", "last.pth"]  # the end is saved, too

    resumed = [*words, f"resume={tmp_path}/whole/checkpoints/epoch_2.pth", "eval.start=1"]
    assert run(tmp_path / "resumed", resumed)["step"] == 3  # epoch 2, measured again, counts once

    with pytest.raises(UserError, match=r"the run stopped early.*raise eval\.patience"):
        run(tmp_path / "again", [*words, f"resume={tmp_path}/whole/checkpoints/last.pth"])
    more = [*tiny, *STALLED, "eval.patience=3", f"resume={tmp_path}/whole/checkpoints/last.pth"]
    assert run(tmp_path / "more", more)["step"] == 4


# ---- before training ----


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["loss=bce"], "multi-label but the training annotation has one label per video; use loss=cross_entropy"),
        (["loss.class_weights=[1,2]"], "loss.class_weights: must have one value per class: got 2"),
    ],
)
def test_a_loss_of_another_task_is_refused(tmp_path: Path, tiny: list[str], words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        run(tmp_path, [*tiny, *words])
    assert not (tmp_path / "metrics.jsonl").exists()


def test_what_cannot_tell_anything_is_warned_of(tiny: list[str]) -> None:
    assert build_experiment(compose([*tiny, "eval.topk=[1,9]"])).warnings == [
        "eval.topk: top9_acc is always 1 with 8 classes"
    ]


# ---- several labels a video ----


def test_a_training_step_with_several_labels_a_video(tiny: list[str]) -> None:
    """The gradient is that of the mean loss over all views, each with the labels of its video."""
    config = compose([*tiny, "model.norm=group", "eval=multi_label", "optimizer=sgd"])
    exp = build_experiment(config)
    exp.criterion = torch.nn.BCEWithLogitsLoss()
    torch.manual_seed(0)
    model = config.model.build(8)
    state = new_state(exp, model)
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (4, 2, 8, 16, 16, 3), dtype=torch.uint8, generator=generator)
    labels = (torch.rand(4, 8, generator=generator) < 0.3).float()
    logits = model(config.img_norm.apply(frames.flatten(0, 1))).view(4, 2, 8)
    expected = sum(exp.criterion(logits[:, view], labels) for view in range(2)) / 2
    values = train_step(exp, state, iter([Batch.of_views(frames, labels, torch.arange(4))]))
    assert {name for name in values if not name.startswith("time/")} == {"loss"}
    torch.testing.assert_close(values["loss"], expected.detach())


def test_a_run_with_several_labels_a_video(
    tmp_path: Path, motion_cache: Path, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trained, measured, saved, evaluated and scored again."""
    compose(["data.train_clips=2", "data.val_clips=1"]).data.source("train")
    (root,) = motion_cache.glob("*_train2_val1")
    for split in ("train", "val"):
        names = [line.split()[0] for line in (root / f"{split}.txt").read_text().splitlines()]
        rows = [f"{name} {i % 4} {4 + i % 3}" for i, name in enumerate(names)]
        (tmp_path / f"{split}.txt").write_text("\n".join(rows) + "\n")
    (tmp_path / "classes.txt").write_text("\n".join("abcdefg") + "\n")
    data = [
        "data=video_list", f"data.classes={tmp_path}/classes.txt", "data.multi_label=true",
        *(f"data.{split}.ann_file={tmp_path}/{split}.txt" for split in ("train", "val")),
        *(f"data.{split}.data_prefix={root}" for split in ("train", "val")),
    ]  # fmt: skip
    words = [*(w for w in tiny if "_clips" not in w), *data, "loss=bce", "loss.class_weights=auto"]
    with pytest.raises(UserError, match=r"top_k_accuracy, mean_class_accuracy needs one label.*use eval=multi_label"):
        run(tmp_path / "refused", words)
    with pytest.raises(UserError, match="use loss=bce"):
        run(tmp_path / "refused", [*(w for w in words if "loss" not in w), "eval=multi_label"])

    folder = tmp_path / "run"
    result = run(folder, [*words, "eval=multi_label", "eval.save_view_logits=true"])
    assert result["best"]["metric"] == "mean_average_precision"
    val = next(r for r in records(folder, "val") if r["step"] == result["best"]["step"])
    assert set(val) == {"mode", "step", "epoch", "mean_average_precision", "mmit_mean_average_precision", "loss"}
    assert set(records(folder, "train")[0]) == {"mode", "step", "epoch", "lr", "loss"}
    for word in (f"run={folder}", f"rescore={folder}"):
        door(monkeypatch, word, f"out={tmp_path / 'again'}")
        report = json.loads((tmp_path / "again" / "report.json").read_text())
        assert report["metrics"] == {name: val[name] for name in report["metrics"]}
    assert sorted(path.name for path in (folder / "eval").glob("*.*")) == [
        "per_class.csv", "predictions.csv", "report.json", "view_logits.npz",
    ]  # fmt: skip
    first = (folder / "eval" / "predictions.csv").read_text().splitlines()[1]
    assert "a;e" in first
