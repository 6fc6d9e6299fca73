"""Exported models: the file of torch.export or ONNX gives the logits of the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.small_models import small_model

from vexp.inference.export import FORMATS, write_model
from vexp.model import build_model
from vexp.model.adapters.config import Lora
from vexp.model.adapters.lora import merge_adapters
from vexp.model.config import Model, Tiny3d
from vexp.model.registry import REGISTRY
from vexp.model.zoo_transformers import TimeSformer

pytestmark = pytest.mark.integration

PROBE = {"probe": "attentive", "probe_depth": 2, "probe_heads": 2}
PROGRAMS = ("torch", "onnx")  # formats with the model's code


def small_timesformer(**options: Any) -> TimeSformer:
    return TimeSformer(num_frames=2, img_size=16, patch_size=8, width=16, depth=2, heads=2, **options)


OPTIONS: dict[str, tuple[Model, list[int]]] = {
    "probe of tiny3d": (Tiny3d(width=8, **PROBE), [3, 4, 16, 16]),
    "probe of timesformer": (small_timesformer(**PROBE), [3, 2, 16, 16]),
    "adapters of tiny3d": (Tiny3d(width=8, lora=Lora(rank=2, targets=["stage*"])), [3, 4, 16, 16]),
    "adapters of timesformer": (small_timesformer(lora=Lora(rank=2, targets=["*.qkv"])), [3, 2, 16, 16]),
}
FAST = {("probe of timesformer", "onnx"), ("adapters of tiny3d", "torch")}


@pytest.mark.parametrize(
    ("name", "form"),
    [
        pytest.param(name, form, marks=[] if (name, form) in FAST else pytest.mark.slow)
        for name in OPTIONS
        for form in PROGRAMS
    ],
)
def test_exported_probe_and_adapters_accept_batches_of_any_size(name: str, form: str, tmp_path: Path) -> None:
    require(form)
    option, shape = OPTIONS[name]
    if option.lora.rank is not None:
        pytest.importorskip("peft")
    torch.manual_seed(0)
    model = build_model(option, 5)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)  # adapters begin without effect
    if option.lora.rank is not None:
        merge_adapters(model, option.lora)
    parity = write_model(model.eval(), shape, tmp_path / f"model{FORMATS[form]}", form=form)
    assert parity.fixed_batch_reason == ""
    assert parity.difference <= 1e-3 * parity.largest


class _FixedBatch(torch.nn.Module):
    """A model whose code uses the batch size as a Python number."""

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        return clips.flatten(1)[:, :4] + torch.ones(1, 4).expand(len(clips), -1)


@pytest.mark.parametrize("form", PROGRAMS)
def test_exported_model_that_fixes_the_batch_size_is_for_one_clip(form: str, tmp_path: Path) -> None:
    require(form)
    parity = write_model(_FixedBatch().eval(), [3, 2, 4, 4], tmp_path / f"model{FORMATS[form]}", form=form)
    assert not parity.dynamic


def require(form: str) -> None:
    if form == "onnx":
        pytest.importorskip("onnxscript")
        pytest.importorskip("onnxruntime")


@pytest.mark.slow
@pytest.mark.parametrize("form", PROGRAMS)
@pytest.mark.parametrize("name", [name for name in REGISTRY if not name.endswith("_ava")])  # vexp export refuses these
def test_exported_model_gives_equal_logits(name: str, form: str, tmp_path: Path) -> None:
    require(form)
    torch.manual_seed(0)
    model, size = small_model(name, 5)
    for module in model.modules():  # running statistics of 0 and 1 would have no effect
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2)
    parity = write_model(model.eval(), [3, *size], tmp_path / f"model{FORMATS[form]}", form=form)
    assert parity.difference <= 1e-3 * parity.largest
    assert parity.largest > 0
