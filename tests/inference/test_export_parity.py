"""Exported models: the file of torch.export or ONNX gives the logits of the model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.small_models import small_model

from vexp.inference.export import FORMATS, write_model
from vexp.model.registry import REGISTRY


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", REGISTRY)
def test_exported_model_gives_equal_logits(name: str, form: str, tmp_path: Path) -> None:
    if form == "onnx":
        pytest.importorskip("onnxscript")
        pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    model, size = small_model(name, 5)
    for module in model.modules():  # running statistics of 0 and 1 would have no effect
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2)
    parity = write_model(model.eval(), [3, *size], tmp_path / f"model{FORMATS[form]}", form=form)
    assert parity.difference <= 1e-3 * parity.largest
    assert parity.largest > 0
