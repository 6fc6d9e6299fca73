"""The recipe of transformers in one run: bf16, moving average, warm-up, layer-wise decay, accumulation, clipping."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.run_files import assert_same_weights, read_checkpoint, read_metrics

from vexp import compose, train

pytestmark = pytest.mark.integration

RECIPE = [
    "data.train_clips=2", "data.val_clips=1", "data.batch_size=4", "data.num_workers=0", "model=timesformer_divst",
    "model.num_frames=8", "model.img_size=64", "model.patch_size=16", "model.width=16", "model.depth=2",
    "model.heads=2", "model.drop_path=0.2", "optimizer=adamw", "optimizer.paramwise.layer_decay=0.75",
    "optimizer.paramwise.norm_decay_mult=0", "lr=cosine", "lr.warmup=linear", "lr.warmup_iters=2",
    "lr.warmup_ratio=0.1", "lr.by_epoch=false", "amp=bf16", "ema=average", "ema.decay=0.9", "grad=clip",
    "grad.accumulate=2", "epochs=2", "eval=never", "log=text", "log.interval=1", "log.plots=false", "device=cpu",
    "checkpoint.by_epoch=false", "checkpoint.interval=1", "checkpoint.max_keep_ckpts=-1",
]  # fmt: skip


def test_recipe_is_resumed_to_the_bit_with_and_without_activation_checkpointing(tmp_path: Path) -> None:
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    train.run(compose([*RECIPE, "backend.activation_checkpointing=true"]), whole)
    train.run(compose([*RECIPE, f"resume={whole}/checkpoints/step_2.pth"]), resumed)
    assert_same_weights(resumed, whole)
    a, b = read_checkpoint(resumed)["ema"], read_checkpoint(whole)["ema"]
    assert [key for key in b if not torch.equal(a[key], b[key])] == []
    assert any(not torch.equal(b[f"module.{key}"], value) for key, value in read_checkpoint(whole)["model"].items())
    rates = [row["lr"] for row in read_metrics(whole, "train")]
    assert rates[0] == pytest.approx(0.1 * 0.003)  # of the base rate, before the cosine
    assert rates[1] > rates[0]
    assert rates[3] < rates[2]
