"""Probes: heads on the tokens of an encoder."""

from __future__ import annotations

import pytest
import torch
from support.tables import default_lane_has
from torch import Tensor, nn

from vexp.core.errors import ConfigError
from vexp.model import build_model, zoo, zoo_frames
from vexp.model.architectures.probes import AttentiveProbe, ProbedModel
from vexp.model.architectures.tokens import tokens_of
from vexp.model.config import Model, Tiny3d, TorchvisionVideo
from vexp.model.features import classifier_of, features
from vexp.model.meta import meta_model
from vexp.model.zoo_transformers import MViTv2, TimeSformer, UniFormer, UniFormerV2, VideoMae, VideoSwin

TIMESFORMER = {"num_frames": 2, "img_size": 16, "patch_size": 8, "width": 16, "depth": 2, "heads": 2}
UNIFORMERV2 = {"img_size": 32, "patch_size": 16, "width": 16, "depth": 2, "heads": 2, "global_blocks": 1}
#: option -> clip (T, H, W), tokens and width
MODELS = [
    (Tiny3d(width=8), (4, 32, 32), 1 * 2 * 2, 32),
    (TimeSformer(**TIMESFORMER), (2, 16, 16), 1 + 2 * 4, 16),
    (VideoMae(num_frames=4, img_size=32, width=24, depth=2, heads=2), (4, 32, 32), 2 * 2 * 2, 24),
    (MViTv2(num_frames=4, img_size=64, depth=2, downsample=[1]), (4, 64, 64), 1 + 2 * 8 * 8, 192),
    (VideoSwin(depths=[1, 1, 1, 1]), (4, 32, 32), 2, 768),
    (UniFormer(depths=[1, 1, 1, 1]), (4, 32, 32), 2, 512),
    (UniFormerV2(**UNIFORMERV2), (2, 32, 32), 2 * (1 + 4), 16),
    (zoo_frames.Tsm(backbone="resnet18"), (4, 32, 32), 4, 512),
    (zoo.SlowOnly(depth=50), (4, 32, 32), 4, 2048),
    (TorchvisionVideo(name="r3d_18"), (4, 32, 32), 1 * 2 * 2, 512),
    (TorchvisionVideo(name="s3d"), (8, 32, 32), 1, 1024),
    (TorchvisionVideo(name="swin3d_t"), (4, 32, 32), 2, 768),
    (TorchvisionVideo(name="mvit_v1_b"), (16, 224, 224), 1 + 8 * 7 * 7, 768),
]


def probed(option: Model, **values: object) -> Model:
    for name, value in {"probe": "attentive", "probe_depth": 1, "probe_heads": 2, **values}.items():
        setattr(option, name, value)
    return option


@pytest.mark.parametrize(
    ("option", "clip", "count", "width"), default_lane_has(6, MODELS), ids=lambda value: type(value).__name__
)
def test_tokens_are_what_the_head_of_the_model_pools(
    option: Model, clip: tuple[int, int, int], count: int, width: int
) -> None:
    model = meta_model(probed(option), 5).eval()
    clips = torch.empty(2, 3, *clip, device="meta")
    tokens = tokens_of(model.encoder)
    assert tokens is not None
    assert tokens(clips).shape == (2, count, width)
    assert model(clips).shape == (2, 5)
    assert classifier_of(model, 5)[0] == "probe.fc"
    assert features(model, 5)(clips).shape == (2, width)


def test_linear_probe_on_mean_of_tokens_equals_the_head_of_a_convolutional_model() -> None:
    torch.manual_seed(0)
    plain = build_model(Tiny3d(width=8), 5).eval()
    model = build_model(probed(Tiny3d(width=8), probe="linear"), 5).eval()
    state = {key if key.startswith("head.") else f"encoder.{key}": value for key, value in plain.state_dict().items()}
    model.load_state_dict({key.replace("head.", "probe.fc."): value for key, value in state.items()})
    clips = torch.randn(2, 3, 4, 32, 32)
    torch.testing.assert_close(model(clips), plain(clips), atol=1e-6, rtol=1e-6)


def test_attentive_probe_equals_the_pooler_of_vjepa2() -> None:
    transformers = pytest.importorskip("transformers")
    from transformers.models.vjepa2.modeling_vjepa2 import VJEPA2AttentivePooler

    torch.manual_seed(0)
    config = transformers.VJEPA2Config(hidden_size=24, num_attention_heads=3, num_pooler_layers=2, mlp_ratio=4)
    pooler, probe = VJEPA2AttentivePooler(config).eval(), AttentiveProbe(24, 5, depth=3, heads=3).eval()
    for parameter in pooler.parameters():
        nn.init.normal_(parameter, std=0.3)
    with torch.no_grad():
        probe.query.copy_(pooler.query_tokens)
        for block, layer in zip(probe.blocks, pooler.self_attention_layers, strict=True):
            qkv = [getattr(layer.self_attn, f"{name}_proj") for name in "qkv"]
            _copy_stacked(block.attn.qkv, *qkv)
            _copy_stacked(block.attn.proj, layer.self_attn.out_proj)
            _copy_norm_and_mlp(block.attn.norm, layer.layer_norm1, block.mlp, layer)
        cross = pooler.cross_attention_layer
        _copy_stacked(probe.cross.q, cross.cross_attn.q_proj)
        _copy_stacked(probe.cross.kv, cross.cross_attn.k_proj, cross.cross_attn.v_proj)
        _copy_norm_and_mlp(probe.cross.norm, cross.layer_norm1, probe.mlp, cross)
    tokens = torch.randn(2, 7, 24)
    torch.testing.assert_close(probe(tokens), probe.fc(pooler(tokens)), atol=1e-5, rtol=1e-5)


def _copy_stacked(layer: nn.Linear, *parts: nn.Linear) -> None:
    layer.weight.copy_(torch.cat([part.weight for part in parts]))
    layer.bias.copy_(torch.cat([part.bias for part in parts]))


def _copy_norm_and_mlp(norm: nn.Module, their_norm: nn.Module, mlp: nn.Module, theirs: nn.Module) -> None:
    norm.load_state_dict(their_norm.state_dict())
    mlp.norm.load_state_dict(theirs.layer_norm2.state_dict())
    mlp.fc1.load_state_dict(theirs.mlp.fc1.state_dict())
    mlp.fc2.load_state_dict(theirs.mlp.fc2.state_dict())


def test_frozen_encoder_stays_in_eval_mode() -> None:
    frozen = meta_model(probed(TimeSformer(**TIMESFORMER), freeze=["encoder"]), 5).train()
    trained = meta_model(probed(TimeSformer(**TIMESFORMER)), 5).train()
    assert isinstance(frozen, ProbedModel)
    assert (frozen.training, frozen.encoder.training, frozen.probe.training) == (True, False, True)
    assert trained.encoder.training


@pytest.mark.parametrize(
    ("option", "side"), [(TimeSformer(**TIMESFORMER), 16), (UniFormerV2(**UNIFORMERV2), 32)], ids=["timesformer", "v2"]
)
def test_every_parameter_of_encoder_and_probe_gets_a_gradient(option: Model, side: int) -> None:
    model = build_model(probed(option, probe_depth=2), 5).train()
    model(torch.randn(2, 3, 2, side, side)).sum().backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize(
    ("option", "key"),
    [
        (probed(TimeSformer(**TIMESFORMER), probe_heads=3), "model.probe_heads"),
        (probed(zoo.X3d()), "model.probe"),
        (probed(zoo.C3d()), "model.probe"),
        (probed(zoo.SlowFast()), "model.probe"),
    ],
)
def test_probe_that_does_not_fit_is_refused(option: Model, key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        meta_model(option, 5)
    assert caught.value.key == key


def test_weights_of_the_model_without_probe_are_loaded_into_the_encoder(tmp_path: object) -> None:
    from vexp.model.weights import load_checkpoint

    torch.manual_seed(0)
    plain = build_model(TimeSformer(**TIMESFORMER), 3)
    torch.save({"state_dict": plain.state_dict()}, f"{tmp_path}/plain.pth")
    model = build_model(probed(TimeSformer(**TIMESFORMER)), 5)
    report = load_checkpoint(model, f"{tmp_path}/plain.pth")
    assert report.match.ignored == ["head.fc.weight", "head.fc.bias"]
    encoder: dict[str, Tensor] = model.encoder.state_dict()  # type: ignore[union-attr, assignment]
    assert all(torch.equal(value, plain.state_dict()[key]) for key, value in encoder.items())
