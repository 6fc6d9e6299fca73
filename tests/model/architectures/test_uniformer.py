"""UniFormer and UniFormerV2: their blocks against the formulas, and what training and export need of them."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vexp.core.errors import ConfigError, UserError
from vexp.model.architectures.uniformer import uniformer
from vexp.model.architectures.uniformerv2 import CrossAttention, Fusion, GlobalBlock
from vexp.model.config import Model
from vexp.model.features import features
from vexp.model.meta import meta_model
from vexp.model.zoo_transformers import UniFormer, UniFormerV2
from vexp.optim.layer_decay import layer_indices

OPTIONS: dict[str, Model] = {
    "uniformer": UniFormer(depths=[1, 2, 1, 2], widths=[8, 16, 32, 64], head_width=16),
    "uniformerv2": UniFormerV2(img_size=32, patch_size=16, width=32, depth=3, heads=4, global_blocks=2),
}


def tiny(name: str, **changes: Any) -> nn.Module:
    torch.manual_seed(0)
    return replace(OPTIONS[name], **changes).build(5).eval()


def started(model: nn.Module) -> nn.Module:
    """Parameters that start at 0 and hide what is behind them are given values."""
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(std=0.1)
    return model


def test_uniformer_stages_have_documented_shapes() -> None:
    table = dict(re.findall(r"^ +(\S+) +\(N, ([\d, ]+)\)$", uniformer.__doc__ or "", re.MULTILINE))
    documented = {part: tuple(map(int, sizes.split(","))) for part, sizes in table.items()}
    model, clips = meta_model("uniformer_s", 5).eval(), torch.empty(2, *documented.pop("input"), device="meta")
    measured = {}
    for part in documented:
        module = model.get_submodule(f"backbone.{part}")
        module.register_forward_hook(lambda _m, _x, y, part=part: measured.update({part: tuple(y.shape[1:])}))
    assert model(clips).shape == (2, 5)
    assert measured == documented
    assert len(measured) == 9


@pytest.mark.parametrize(("frames", "height", "width"), [(1, 32, 32), (5, 40, 96), (16, 64, 64)])
def test_uniformer_accepts_any_clip(frames: int, height: int, width: int) -> None:
    assert tiny("uniformer")(torch.randn(2, 3, frames, height, width)).shape == (2, 5)


def test_uniformer_frames_of_less_than_a_position_raise() -> None:
    with pytest.raises(UserError, match=r"frames of at least 32x32 pixels, got 64x31"):
        tiny("uniformer")(torch.randn(1, 3, 4, 31, 64))


@pytest.mark.parametrize("frames", [1, 3, 8])
def test_uniformerv2_accepts_any_number_of_frames(frames: int) -> None:
    assert tiny("uniformerv2")(torch.randn(2, 3, frames, 32, 32)).shape == (2, 5)


def test_uniformerv2_other_frame_size_raises() -> None:
    with pytest.raises(UserError, match=r"frames of 32x32 pixels, got 48x32; set model.img_size"):
        tiny("uniformerv2")(torch.randn(1, 3, 2, 32, 48))


@pytest.mark.parametrize("name", OPTIONS)
def test_forward_clip_does_not_depend_on_its_batch(name: str) -> None:
    model, clips = started(tiny(name)), torch.randn(3, 3, 4, 32, 32)
    torch.testing.assert_close(model(clips)[1:2], model(clips[1:2]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", OPTIONS)
def test_forward_depends_on_frame_order(name: str) -> None:
    model, clips = started(tiny(name)), torch.randn(1, 3, 4, 32, 32)
    assert not torch.allclose(model(clips), model(clips.flip(2)), atol=1e-4)


@pytest.mark.parametrize("name", OPTIONS)
def test_backward_reaches_every_parameter(name: str) -> None:
    model = started(tiny(name, drop_path=0.0)).train()
    model(
        torch.randn(2, 3, 4, 64, 64) if name == "uniformer" else torch.randn(2, 3, 4, 32, 32)
    ).square().sum().backward()
    assert [key for key, one in model.named_parameters() if one.grad is None or not one.grad.any()] == []


def test_cross_attention_equals_torch() -> None:
    torch.manual_seed(0)
    ours, theirs = CrossAttention(16, 4), nn.MultiheadAttention(16, 4, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat((ours.q.weight, ours.kv.weight)))
        theirs.in_proj_bias.copy_(torch.cat((ours.q.bias, ours.kv.bias)))
        theirs.out_proj.load_state_dict(ours.proj.state_dict())
    x, context = torch.randn(2, 1, 16), torch.randn(2, 7, 16)
    normed = ours.norm_context(context)
    torch.testing.assert_close(ours(x, context), theirs(ours.norm(x), normed, normed)[0])


def test_global_block_starts_as_identity() -> None:
    block = GlobalBlock(16, 4, dropout=0.5, drop_path=0.0).eval()
    video, tokens = torch.randn(2, 1, 16), torch.randn(2, 3, 1 + 4, 16)
    assert torch.equal(block(video, tokens, torch.Size((2, 2))), video)


def test_fusion_weighs_video_token_and_tokens_of_frames() -> None:
    fusion = Fusion(4)
    nn.init.normal_(fusion.balance)
    video, tokens, share = torch.randn(2, 1, 4), torch.randn(2, 5, 4), fusion.balance.sigmoid()
    torch.testing.assert_close(fusion(video, tokens), fusion.norm(video * (1 - share) + tokens * share))


def test_uniformerv2_features_are_fused_mean_of_class_tokens() -> None:
    """``tokens`` has the class tokens of the frames, each fused alone: with a balance of 1 their mean is known."""
    backbone, clips = tiny("uniformerv2").backbone.double(), torch.randn(2, 3, 4, 32, 32, dtype=torch.float64)
    backbone.fusion.norm = nn.Identity()
    with torch.no_grad():
        backbone.fusion.balance.normal_()
        class_tokens = backbone.tokens(clips).unflatten(1, (4, -1))[:, :, 0]
        torch.testing.assert_close(class_tokens.mean(dim=1), backbone(clips))


def test_uniformerv2_frames_pass_the_image_transformer_apart() -> None:
    """Until the global blocks, whose output starts at 0: the features are the mean of those of the frames' tokens."""
    model, clips = tiny("uniformerv2"), torch.randn(1, 3, 4, 32, 32)
    with torch.no_grad():
        model.backbone.fusion.balance.fill_(100.0)  # the class tokens alone
    assert torch.allclose(model(clips), model(clips.flip(2)), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "rates"),
    [("uniformer", [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]), ("uniformerv2", [0.0, 0.25, 0.5, 0.0, 0.0])],
)
def test_drop_path_increases_with_depth(name: str, rates: list[float]) -> None:
    model = tiny(name, drop_path=0.5)
    paths = [part.rate for part in model.modules() if type(part).__name__ == "DropPath"]
    assert paths == pytest.approx(rates)
    clips = torch.randn(4, 3, 2, 32, 32)
    started(model)
    assert torch.equal(model(clips), model(clips))
    model.train()
    assert not torch.equal(model(clips), model(clips))


@pytest.mark.parametrize("name", OPTIONS)
def test_features_are_input_of_classifier(name: str) -> None:
    model, clips = tiny(name), torch.randn(2, 3, 4, 32, 32)
    given: Tensor = features(model, 5)(clips)
    assert given.shape == (2, 64 if name == "uniformer" else 32)
    torch.testing.assert_close(model.head.fc(given), model(clips))


def test_layer_decay_counts_attention_blocks() -> None:
    indices, last = layer_indices(tiny("uniformer"))
    blocks = {key.split(".attn")[0]: index for key, index in indices.items() if ".attn.qkv.weight" in key}
    assert (list(blocks.values()), last) == ([1, 2, 3], 4)
    assert (indices["backbone.blocks2.0.attn.weight"], indices["backbone.norm.weight"]) == (0, 4)
    indices, last = layer_indices(tiny("uniformerv2"))
    assert [indices[f"backbone.blocks.{i}.mlp.fc1.weight"] for i in range(3)] == [1, 2, 3]
    new = [indices[key] for key in indices if ".global_blocks." in key or ".fusion." in key or key.startswith("head.")]
    assert (set(new), last, indices["backbone.pos_embed"]) == ({4}, 4, 0)


@pytest.mark.parametrize("name", OPTIONS)
def test_build_flow_channels_and_frozen_blocks(name: str) -> None:
    pattern = "backbone.blocks1" if name == "uniformer" else "backbone.blocks.[01]"
    model = tiny(name, channels=2, freeze=[pattern])
    assert model(torch.randn(1, 2, 4, 32, 32)).shape == (1, 5)
    frozen = {key for key, parameter in model.named_parameters() if not parameter.requires_grad}
    assert frozen
    assert all(key.startswith(("backbone.blocks1.", "backbone.blocks.0.", "backbone.blocks.1.")) for key in frozen)
    with pytest.raises(ConfigError, match=r"did you mean .*blocks"):
        tiny(name, freeze=["backbone.blokcs"])


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIONS)
def test_export_program_equals_model(name: str) -> None:
    model, clips = started(tiny(name)), torch.randn(2, 3, 4, 32, 32)
    program = torch.export.export(model, (clips,))
    torch.testing.assert_close(program.module()(clips), model(clips))
