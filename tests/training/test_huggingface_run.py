"""``model=hf`` from training to predictions, with the folder of the model gone after the first run."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers")

import numpy as np
import torch
from support.huggingface import TINY, publish, tiny_model

from vexp import checkpoint, compose, train
from vexp.cli import export, features, predict
from vexp.config.compose import compose as compose_saved
from vexp.config.saved import read_saved_config

pytestmark = pytest.mark.integration

OVERRIDES = [
    "model=hf", "data.train_clips=1", "data.val_clips=1", "data.batch_size=4", "data.num_workers=0", "epochs=null",
    "log=text", "log.plots=false", "log.interval=1", "device=cpu", "eval=never", "lr=fixed", "model.drop_path=0.1",
    "model.input.frame_interval=2", "optimizer.paramwise.layer_decay=0.75", "optimizer.lr=0.01",
]  # fmt: skip
FAST = ("videomae", "vjepa2")
KINDS = [pytest.param(kind, marks=[] if kind in FAST else pytest.mark.slow) for kind in TINY]


@pytest.fixture(scope="module", params=KINDS)
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(A run of 4 steps, one that was stopped after 2 steps and resumed without the folder of the model)."""
    root = tmp_path_factory.mktemp(request.param)
    model = publish(tiny_model(request.param), root / "model")
    overrides = [*OVERRIDES, f"model.name={model}"]
    whole, resumed = root / "whole", root / "resumed"
    train.run(compose([*overrides, "max_steps=4"]), whole, overrides=overrides)
    train.run(compose([*overrides, "max_steps=2"]), resumed, overrides=overrides)
    shutil.rmtree(model)
    saved = read_saved_config(resumed / "config.yaml")
    train.run(compose_saved(["max_steps=4", "resume=auto"], saved=saved), resumed)
    return whole, resumed


def last(run: Path) -> dict[str, Any]:
    return checkpoint.load(run / "checkpoints" / "last.pth")


def test_resumed_run_is_equal_to_the_bit(trained: tuple[Path, Path]) -> None:
    whole, resumed = map(last, trained)
    assert whole["step"] == resumed["step"] == 4
    assert whole["model"].keys() == resumed["model"].keys()
    assert [key for key, value in whole["model"].items() if not torch.equal(value, resumed["model"][key])] == []


def test_predictions_and_features_need_no_files_of_the_model(
    trained: tuple[Path, Path], motion_cache: Path, tmp_path: Path
) -> None:
    run, videos = trained[1], next(path.parent for path in sorted(motion_cache.rglob("val/*.mp4")))
    common = [f"run={run}", f"input={videos}", "device=cpu", "data.num_workers=0"]
    assert predict.main([*common, f"out={tmp_path / 'predictions'}"]) == 0
    assert features.main([*common, f"out={tmp_path / 'features'}"]) == 0
    assert np.load(tmp_path / "features" / "features.npy").shape[1] == 24


@pytest.mark.slow
@pytest.mark.parametrize("form", ["onnx", "torch"])
def test_exported_file_takes_any_batch(
    trained: tuple[Path, Path], form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if form == "onnx":
        pytest.importorskip("onnxruntime")
    out = tmp_path / ("model.onnx" if form == "onnx" else "model.pt2")
    assert export.main([f"run={trained[1]}", f"format={form}", f"out={out}", "device=cpu"]) == 0
    assert "clips float32 (any, 3, 4, 32, 32)" in capsys.readouterr().out
