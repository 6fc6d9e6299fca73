"""Operations of a step, and the share of the step alone: they are right, and a run is equal to the bit with them."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import pytest
import torch
from support.run_files import assert_same_weights, read_metrics
from support.segments import ACTIONFORMER, BMN, data_overrides, write_segment_data
from torch import nn

from vexp import compose, train
from vexp.data.loading.bad_samples import BadSamples
from vexp.experiment.setup import build_experiment
from vexp.model.flops import training_flops
from vexp.training import efficiency
from vexp.training.batches import training_batches
from vexp.training.efficiency import Efficiency, sample_flops

SMALL = ["data.train_clips=2", "data.val_clips=1", "data.batch_size=3", "data.num_workers=0", "device=cpu"]
RUN = [*SMALL, "model.width=8", "model.dropout=0.2", "ema=average", "optimizer=adamw", "grad.accumulate=2",
       "epochs=2", "log.plots=false", "log.interval=1", "eval.save_best=null"]  # fmt: skip
DETECTION = ["data=motion_boxes", "data.train_videos=15", "data.val_videos=5", "model.width=8", "model.norm=group"]


def flops(overrides: list[str]) -> float:
    """Count the operations for a sample of the first batch of a run."""
    exp = build_experiment(compose(overrides))
    bad = BadSamples(exp.train_set, split="train", max_fraction=0.0)
    (batch,) = islice(training_batches(exp, 0, bad), 1)
    return sample_flops(exp, exp.config.model.build(len(exp.classes)), batch)


def test_training_flops_by_hand() -> None:
    """2 n i o for each product: outputs, the gradient of the weight, and that of the input where it is needed."""
    with torch.device("meta"):
        first, second = nn.Linear(3, 5), nn.Linear(5, 4)
    model, inputs = nn.Sequential(first, second), (torch.zeros(7, 3),)
    assert training_flops(model, inputs) == 2 * 7 * (2 * 3 * 5 + 3 * 5 * 4)
    first.requires_grad_(False)
    assert training_flops(model, inputs) == 2 * 7 * (1 * 3 * 5 + 2 * 5 * 4)


def test_sample_flops_grow_with_views_only() -> None:
    one = flops([*SMALL, "data.batch_size=2"])
    assert one > 1e6
    assert flops([*SMALL, "data.batch_size=4", "grad.accumulate=2"]) == one
    assert flops([*SMALL, "pipeline.train.sample.num_clips=3"]) == 3 * one


@pytest.mark.parametrize("model", [ACTIONFORMER, BMN], ids=["actionformer", "bmn"])
def test_sample_flops_of_localizers_are_counted(model: list[str], tmp_path: Path) -> None:
    assert flops([*data_overrides(write_segment_data(tmp_path)), *model]) > 1e5


def test_sample_flops_of_detection_are_counted() -> None:
    assert flops([*DETECTION, "data.num_workers=0", "device=cpu"]) > 1e5


@pytest.mark.integration
def test_run_with_efficiency_is_equal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficiency, "_SECONDS", 0.05)
    for name, value in (("with", "true"), ("without", "false")):
        train.run(compose([*RUN, f"log.efficiency={value}"]), tmp_path / name)
    assert read_metrics(tmp_path / "with") == read_metrics(tmp_path / "without")
    assert_same_weights(tmp_path / "with", tmp_path / "without")
    texts = ((tmp_path / name / "metrics.jsonl").read_text() for name in ("with", "without"))
    record, plain = (json.loads(text.splitlines()[0]) for text in texts)
    assert record["time/share_of_step_alone"] > 0
    assert record["time/tflops"] * 1e12 / record["time/clips_per_s"] == pytest.approx(flops(RUN))
    assert set(record) - set(plain) == {"time/share_of_step_alone"}
    log = (tmp_path / "with" / "log.txt").read_text()
    assert log.count("GFLOP per sample") == log.count("step alone: ") == 1
    assert " GFLOP/s, " in log


@pytest.mark.integration
def test_model_that_cannot_be_counted_does_not_end_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise NotImplementedError("aten::unknown on the meta device\nand a stack")

    monkeypatch.setattr(efficiency, "training_flops", fail)
    assert train.run(compose([*RUN, "epochs=1"]), tmp_path)["status"] == "done"
    reason = "model operations: not counted (NotImplementedError: aten::unknown on the meta device)\n"
    assert reason in (tmp_path / "log.txt").read_text()
    assert "time/tflops" not in (tmp_path / "metrics.jsonl").read_text()


def test_values_of_known_peak() -> None:
    figures = Efficiency(build_experiment(compose([*SMALL])))
    assert figures.peak is None  # of a CPU
    figures.sample_flops, figures.peak, figures.step_alone = 2e12, 100.0, 0.09
    assert figures.values(25.0, 0.1) == {
        "time/tflops": 50.0, "time/mfu": 0.5, "time/share_of_step_alone": pytest.approx(0.9),
    }  # fmt: skip
