"""Detection: runs on the embedded boxes, their report, resume, parts of a step, and what is refused."""

from __future__ import annotations

import copy
import csv
import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.run_files import assert_same_weights, read_checkpoint, read_metrics
from support.tables import default_lane_has

from vexp import compose, train
from vexp.core.errors import UserError
from vexp.data.annotations.ava import read_boxes
from vexp.data.batch.batch import Collate
from vexp.data.loading.dataloader import (
    SequentialSampler,
    WorkerOptions,
    iterate_batches,
    make_loader,
)
from vexp.evaluation.boxes import frame_average_precision
from vexp.experiment.setup import build_experiment
from vexp.model.loss import Bce
from vexp.runtime.distributed import World
from vexp.task.detection import BoxTargets, Detection
from vexp.tools.score.boxes import score_boxes
from vexp.tools.score.config import Score
from vexp.training.batches import training_order
from vexp.training.run import new_state
from vexp.training.step import accumulate_gradients

#: No batch norm, whose statistics are those of one process; the last step has 3 key frames.
TINY = [
    "data=motion_boxes", "data.train_videos=15", "data.val_videos=5", "data.batch_size=4", "data.num_workers=0",
    "model.width=8", "model.norm=group", "optimizer=sgd", "optimizer.lr=0.01", "epochs=2", "log=text", "log.interval=1",
    "log.plots=false", "device=cpu",
]  # fmt: skip
STEPWISE = ["checkpoint=all", "checkpoint.by_epoch=false"]


@pytest.fixture(scope="module", autouse=True)
def videos(motion_cache: Path) -> None:
    """Write the videos before the runs, which would print that."""
    compose(TINY).data.prepare()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a checkpoint of every step, of workers, and a report with its sheet."""
    folder = tmp_path_factory.mktemp("finished")
    overrides = [*TINY, *STEPWISE, "data.num_workers=1", "log.plots=true", "data.eval_batch_size=2"]
    train.run(compose(overrides), folder, overrides=overrides)
    return folder


def test_run_writes_boxes_that_score_measures_alike(finished: Path) -> None:
    result = json.loads((finished / "result.json").read_text())
    report = json.loads((finished / "eval" / "report.json").read_text())
    assert result["best"]["metric"] == "mAP@0.5IOU"
    assert 0 <= report["metrics"]["mAP@0.5IOU"] <= 1
    assert report["key_frames"] == 5
    assert {path.name for path in (finished / "eval").iterdir()} == {
        "boxes.csv", "boxes.png", "per_class.csv", "report.json",
    }  # fmt: skip
    data: Any = compose(TINY).data
    files = data.box_files("val")
    options = Score(
        truth=files.truth, answers=finished / "eval" / "boxes.csv", label_map=files.truth.parent / "label_map.pbtxt"
    )
    scored = score_boxes(options, options.answers).measure(None)
    # The report is that of the best checkpoint's evaluation or of the last; both are in metrics.jsonl.
    assert scored["mAP@0.5IOU"] == pytest.approx(report["metrics"]["mAP@0.5IOU"], abs=1e-12)
    with (finished / "eval" / "per_class.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 8


@pytest.mark.integration
def test_resume_within_an_epoch_is_equal_to_the_bit(finished: Path, tmp_path: Path) -> None:
    overrides = [*TINY, *STEPWISE, "data.num_workers=0", "data.eval_batch_size=2"]
    train.run(compose([*overrides, f"resume={finished}/checkpoints/step_2.pth"]), tmp_path)
    assert_same_weights(tmp_path, finished)
    assert read_metrics(tmp_path, "val")[-1] == read_metrics(finished, "val")[-1]
    loss = [record["loss"] for record in read_metrics(finished, "train")]
    assert [record["loss"] for record in read_metrics(tmp_path, "train")] == loss[2:]


def predictions_of(exp: Any, batch_size: int, model: torch.nn.Module) -> Any:
    loader = make_loader(
        exp.val_set, SequentialSampler(len(exp.val_set), batch_size), WorkerOptions(num_workers=0), exp.device,
        persistent=False,
    )  # fmt: skip
    parts = [exp.task.predict(model, batch, str) for batch in iterate_batches(loader)]
    return exp.task.gather(parts[::-1])


def test_predictions_do_not_depend_on_the_batch_size_nor_the_order() -> None:
    exp = build_experiment(compose(TINY))
    torch.manual_seed(0)
    model = exp.config.model.build(len(exp.classes)).eval()
    one, several = (predictions_of(exp, size, model) for size in (1, 3))
    assert np.array_equal(one.boxes, several.boxes)
    assert np.allclose(one.scores, several.scores, atol=1e-6)
    assert one.loss == pytest.approx(several.loss, rel=1e-5)
    assert exp.task.measure(one) == pytest.approx(exp.task.measure(several))


def test_predictions_of_videos_of_different_size_are_those_of_each_alone(motion_cache: Path) -> None:
    """Whole frames of two aspect ratios in one batch."""
    exp = build_experiment(compose([*TINY, "pipeline.val.resize.scale=[-1,64]"]))
    torch.manual_seed(0)
    model = exp.config.model.build(len(exp.classes)).eval()
    dataset = exp.val_set
    assert dataset is not None
    samples = [dataset[0, index] for index in range(3)]
    wide = replace(dataset, steps=compose([*TINY, "pipeline.val.resize.scale=[96,64]",
                                           "pipeline.val.resize.keep_ratio=false"]).pipeline.val)  # fmt: skip
    samples[1] = wide[0, 1]
    together = exp.task.gather([exp.task.predict(model, Collate()(samples), str)])
    alone = exp.task.gather([exp.task.predict(model, Collate()([sample]), str) for sample in samples])
    assert np.array_equal(together.boxes, alone.boxes)
    assert np.allclose(together.scores, alone.scores, atol=1e-5)
    assert sorted(together.images) == [0, 1, 2]


def step_of_processes(step: int, *, nproc: int, batch_size: int, accumulate: int = 1) -> list[dict[str, Any]]:
    """Return loss and gradients of a step in each process, before they are exchanged."""
    sizes = [f"nproc={nproc}", f"data.batch_size={batch_size}", f"grad.accumulate={accumulate}"]
    exp = build_experiment(compose([*TINY, *sizes]))
    torch.manual_seed(0)
    model = exp.config.model.build(len(exp.classes))
    parts = []
    for rank in range(nproc):
        part = replace(exp, world=World(rank, nproc, rank))
        state = new_state(exp=replace(part, world=World()), model=copy.deepcopy(model))
        order = training_order(exp, step, step + 1, rank=rank)
        loader = make_loader(exp.train_set, order, WorkerOptions(num_workers=0), exp.device, persistent=False)
        state.step = step
        metrics = accumulate_gradients(part, state, iterate_batches(loader))
        gradients = [parameter.grad for parameter in state.model.parameters()]
        parts.append({"loss": float(metrics["loss"]), "gradients": gradients})
    return parts


@cache
def step_of_one_process(step: int) -> dict[str, Any]:
    return step_of_processes(step, nproc=1, batch_size=4)[0]


@pytest.mark.parametrize(("nproc", "batch_size", "accumulate"), [(2, 2, 1), (4, 1, 1), (1, 2, 2)])
@pytest.mark.parametrize("step", [0, 3])  # the last step of the epoch has 3 key frames
def test_parts_of_a_step_give_the_gradient_of_one_batch(
    step: int, nproc: int, batch_size: int, accumulate: int
) -> None:
    single = step_of_one_process(step)
    parts = step_of_processes(step, nproc=nproc, batch_size=batch_size, accumulate=accumulate)
    assert sum(part["loss"] for part in parts) / nproc == pytest.approx(single["loss"], rel=1e-5)
    mean = torch.stack([torch.cat([g.flatten() for g in part["gradients"]]) for part in parts]).mean(0)
    expected = torch.cat([g.flatten() for g in single["gradients"]])
    # Rounding may move the maximum over a box to another of two nearly equal features, and with it a gradient.
    assert float((mean - expected).norm() / expected.norm()) < 5e-3


@pytest.mark.slow
def test_run_of_two_processes_matches_one_process(tmp_path: Path) -> None:
    common = [*TINY, "ema=average", "eval.start=0", "data.eval_batch_size=2"]
    train.run(compose(common), tmp_path / "one")
    train.run(compose([*common, "nproc=2", "data.batch_size=2"]), tmp_path / "two")
    a, b = (read_checkpoint(tmp_path / name) for name in ("one", "two"))
    for key, value in a["model"].items():
        torch.testing.assert_close(value, b["model"][key], rtol=1e-4, atol=1e-5)
    assert read_metrics(tmp_path / "one", "val")[0] == read_metrics(tmp_path / "two", "val")[0]


def detection() -> Detection:
    return Detection(compose(TINY), ["a", "b"], torch.device("cpu"))


def test_loss_of_a_batch_without_boxes_is_zero_with_gradients_of_zero() -> None:
    """mmaction2's loss is NaN."""
    model = compose(TINY).model.build(2)
    logits = model(torch.randn(2, 3, 4, 48, 48), torch.empty(0, 5))
    loss = detection().loss(logits, BoxTargets(torch.empty(0, 2), (0, 0), (1, 0)))
    loss["loss"].backward()
    assert loss["loss"].item() == 0
    assert loss["dropped_boxes"].item() == 0.5
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())


def test_loss_is_the_mean_over_key_frames_of_the_mean_over_boxes() -> None:
    logits, labels = torch.randn(3, 2), torch.tensor([[0.0, 1], [1, 0], [1, 1]])
    loss = detection().loss(logits, BoxTargets(labels, (1, 2), (0, 0)))["loss"]
    criterion = Bce().build()
    assert torch.isclose(loss, (criterion(logits[:1], labels[:1]) + criterion(logits[1:], labels[1:])) / 2)


def test_training_samples_have_labeled_boxes_and_evaluation_has_persons() -> None:
    exp = build_experiment(compose(TINY))
    assert exp.val_set is not None
    trained, evaluated = exp.train_set[0, 0], exp.val_set[0, 0]
    assert bool(trained.targets.any(1).all())
    assert len(trained.truth) == 0
    assert len(evaluated.boxes) == len(evaluated.persons) == len(exp.val_set.source.boxes(0).persons)
    width, height = evaluated.clips.layout.size
    expected = evaluated.persons[:, :4] * torch.tensor([width, height] * 2)
    assert torch.allclose(evaluated.boxes.double(), expected, atol=1e-4)


def test_mirrored_samples_have_mirrored_boxes_and_classes() -> None:
    """Left becomes right, and the boxes follow the image."""
    common = ["pipeline.train.resize.scale_range=[64,64]"]
    size = ["pipeline.train.crop.size=[85,64]"]
    exps = [
        build_experiment(compose([*TINY, *common, *size, f"pipeline.train.flip.flip_ratio={ratio}"]))
        for ratio in (0, 1)
    ]
    classes = exps[0].classes
    plain, mirrored = (exp.train_set[0, 1] for exp in exps)
    assert torch.equal(
        mirrored.clips and torch.from_numpy(mirrored.clips.frames), torch.from_numpy(plain.clips.frames).flip(3)
    )
    boxes = plain.boxes.clone()
    boxes[:, [0, 2]] = 85 - plain.boxes[:, [2, 0]]
    assert torch.allclose(mirrored.boxes, boxes, atol=1e-4)
    other = {"left": "right", "right": "left", "clockwise": "counter_clockwise", "counter_clockwise": "clockwise"}
    for before, after in zip(plain.targets, mirrored.targets, strict=True):
        name = classes[int(before.argmax())]
        assert classes[int(after.argmax())] == other.get(name, name)


def test_map_does_not_depend_on_the_order_of_rows() -> None:
    rng = np.random.default_rng(0)
    exp = build_experiment(compose(TINY))
    torch.manual_seed(0)
    found = predictions_of(exp, 2, exp.config.model.build(8).eval())
    truth, rows = found.truth_rows(), found.rows(0.0)
    first = frame_average_precision(truth, rows, num_classes=8)
    shuffled, order = rng.permutation(len(rows)), rng.permutation(len(truth))
    assert np.allclose(first, frame_average_precision(truth[order], rows[shuffled], num_classes=8), equal_nan=True)


REFUSED = [
    (["loss=cross_entropy"], "use loss=bce or loss=focal"),
    (["model=tiny3d"], "is a model for recognition"),
    (["blending=mixup"], "boxes differ"),
    (["data.train.class_balance=0.5"], "needs one label per sample"),
    (["pipeline=clip_8x2_64"], "sample_key_frames"),
    (["eval.metrics=[top_k_accuracy]"], "must be one of mAP@0.5IOU"),
    (["eval.save_best=top1_acc"], "is of recognition"),
    (["eval.save_best=auc"], "is of localization"),
    (["data.custom_classes=[1,1]"], "different class numbers"),
    (["data.custom_classes=[1,9]"], "9 is not in the label map"),
    (["data.custom_classes=[0]"], "different class numbers"),
    (["data.person_det_score_thr=1.5"], "<= 1"),
    (["data.assign_iou=0"], "> 0"),
    (["model.detector=yolo"], "must be one of fasterrcnn_resnet50_fpn"),
    (["model.temporal_pool=median"], "must be one of mean, max"),
    (["loss=focal", "loss.gamma=-1"], ">= 0"),
    (["eval.empty_frames=drop"], "must be one of ignore, count"),
    (["data.flip_label_map={left: wright}"], "is not a class"),
]  # fmt: skip


@pytest.mark.parametrize(("overrides", "message"), default_lane_has(5, REFUSED), ids=[" ".join(o) for o, _ in REFUSED])
def test_options_that_do_not_fit_boxes_are_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_experiment(compose([*TINY, *overrides]))


@pytest.fixture
def own_data(motion_cache: Path, tmp_path: Path) -> tuple[Path, list[str]]:
    """Files of one's own, copies of the embedded ones, and the overrides for them."""
    data: Any = compose(TINY).data
    folder = data.box_files("train").truth.parent
    for name in ("train.csv", "val.csv", "val_persons.csv", "label_map.pbtxt"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    overrides = [
        *[o for o in TINY if not o.startswith("data.")][1:], "data=ava", "data.timestamp_start=0",
        "pipeline=key_frames_8x2_64", "model=tiny3d_boxes",
        f"data.label_map={tmp_path}/label_map.pbtxt", f"data.train.ann_file={tmp_path}/train.csv",
        f"data.val.ann_file={tmp_path}/val.csv", f"data.train.data_prefix={folder}/train",
        f"data.val.data_prefix={folder}/val", f"data.val.proposal_file={tmp_path}/val_persons.csv",
        "data.batch_size=4", "data.num_workers=0",
    ]  # fmt: skip
    return tmp_path, overrides


def test_own_files_give_the_samples_of_the_embedded_data(own_data: tuple[Path, list[str]]) -> None:
    _, overrides = own_data
    ours, embedded = build_experiment(compose(overrides)), build_experiment(compose(TINY))
    assert ours.classes == embedded.classes
    assert ours.val_set is not None
    assert embedded.val_set is not None
    assert torch.equal(ours.val_set[0, 3].boxes, embedded.val_set[0, 3].boxes)
    assert np.array_equal(ours.val_set[0, 3].clips.frames, embedded.val_set[0, 3].clips.frames)


BROKEN = [
    ("train.csv", "train_0000,0001,0.1,0.1,0.5,0.5,9,0\n", [], "the class 9 is not one of the 8 classes"),
    ("train.csv", "train_0000,0001,0.1,0.1,1.5,0.5,1,0\n", [], "0..1"),
    ("train.csv", "train_0000,0001\n", [], "has no key frame with a box"),
    ("train.csv", "", [], "has no key frame with a box"),
    ("train.csv", "missing,0001,0.1,0.1,0.5,0.5,1,0\n", [], "1 of 1 videos .* are missing: missing"),
    ("val_persons.csv", "other,0001,0.1,0.1,0.5,0.5,,0.9\n", [], "has none of the key frames"),
    ("val_persons.csv", "val_0000,0001,0.1,0.1,0.5,0.5,,nan\n", [], "finite score"),
    ("label_map.pbtxt", "nothing", [], "has no item"),
    ("label_map.pbtxt", 'item { name: "a" id: 3 }', [], r"train\.csv: .* is not one of the 3 classes"),
    (None, "", ["data.val.proposal_file=nowhere.csv"], "no such file"),
    (None, "", ["data.train.exclude_file=nowhere.csv"], "no such file"),
    (None, "", ["data.label_map=nowhere.pbtxt"], "no such file"),
    (None, "", ["data.train.ann_file=nowhere.csv"], "no such file"),
    (None, "", ["data.val.data_prefix=nowhere"], "no such folder"),
    (None, "", ["data.train.ann_file=null"], "set it to the CSV of the train split"),
    (None, "", ["data.raw_frames=true", "data.decoding_backend=av"], "with raw_frames=true set it to auto"),
]  # fmt: skip


def built(overrides: list[str]) -> None:
    config = compose(overrides)
    config.data.check_files()
    build_experiment(config)


@pytest.mark.parametrize(
    ("name", "text", "more", "message"), default_lane_has(5, BROKEN), ids=[b[3][:40] + str(b[0]) for b in BROKEN]
)
def test_broken_data_is_named(
    name: str | None, text: str, more: list[str], message: str, own_data: tuple[Path, list[str]]
) -> None:
    folder, overrides = own_data
    if name is not None:
        (folder / name).write_text(text)
    with pytest.raises(UserError, match=message) as error:
        built([*overrides, *more])
    assert name in (None, "label_map.pbtxt") or str(name) in str(error.value)


def test_key_frame_outside_of_the_video_is_a_bad_sample(own_data: tuple[Path, list[str]], tmp_path: Path) -> None:
    _, overrides = own_data
    with pytest.raises(UserError, match=r"train_0\d+,0001: .*data.timestamp_start"):
        train.run(compose([*overrides, "data.timestamp_start=900", "epochs=1"]), tmp_path / "run")


def test_video_without_annotation_and_key_frame_without_persons_count(own_data: tuple[Path, list[str]]) -> None:
    """A key frame without a detected person has no detection, and its boxes count as missed."""
    folder, overrides = own_data
    lines = (folder / "val_persons.csv").read_text().splitlines(keepends=True)
    (folder / "val_persons.csv").write_text("".join(line for line in lines if not line.startswith("val_0002")))
    exp = build_experiment(compose(overrides))
    torch.manual_seed(0)
    found = predictions_of(exp, 2, exp.config.model.build(8).eval())
    assert found.counts[2] == 0
    assert found.truth_counts[2] > 0
    assert len(found.ids) == 5


def test_clips_of_different_size_in_training_are_an_error() -> None:
    exp = build_experiment(compose([*TINY, "~pipeline.train.crop", "data.batch_size=2"]))
    batch = Collate()([exp.train_set[0, index] for index in range(8)])
    with pytest.raises(UserError, match="must have one size in training"):
        exp.task.inputs(batch, training=True)


def test_several_views_of_a_key_frame_are_an_error() -> None:
    exp = build_experiment(
        compose([*TINY, "+transform@pipeline.val.crop=three_crop", "pipeline.val.crop.crop_size=64"])
    )
    assert exp.val_set is not None
    assert "one view of each key frame" in exp.val_set[0, 0].message


def test_weights_that_diverge_are_named_with_the_key_frame() -> None:
    exp = build_experiment(compose(TINY))
    model = exp.config.model.build(8).eval()
    torch.nn.init.constant_(model.head.fc.bias, float("nan"))
    with pytest.raises(UserError, match="val_0000,0001"):
        predictions_of_named(exp, model)


def predictions_of_named(exp: Any, model: torch.nn.Module) -> None:
    loader = make_loader(
        exp.val_set, SequentialSampler(5, 1), WorkerOptions(num_workers=0), exp.device, persistent=False
    )
    for batch in iterate_batches(loader):
        exp.task.predict(model, batch, exp.val_set.source.name)


def test_boxes_csv_of_a_model_without_detections_lists_every_key_frame(finished: Path) -> None:
    table = read_boxes(finished / "eval" / "boxes.csv", scores=True)
    assert len(table.key_frames) == 5


@pytest.mark.integration
def test_evaluation_writes_nothing_into_the_working_directory(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """mmaction2 writes its results there, under a name that two jobs of one second share."""
    from vexp.cli import evaluate

    monkeypatch.chdir(tmp_path)
    assert evaluate.main([f"run={finished}", f"out={tmp_path}/out", "data.eval_batch_size=3"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.integration
def test_predict_writes_boxes_an_annotated_video_and_a_sheet(finished: Path, tmp_path: Path) -> None:
    from vexp.cli import predict
    from vexp.data.decoding import open_video

    data: Any = compose(TINY).data
    files = data.box_files("val")
    video = Path(files.videos, "val_0001.mp4")
    arguments = [f"run={finished}", f"input={video}", f"out={tmp_path}"]
    assert predict.main([*arguments, f"boxes={files.persons}"]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {
        "boxes.csv", "contact_sheet.png", "predictions.json", "val_0001_boxes.mp4",
    }  # fmt: skip
    (found,) = json.loads((tmp_path / "predictions.json").read_text())["videos"]
    assert [frame["second"] for frame in found["key_frames"]] == [1.0]
    with open_video(tmp_path / "val_0001_boxes.mp4") as reader:
        assert (reader.num_frames, reader.width, reader.height) == (32, 512, 384)
    # The scores are those of the evaluation.
    table = read_boxes(tmp_path / "boxes.csv", scores=True)
    evaluated = read_boxes(finished / "eval" / "boxes.csv", scores=True)
    rows = [i for i, frame in enumerate(evaluated.key_frame) if evaluated.key_frames[frame] == ("val_0001", 1)]
    assert np.allclose(table.value, evaluated.value[rows], atol=1e-5)
    with pytest.raises(UserError, match="give boxes=FILE, or model"):
        predict.main(arguments)
    with pytest.raises(UserError, match="which downloads them"):
        predict.main([*arguments, "model.detector=fasterrcnn_resnet50_fpn"])
    with pytest.raises(UserError, match="set every=SECONDS"):
        predict.main([*arguments, f"boxes={files.persons}", "window=1"])


@pytest.mark.integration
def test_predict_finds_persons_with_a_detector(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A detector of torchvision's interface, whose weights come from a file."""
    from vexp.cli import predict
    from vexp.inference import detections

    class Found(torch.nn.Module):
        def forward(self, images: list[torch.Tensor]) -> list[dict[str, torch.Tensor]]:
            boxes = torch.tensor([[10.0, 10, 50, 60], [60, 20, 120, 90], [0, 0, 20, 20]])
            values = {"labels": torch.tensor([1, 1, 3]), "scores": torch.tensor([0.95, 0.5, 0.99])}
            return [{"boxes": boxes, **values} for _ in images]

    monkeypatch.setattr(detections, "load_detector", lambda *_: Found())
    data: Any = compose(TINY).data
    video = Path(data.box_files("val").videos, "val_0001.mp4")
    arguments = [f"run={finished}", f"input={video}", f"out={tmp_path}", "every=0.5"]
    assert predict.main([*arguments, "model.detector=fcos_resnet50_fpn"]) == 0
    (found,) = json.loads((tmp_path / "predictions.json").read_text())["videos"]
    assert [frame["second"] for frame in found["key_frames"]] == [0.5, 1.0, 1.5]
    (box,) = found["key_frames"][0]["boxes"]  # a person with a score of at least 0.9
    assert box["box"] == pytest.approx([10 / 128, 10 / 96, 50 / 128, 60 / 96], abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_predict_finds_the_boxes_of_a_detector_of_torchvision(finished: Path, tmp_path: Path, suffix: str) -> None:
    """The weights are random, but those of the classifier find persons."""
    from safetensors.torch import save_file
    from torchvision.models import get_model

    from vexp.cli import predict
    from vexp.data.decoding import open_video

    name = "fasterrcnn_mobilenet_v3_large_320_fpn"
    torch.manual_seed(0)
    detector: Any = get_model(name, weights=None, weights_backbone=None).eval()
    with torch.no_grad():
        detector.roi_heads.box_predictor.cls_score.bias[1] += 9
    save: Any = save_file if suffix == ".safetensors" else torch.save
    weights = tmp_path / f"detector{suffix}"
    save(detector.state_dict(), weights)
    data: Any = compose(TINY).data
    video = Path(data.box_files("val").videos, "val_0001.mp4")
    arguments = [f"run={finished}", f"input={video}", f"out={tmp_path / 'out'}", f"model.detector={name}"]
    assert predict.main([*arguments, f"model.detector_weights={weights}"]) == 0
    (found,) = json.loads((tmp_path / "out" / "predictions.json").read_text())["videos"]
    (key_frame,) = found["key_frames"]
    with open_video(video) as reader:
        frame = torch.from_numpy(reader.frames([16])[0]).permute(2, 0, 1).float() / 255
    with torch.no_grad():
        expected = detector([frame])[0]
    boxes = (expected["boxes"] / torch.tensor([128.0, 96, 128, 96])).clip(0, 1)
    boxes = boxes[(expected["labels"] == 1) & (expected["scores"] >= 0.9)]
    found_boxes = torch.tensor([box["box"] for box in key_frame["boxes"]])
    assert len(found_boxes) == len(boxes) > 0
    distances = torch.cdist(found_boxes, boxes, p=float("inf"))
    # Scores of random weights are almost equal, so that rounding decides which of some boxes are suppressed.
    assert float((distances.min(0).values < 1e-4).float().mean()) > 0.8
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(UserError, match=f"detector{suffix}"):
        predict.main([*arguments, f"model.detector_weights={weights}"])
    with pytest.raises(UserError, match="no such checkpoint"):
        predict.main([*arguments, f"model.detector_weights={tmp_path / 'missing.pth'}"])


def test_export_of_boxes_is_refused_in_a_sentence_and_of_weights_works(finished: Path, tmp_path: Path) -> None:
    from vexp.cli import export

    with pytest.raises(UserError, match="use format=safetensors"):
        export.main([f"run={finished}", f"out={tmp_path}/model.onnx"])
    assert export.main([f"run={finished}", "format=safetensors", f"out={tmp_path}/model.safetensors"]) == 0


@pytest.mark.integration
def test_show_batch_draws_boxes(tmp_path: Path) -> None:
    from vexp.cli import show

    assert show.main(["batch", *TINY, f"out={tmp_path}/batch.png"]) == 0
    assert (tmp_path / "batch.png").stat().st_size > 10_000


def test_boxes_are_the_same_whether_geometry_is_composed_or_rendered_step_by_step() -> None:
    composed, stepwise = (
        build_experiment(compose([*TINY, f"pipeline.lazy={lazy}"])).train_set for lazy in (True, False)
    )
    for index in range(4):
        assert torch.allclose(composed[0, index].boxes, stepwise[0, index].boxes, atol=1e-4)
        assert torch.equal(composed[0, index].targets, stepwise[0, index].targets)
