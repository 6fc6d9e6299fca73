"""Small transformers: recorded logits, other clip sizes, gradients, stochastic depth, features, export."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support.paths import GOLDEN_DIR
from support.recorded_models import clip_of, filled
from torch import nn

from vexp.inference.export import FORMATS, write_model
from vexp.model import zoo_transformers
from vexp.model.architectures.transformer import DropPath
from vexp.model.features import features

#: Logits of these models, whose weights are filled by their own keys, recorded when the full-size ones equaled
#: mmaction2's (tests/model/weights/test_key_mapping_transformers.py).
RECORDED: dict[str, Any] = json.loads((GOLDEN_DIR / "small_transformers.json").read_text())
SMALL: dict[str, Any] = {
    "videomae": zoo_transformers.VideoMae(num_frames=4, img_size=32, width=16, depth=2, heads=2),
    "mvitv2": zoo_transformers.MViTv2(num_frames=4, img_size=32, width=8, depth=4, downsample=[1, 3], dropout=0.0),
    "mvitv2_maskfeat": zoo_transformers.MViTv2(
        num_frames=4, img_size=32, width=8, depth=4, downsample=[1, 3], dropout=0.0, expand_in_attention=False
    ),
    "swin": zoo_transformers.VideoSwin(width=8, depths=[2, 2], heads=[1, 2], window=[2, 3, 3], dropout=0.0),
    "timesformer": zoo_transformers.TimeSformer(num_frames=4, img_size=32, width=16, depth=2, heads=2),
}


def small(name: str, **changes: Any) -> nn.Module:
    """The small model in eval mode, with the weights of the recorded logits."""
    model = replace(SMALL[name], **changes).build(5).eval()
    for key, tensor in model.named_parameters():
        tensor.data = filled(key, tensor.shape)
    return model


@pytest.mark.parametrize(("name", "shape"), [(name, shape) for name in SMALL for shape in RECORDED[name]])
def test_small_model_equals_recorded_logits(name: str, shape: str) -> None:
    with torch.no_grad():
        logits = small(name)(clip_of([2, 3, *map(int, shape.split("x"))]))
    torch.testing.assert_close(logits, torch.tensor(RECORDED[name][shape]), atol=2e-5, rtol=1e-4)


def test_recorded_logits_are_of_several_sizes() -> None:
    assert {name: len(sizes) for name, sizes in RECORDED.items() if name != "doc"} == {
        "videomae": 2, "mvitv2": 2, "mvitv2_maskfeat": 2, "swin": 2, "timesformer": 1,
    }  # fmt: skip


@pytest.mark.parametrize("name", SMALL)
def test_drop_path_rises_with_depth_to_the_rate_of_the_option(name: str) -> None:
    from torchvision.ops import StochasticDepth

    model = replace(SMALL[name], drop_path=0.3).build(5)
    rates = [part.rate for part in model.modules() if isinstance(part, DropPath)]
    rates += [part.p for part in model.modules() if isinstance(part, StochasticDepth)]
    blocks = {"swin": 4, "mvitv2": 4, "mvitv2_maskfeat": 4}.get(name, 2)
    assert rates == pytest.approx([0.3 * block / (blocks - 1) for block in range(blocks)])


@pytest.mark.parametrize("name", SMALL)
def test_drop_path_acts_in_training_only(name: str) -> None:
    torch.manual_seed(0)
    model, clips = small(name, drop_path=0.5).train(), torch.randn(4, 3, 4, 32, 32)
    assert not torch.equal(model(clips), model(clips))
    model.eval()
    assert torch.equal(model(clips), model(clips))
    still = small(name, drop_path=0.0).train()
    assert torch.equal(still(clips), still(clips))


@pytest.mark.parametrize("name", ["mvitv2", "mvitv2_maskfeat"])
def test_backward_mvit_reaches_all_but_positions_of_last_query(name: str) -> None:
    torch.manual_seed(0)
    model = replace(SMALL[name], drop_path=0.0).build(5).train()
    F.cross_entropy(model(torch.randn(2, 3, 4, 32, 32)), torch.tensor([0, 1])).backward()
    without = [key for key, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == [
        f"backbone.blocks.3.attn.{part}" for part in ("rel_pos_h", "rel_pos_w", "rel_pos_t", "pool_q.pool.weight")
    ]


@pytest.mark.parametrize("name", SMALL)
def test_build_accepts_flow_and_frozen_backbone(name: str) -> None:
    model = replace(SMALL[name], channels=2, freeze=["backbone"]).build(5)
    assert {key for key, p in model.named_parameters() if p.requires_grad} == {"head.fc.weight", "head.fc.bias"}
    assert model(torch.randn(1, 2, 4, 32, 32)).shape == (1, 5)


@pytest.mark.parametrize("name", SMALL)
def test_features_are_the_input_of_the_classifier(name: str) -> None:
    model, clips = small(name), torch.randn(2, 3, 4, 32, 32)
    with torch.no_grad():
        values = features(model, 5)(clips)
        torch.testing.assert_close(model.get_submodule("head.fc")(values), model(clips))


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", [name for name in SMALL if name != "timesformer"])
@pytest.mark.slow
def test_export_small_model_gives_equal_logits(name: str, form: str, tmp_path: Path) -> None:
    if form == "onnx":
        pytest.importorskip("onnxscript")
        pytest.importorskip("onnxruntime")
    parity = write_model(small(name), [3, 4, 32, 32], tmp_path / f"model{FORMATS[form]}", form=form)
    assert parity.difference <= 1e-3 * parity.largest
    assert parity.dynamic


def test_videomae_other_number_of_frames_is_built_for_them() -> None:
    model = small("videomae", num_frames=8)
    assert model(torch.randn(1, 3, 8, 32, 32)).shape == (1, 5)
    torch.testing.assert_close(  # the positions of the first frames are those of a shorter clip
        model.get_submodule("backbone").position[:2], small("videomae").get_submodule("backbone").position
    )
