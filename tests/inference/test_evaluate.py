"""Evaluation in whole runs: during training, by command and by rescoring; early stopping; several labels."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.run_files import assert_same_weights, read_checkpoint, read_metrics
from support.tables import default_lane_has

from vexp import compose, train
from vexp.cli import evaluate
from vexp.core.errors import UserError
from vexp.data.batch.batch import Batch
from vexp.experiment.setup import build_experiment
from vexp.training.run import new_state
from vexp.training.step import train_step


def run(folder: Path, overrides: list[str]) -> dict[str, Any]:
    return train.run(compose(overrides), folder, overrides=overrides)


def read_logits(path: Path) -> np.ndarray:
    with np.load(path) as file:
        logits: np.ndarray = file["logits"]
    return logits


# ---- commands ----

VIEWS = {
    "1 clip x 1 crop": ["pipeline.val.sample.num_clips=1"],
    "10 clips x 3 crops": [
        "pipeline.val.sample.num_clips=10", "pipeline.val.sample.clip_len=2", "pipeline.val.resize.scale=[-1,32]",
        "transform@pipeline.val.crop=three_crop", "pipeline.val.crop.crop_size=32",
    ],
}  # fmt: skip


@pytest.fixture(scope="module", params=default_lane_has(1, list(VIEWS)))
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("trained")
    overrides = [
        "data.train_clips=2", "data.val_clips=1", "data.batch_size=4", "data.num_workers=0", "model.width=8",
        "log=text", "log.plots=false", "device=cpu", "epochs=1", "ema=average", "loss.class_weights=auto",
        "data.train.indices=13",
        "eval.save_view_logits=true",
    ]  # fmt: skip
    run(folder, [*overrides, *VIEWS[request.param]])
    return folder, request.param


@pytest.mark.parametrize(
    ("batch", "chunk"),
    default_lane_has(
        1,
        [
            (4, "null"),  # as in training
            (3, "7"),  # chunks that end within videos
            pytest.param(1, "null", marks=pytest.mark.slow),
            pytest.param(8, "1", marks=pytest.mark.slow),
            pytest.param(8, "30", marks=pytest.mark.slow),
        ],
    ),
)
def test_evaluate_equals_evaluation_during_training(
    trained: tuple[Path, str], batch: int, chunk: str, tmp_path: Path
) -> None:
    """Predictions and accuracies are equal for any batch size and chunk; equal settings also give equal logits."""
    folder, views = trained
    overrides = [f"data.eval_batch_size={batch}", f"eval.max_views_per_forward={chunk}"]
    evaluate.main([f"run={folder}", f"out={tmp_path}", *overrides])
    report = json.loads((tmp_path / "report.json").read_text())
    (trained_metrics,) = read_metrics(folder, "val")
    assert report["views"] == views
    names = [name for name in report["metrics"] if name != "loss"]
    assert {name: report["metrics"][name] for name in names} == {name: trained_metrics[name] for name in names}
    assert report["metrics"]["loss"] == pytest.approx(trained_metrics["loss"], rel=1e-5)
    logits, expected_logits = (read_logits(path / "view_logits.npz") for path in (tmp_path, folder / "eval"))
    np.testing.assert_allclose(logits, expected_logits, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(logits.mean(1).argmax(1), expected_logits.mean(1).argmax(1))
    if (batch, chunk) == (4, "null"):
        assert report["metrics"]["loss"] == trained_metrics["loss"]
        np.testing.assert_array_equal(logits, expected_logits)
        assert (tmp_path / "predictions.csv").read_text() == (folder / "eval" / "predictions.csv").read_text()


def test_rescore_of_run_repeats_metrics_without_data(
    trained: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, views = trained
    monkeypatch.setenv("VEXP_CACHE", str(tmp_path / "no data"))
    evaluate.main([f"rescore={folder}", f"out={tmp_path / 'same'}", "resamples=20"])
    report = json.loads((tmp_path / "same" / "report.json").read_text())
    assert report["metrics"] == {k: v for k, v in read_metrics(folder, "val")[0].items() if k in report["metrics"]}
    assert (tmp_path / "same" / "predictions.csv").read_text() == (folder / "eval" / "predictions.csv").read_text()
    assert f"8 videos, {views}, mean_prob" in (printed := capsys.readouterr().out)
    assert "20 bootstrap resamples of the videos, seed 0" in printed
    overrides = ["eval.view_reduction=max_prob", "eval.metrics=[expected_calibration_error]"]
    evaluate.main([f"rescore={folder / 'eval' / 'view_logits.npz'}", f"out={tmp_path / 'other'}", *overrides])
    report = json.loads((tmp_path / "other" / "report.json").read_text())
    assert list(report["metrics"]) == ["expected_calibration_error", "loss"]
    assert not (tmp_path / "no data").exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.batch_size=2"], "data.batch_size=2: with rescore= only overrides of the eval group"),
        (["resamples=none"], "resamples=none: must be a whole number"),
        (["eval.view_reduction=median"], "view_reduction=median: must be one of"),
        (["split=test"], "no such file"),
    ],
)
def test_rescore_rejects_overrides_that_need_data(
    trained: tuple[Path, str], overrides: list[str], message: str
) -> None:
    with pytest.raises(UserError) as caught:
        evaluate.main([f"rescore={trained[0]}", *overrides])
    assert message in str(caught.value)


def test_automatic_class_weights_are_logged_and_saved_as_numbers(trained: tuple[Path, str]) -> None:
    folder, _ = trained
    saved = read_checkpoint(folder)["config"]["loss"]["class_weights"]
    counts = np.array([2, 2, 2, 2, 2, 1, 1, 1])  # videos per class
    np.testing.assert_allclose(saved, 1 / counts / np.mean(1 / counts))
    assert "loss: class weights clockwise 0.727" in (folder / "log.txt").read_text()


# ---- schedule and best checkpoint ----


@pytest.mark.integration
def test_evaluation_does_not_change_training_records(tmp_path: Path, tiny: list[str]) -> None:
    """A run that evaluates at every step has the training records and weights of one that never evaluates."""
    overrides = [*tiny, "model.dropout=0.3", "log.interval=3", "log.by_epoch=false", "epochs=1", "data.val.indices=2"]
    run(tmp_path / "never", [*overrides, "eval=never"])
    run(tmp_path / "often", [*overrides, "eval.by_epoch=false", "eval.start=0"])
    assert read_metrics(tmp_path / "often", "train") == read_metrics(tmp_path / "never", "train")
    assert [r["step"] for r in read_metrics(tmp_path / "often", "val")] == list(range(5))
    assert_same_weights(tmp_path / "never", tmp_path / "often")


@pytest.mark.integration
def test_best_of_evaluation_before_training_is_saved_at_step_0(tmp_path: Path, tiny: list[str]) -> None:
    """Without a learning rate the first weights stay the best; their checkpoint has step 0 and epoch 0."""
    run(tmp_path, [*tiny, "eval.start=0", "optimizer=sgd", "optimizer.lr=0", "model.norm=group"])
    best = json.loads((tmp_path / "checkpoints" / "best.json").read_text())
    state = read_checkpoint(tmp_path, "best.pth")
    assert (best["step"], best["epoch"], state["step"], state["epoch"]) == (0, 0, 0, 0)
    assert list(best) == ["metric", "score", "step", "epoch"]
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["best"] == best


@pytest.mark.integration
def test_best_score_of_zero_is_saved(tmp_path: Path, tiny: list[str]) -> None:
    overrides = [*tiny, "optimizer=sgd", "optimizer.lr=0", "eval.metrics=[top_k_accuracy]", "eval.topk=1", "epochs=1"]
    run(tmp_path, [*overrides, "data.train.indices=[0]", "data.val.indices=[1,2]"])
    assert [r["top1_acc"] for r in read_metrics(tmp_path, "val")] == [0.0]
    best = json.loads((tmp_path / "checkpoints" / "best.json").read_text())
    assert (best["metric"], best["score"]) == ("top1_acc", 0.0)
    assert read_checkpoint(tmp_path, "best.pth")["best"]["score"] == 0.0


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


@pytest.mark.integration
def test_patience_stops_run_early_and_after_resume(tmp_path: Path, tiny: list[str]) -> None:
    """Without a learning rate all evaluations are equal: the first is the best, and patience ends two later."""
    overrides = [*tiny, *STALLED, "eval.patience=2", "checkpoint.max_keep_ckpts=-1"]
    result = run(tmp_path / "first", overrides)
    assert (result["status"], result["step"]) == ("done", 3)
    assert "stopped early: no better top1_acc in 2 evaluations" in (tmp_path / "first" / "log.txt").read_text()
    saved = sorted(path.name for path in (tmp_path / "first" / "checkpoints").glob("*.pth"))
    assert saved == ["best.pth", "epoch_2.pth", "epoch_3.pth", "last.pth"]  # the last step is saved

    resumed = [*overrides, f"resume={tmp_path}/first/checkpoints/epoch_2.pth", "eval.start=1"]
    assert run(tmp_path / "resumed", resumed)["step"] == 3  # epoch 2, evaluated again, counts once

    with pytest.raises(UserError, match=r"the run stopped early.*raise eval\.patience"):
        run(tmp_path / "again", [*overrides, f"resume={tmp_path}/first/checkpoints/last.pth"])
    more = [*tiny, *STALLED, "eval.patience=3", f"resume={tmp_path}/first/checkpoints/last.pth"]
    assert run(tmp_path / "more", more)["step"] == 4


# ---- checks before training ----


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["loss=bce"], "multi-label but the training annotation has one label per video; use loss=cross_entropy"),
        (["loss.class_weights=[1,2]"], "loss.class_weights: must have one value per class: got 2"),
    ],
)
def test_run_rejects_loss_that_does_not_fit_labels(
    tmp_path: Path, tiny: list[str], overrides: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        run(tmp_path, [*tiny, *overrides])
    assert not (tmp_path / "metrics.jsonl").exists()


def test_topk_of_all_classes_warns(tiny: list[str]) -> None:
    assert build_experiment(compose([*tiny, "eval.topk=[1,9]"])).warnings == [
        "eval.topk: top9_acc is always 1 with 8 classes"
    ]


# ---- several labels per video ----


def test_train_step_of_several_labels_and_views_averages_loss(tiny: list[str]) -> None:
    """The loss is the mean over all views, each with the labels of its video."""
    config = compose([*tiny, "model.norm=group", "eval=multi_label", "optimizer=sgd"])
    exp = build_experiment(config)
    exp.task.criterion = torch.nn.BCEWithLogitsLoss()
    torch.manual_seed(0)
    model = config.model.build(8)
    state = new_state(exp, model)
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (4, 2, 8, 16, 16, 3), dtype=torch.uint8, generator=generator)
    labels = (torch.rand(4, 8, generator=generator) < 0.3).float()
    logits = model(config.img_norm.apply(frames.flatten(0, 1))).view(4, 2, 8)
    expected = sum(exp.task.criterion(logits[:, view], labels) for view in range(2)) / 2
    values = train_step(exp, state, iter([Batch.of_views(frames, labels, torch.arange(4))]))
    assert {name for name in values if not name.startswith("time/")} == {"loss"}
    torch.testing.assert_close(values["loss"], expected.detach())


@pytest.mark.integration
def test_run_with_several_labels_is_evaluated_and_rescored(tmp_path: Path, motion_cache: Path, tiny: list[str]) -> None:
    """Train and evaluate; then the commands evaluate and rescore give the same metrics."""
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
    overrides = [*(w for w in tiny if "_clips" not in w), *data, "loss=bce", "loss.class_weights=auto"]
    with pytest.raises(UserError, match=r"top_k_accuracy, mean_class_accuracy needs one label.*use eval=multi_label"):
        run(tmp_path / "refused", overrides)
    with pytest.raises(UserError, match="use loss=bce"):
        run(tmp_path / "refused", [*(w for w in overrides if "loss" not in w), "eval=multi_label"])

    folder = tmp_path / "run"
    result = run(folder, [*overrides, "eval=multi_label", "eval.save_view_logits=true"])
    assert result["best"]["metric"] == "mean_average_precision"
    val = next(r for r in read_metrics(folder, "val") if r["step"] == result["best"]["step"])
    assert set(val) == {"mode", "step", "epoch", "mean_average_precision", "mmit_mean_average_precision", "loss"}
    assert set(read_metrics(folder, "train")[0]) == {"mode", "step", "epoch", "lr", "loss"}
    for argument in (f"run={folder}", f"rescore={folder}"):
        evaluate.main([argument, f"out={tmp_path / 'again'}"])
        report = json.loads((tmp_path / "again" / "report.json").read_text())
        assert report["metrics"] == {name: val[name] for name in report["metrics"]}
    assert sorted(path.name for path in (folder / "eval").glob("*.*")) == [
        "per_class.csv", "predictions.csv", "report.json", "view_logits.npz",
    ]  # fmt: skip
    rows = list(csv.DictReader((folder / "eval" / "predictions.csv").read_text().splitlines()))
    assert rows[0]["labels"] == "a;e"
