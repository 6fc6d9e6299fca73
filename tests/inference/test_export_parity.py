"""Every net as torch.export's file and as ONNX: the file, once run, gives the net's own logits."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.small_models import small_net

from vexp.inference.export import FORMATS, write_model
from vexp.model.registry import REGISTRY


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", REGISTRY)
def test_an_exported_net_gives_its_own_logits(name: str, form: str, tmp_path: Path) -> None:
    if form == "onnx":
        pytest.importorskip("onnxscript")
        pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    net, size = small_net(name, 5)
    for part in net.modules():  # running statistics as training leaves them: 0 and 1 would hide what they do
        if isinstance(part, torch.nn.modules.batchnorm._BatchNorm):
            part.running_mean.normal_(std=0.1)
            part.running_var.uniform_(0.5, 2)
    parity = write_model(net.eval(), [3, *size], tmp_path / f"net{FORMATS[form]}", form=form)
    assert parity.difference <= 1e-3 * parity.largest
    assert parity.largest > 0
