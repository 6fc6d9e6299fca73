"""Runs of temporal localization: metrics as vexp score measures them, resume, processes, batches, prediction."""

from __future__ import annotations

import copy
import csv
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest
import torch
from support.archives import write_zip
from support.segments import ACTIONFORMER, BMN, DURATION, data_overrides, write_segment_data
from support.tables import default_lane_has

from vexp import compose, train
from vexp.__main__ import main
from vexp.checkpoint import load
from vexp.core.errors import ConfigError, UserError
from vexp.data.loading.dataloader import WorkerOptions, iterate_batches, make_loader
from vexp.experiment.setup import build_experiment
from vexp.runtime.distributed import World
from vexp.task.localization import random_part
from vexp.training.batches import training_order
from vexp.training.run import new_state
from vexp.training.step import accumulate_gradients

MODELS = {"actionformer": ACTIONFORMER, "bmn": BMN}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_segment_data(tmp_path_factory.mktemp("segments"))


def overrides(folder: Path, model: str, *more: str) -> list[str]:
    return [*data_overrides(folder), *MODELS[model], *more]


@pytest.fixture(scope="module", params=default_lane_has(1, list(MODELS)))
def run(request: pytest.FixtureRequest, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three epochs of two steps with a checkpoint of every step."""
    out = tmp_path_factory.mktemp(request.param)
    saved = ["epochs=3", "checkpoint=all", "checkpoint.by_epoch=false", "log.plots=true"]
    train.run(compose(overrides(folder, request.param, *saved)), out)
    return out


def rows(run: Path, split: str) -> list[dict[str, Any]]:
    lines = (json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines())
    return [row for row in lines if row["mode"] == split]


def test_run_writes_results_that_score_measures_alike(run: Path, folder: Path, tmp_path: Path) -> None:
    has_classes = "mAP" in str(rows(run, "val")[-1])
    answers = run / "eval" / "proposals.json"
    main(["score", f"truth={folder / 'annotations.json'}", f"answers={answers}", "resamples=0", f"out={tmp_path}",
          f"eval={'segments' if has_classes else 'proposals'}"])  # fmt: skip
    measured = json.loads((tmp_path / "score.json").read_text())["metrics"]
    report = json.loads((run / "eval" / "report.json").read_text())
    for name, value in measured.items():
        value = value["value"] if isinstance(value, dict) else value
        assert report["metrics"][name] == pytest.approx(value, abs=1e-12), name
    assert (run / "eval" / "ar_an.png").stat().st_size > 1000
    assert (run / "eval" / "per_class.csv").exists() == has_classes


@pytest.mark.integration
def test_resume_in_the_middle_of_an_epoch_equals_the_uninterrupted_run(run: Path, folder: Path, tmp_path: Path) -> None:
    model = "bmn" if "loss_boundary" in str(rows(run, "train")[0]) else "actionformer"
    again = overrides(folder, model, "epochs=3", f"resume={run}/checkpoints/step_3.pth")
    train.run(compose(again), tmp_path)
    whole, resumed = (load(path / "checkpoints" / "last.pth")["model"] for path in (run, tmp_path))
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)
    ignored = {"time/step", "time/data", "time", "eta"}
    strip = [[{k: v for k, v in row.items() if not k.startswith("time") and k not in ignored}
              for row in rows(path, "val")] for path in (run, tmp_path)]  # fmt: skip
    assert strip[0][-2:] == strip[1][-2:]


@pytest.mark.integration
def test_evaluation_does_not_depend_on_the_batch_size(run: Path, folder: Path, tmp_path: Path) -> None:
    for size in (1, 4):
        main(["evaluate", f"run={run}", f"out={tmp_path / str(size)}", f"data.eval_batch_size={size}"])
    first, second = (json.loads((tmp_path / str(size) / "report.json").read_text())["metrics"] for size in (1, 4))
    assert first == pytest.approx(second, abs=1e-5)


class ThreadWorld(World):
    """A process that is a thread of the test."""

    def __init__(self, rank: int, nproc: int, barrier: Barrier, tensors: list[Any]) -> None:
        super().__init__(rank, nproc, rank)
        object.__setattr__(self, "barrier", barrier)
        object.__setattr__(self, "tensors", tensors)

    def all_reduce_sum(self, tensor: torch.Tensor) -> torch.Tensor:
        self.tensors[self.rank] = tensor
        self.barrier.wait(30)
        total: torch.Tensor = sum(self.tensors)
        self.barrier.wait(30)
        return total


def step_of_processes(folder: Path, model: str, step: int, nproc: int, batch: int, accumulate: int) -> list[Any]:
    """Return the mean of loss and gradients over the processes after the forward and backward passes of a step."""
    sizes = [f"nproc={nproc}", f"data.batch_size={batch}", f"grad.accumulate={accumulate}"]
    config = compose(overrides(folder, model, *sizes))
    exp = build_experiment(config)
    torch.manual_seed(0)
    initial = config.model.build(len(exp.classes))
    barrier, tensors = Barrier(nproc), [None] * nproc

    def run(rank: int) -> list[torch.Tensor]:
        state = new_state(exp=replace(exp, world=World()), model=copy.deepcopy(initial))
        state.step = step
        order = training_order(exp, step, step + 1, rank=rank)
        loader = make_loader(exp.train_set, order, WorkerOptions(num_workers=0), exp.device, persistent=False)
        world = ThreadWorld(rank, nproc, barrier, tensors)
        values = accumulate_gradients(replace(exp, world=world), state, iterate_batches(loader))
        return [values["loss"], *(parameter.grad for parameter in state.model.parameters())]

    with ThreadPoolExecutor(nproc) as pool:
        return [sum(parts) / nproc for parts in zip(*pool.map(run, range(nproc)), strict=True)]


def test_rescore_names_what_measures_segments(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", f"rescore={run}"]) == 2
    assert "vexp score answers=proposals.json" in capsys.readouterr().err


@pytest.mark.parametrize("model", default_lane_has(1, list(MODELS)))
def test_processes_take_the_step_of_one(folder: Path, model: str) -> None:
    """The loss of BMN is balanced over all processes. The second step has 2 videos: two of four processes have none."""
    for step in (0, 1):
        one = step_of_processes(folder, model, step, 1, 4, 1)
        for nproc, batch in ((2, 2), (4, 1)):
            for first, second in zip(one, step_of_processes(folder, model, step, nproc, batch, 1), strict=True):
                torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-6)
    one = step_of_processes(folder, model, 0, 1, 2, 3)
    for first, second in zip(one, step_of_processes(folder, model, 0, 2, 1, 3), strict=True):
        torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-6)


def test_accumulated_batches_of_bmn_are_balanced_each_on_its_own(folder: Path) -> None:
    """For ActionFormer, whose loss is a mean over videos, they have the gradient of one batch."""
    for model in MODELS:
        one, three = step_of_processes(folder, model, 0, 1, 6, 1), step_of_processes(folder, model, 0, 1, 2, 3)
        largest = max(float((first - second).abs().max()) for first, second in zip(one, three, strict=True))
        assert (largest < 1e-5) == (model == "actionformer")


@pytest.mark.slow
@pytest.mark.parametrize("model", list(MODELS))
def test_run_of_two_processes_equals_one(folder: Path, tmp_path: Path, model: str) -> None:
    for name, nproc, batch in (("one", 1, 4), ("two", 2, 2)):
        sizes = [f"nproc={nproc}", f"data.batch_size={batch}", "epochs=2"]
        train.run(compose(overrides(folder, model, *sizes)), tmp_path / name)
    first, second = (load(tmp_path / name / "checkpoints" / "last.pth")["model"] for name in ("one", "two"))
    for key in first:
        torch.testing.assert_close(first[key], second[key], rtol=1e-4, atol=1e-5)
    for split, name in (("train", "loss"), ("val", "loss"), ("val", "mAP" if model == "actionformer" else "auc")):
        for one, two in zip(rows(tmp_path / "one", split), rows(tmp_path / "two", split), strict=True):
            assert one[name] == pytest.approx(two[name], rel=1e-3)


def predicted(out: Path) -> list[dict[str, str]]:
    with (out / "segments.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.integration
def test_predict_writes_segments_of_features(run: Path, folder: Path, tmp_path: Path) -> None:
    found = {}
    archive = write_zip(tmp_path / "features.zip", folder / "features")
    for name, source in (
        ("file", folder / "features" / "val_0.npy"), ("folder", folder / "features"), ("archive", archive),
        ("archived", f"{archive}/val_0.npy"),
    ):  # fmt: skip
        main(
            ["predict", f"run={run}", f"input={source}", f"seconds={DURATION}", "min_score=0", f"out={tmp_path / name}"]
        )
        found[name] = [row for row in predicted(tmp_path / name) if row["video"] == "val_0"]
    assert found["file"] == found["folder"] == found["archive"] == found["archived"]
    assert found["file"]
    results = json.loads((tmp_path / "file" / "proposals.json").read_text())["results"]["val_0"]
    evaluated = json.loads((run / "eval" / "proposals.json").read_text())["results"]["val_0"]
    assert len(results) == len(evaluated)
    assert all(0 <= float(row["start"]) < float(row["end"]) <= DURATION for row in found["file"])
    assert (tmp_path / "file" / "timeline.png").stat().st_size > 1000


def test_predict_without_duration_names_the_option(run: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", f"run={run}", f"input={folder / 'features' / 'val_0.npy'}", f"out={run / 'p'}"]) == 2
    assert "give seconds=DURATION" in capsys.readouterr().out


def test_show_sampling_draws_segments_and_proposals(run: Path, folder: Path, tmp_path: Path) -> None:
    saved = ["data=activitynet", *data_overrides(folder)[1:6]]
    main(["show", "sampling", *saved, "data.length=16", f"answers={run}", f"out={tmp_path / 'sheet.png'}"])
    assert (tmp_path / "sheet.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("changes", "key", "fragment"),
    [
        (["model.feature_dim=12"], "model.feature_dim", "data.feature_dim=8"),
        (["model=bmn", "eval=proposals", "model.length=100", "data.length=16"], "length", "data.length=16"),
        (["model=bmn", "eval=proposals", "model.length=100"], "length", "one length"),
        (["model=bmn", "data.length=16"], "eval.metrics", "eval=proposals"),
        (["loss=bmn"], "loss", "model=bmn"),
        (["data.train.class_balance=1"], "data.train.class_balance", "set it to 0"),
        (["blending=mixup"], "blending", "blending=never"),
        (["model.probe=linear"], "model.probe", "localizers have none"),
        (["model.heads=7"], "model.heads", "divisor"),
        (["model.window=4"], "model.window", "odd"),
        (["eval.tious=[0.5,1.5]"], "eval.tious", "<= 1"),
    ],
)
def test_options_that_do_not_fit_are_refused(folder: Path, changes: list[str], key: str, fragment: str) -> None:
    usual = ["data.length=null", "model=actionformer_tiny", "eval=segments"]
    with pytest.raises(ConfigError) as caught:
        build_experiment(compose([*data_overrides(folder), *usual, *changes]))
    assert str(caught.value.key).endswith(key)
    assert fragment in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "fragment"),
    [
        (["save_best=auc"], "localization"),
        (["model=actionformer"], "localization"),
    ],
)
def test_localization_on_data_of_recognition_is_refused(changes: list[str], fragment: str) -> None:
    changes = [change.replace("save_best", "eval.save_best") for change in changes]
    with pytest.raises(UserError, match=fragment):
        compose(changes)


def test_outputs_that_are_not_finite_name_the_video(folder: Path) -> None:
    exp = build_experiment(compose(overrides(folder, "actionformer")))
    model = exp.config.model.build(len(exp.classes)).eval()
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    assert exp.val_set is not None
    batch = exp.val_set[(0, 2)].collate([exp.val_set[(0, 2)]])
    with pytest.raises(UserError, match=r"the scores of val_2 are not finite"):
        exp.task.predict(model, batch, exp.val_set.source.name)


def test_save_best_ar_an_means_ar_100(folder: Path) -> None:
    """mmaction2's ``save_best='AR@AN'`` raises KeyError."""
    config = compose(overrides(folder, "bmn", "eval.save_best=AR@AN"))
    assert config.eval.best_metric("localization") == "AR@100"
    for metric, best in (("AR@AN", "auc"), ("mAP", "mAP")):
        options = replace(config.eval, metrics=[metric], save_best="auto")
        assert options.best_metric("localization") == best


def test_random_part_keeps_segments_that_lie_in_it() -> None:
    from vexp.data.sources.segments import FeatureSequence

    sequence = FeatureSequence(np.arange(40, dtype=np.float32)[:, None], 0.0, 0.5)
    segments = np.array([[0.0, 2.0], [15.0, 19.0]])
    for seed in range(20):
        part, kept = random_part(sequence, segments, 10, np.random.default_rng(seed))
        first = int(part.values[0, 0])
        assert part.values[:, 0].tolist() == list(range(first, first + 10))
        assert part.origin == first * 0.5
        assert len(kept) == 1
        start, end = segments[kept[0]]
        assert min(end, part.origin + 5) - max(start, part.origin) > (end - start) / 2


def test_training_crops_long_videos_and_evaluation_does_not(folder: Path) -> None:
    exp = build_experiment(compose(overrides(folder, "actionformer", "data.crop=12")))
    assert exp.val_set is not None
    assert exp.train_set[(0, 0)].features.shape[1] == 12
    assert exp.val_set[(0, 0)].features.shape[1] == 32
    drawn = [exp.train_set[(epoch, 0)].origin for epoch in range(8)]
    assert len(set(drawn)) > 1
    assert drawn[3] == exp.train_set[(3, 0)].origin
