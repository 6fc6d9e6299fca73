"""The layers of TIN, TANet and TSM that mix the frames of a clip, against their definitions."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from vexp.core.errors import ConfigError, UserError
from vexp.model import zoo_frames
from vexp.model.architectures.frame_layers import (
    FrameLayer,
    FrameNonLocal,
    TemporalAdaptive,
    TemporalInterlace,
    TemporalPool,
    TemporalShift,
)
from vexp.model.architectures.trn import Relations
from vexp.model.family import Family
from vexp.model.meta import meta_model

LAYERS: dict[str, FrameLayer] = {
    "shift": TemporalShift(4),
    "interlace": TemporalInterlace(16, 4, 2),
    "adaptive": TemporalAdaptive(16, 4),
    "non-local": FrameNonLocal(16, "dot_product"),
    "pool": TemporalPool(),
}


def filled(layer: FrameLayer, frames: int) -> FrameLayer:
    """The layer in evaluation, with random weights."""
    layer.num_frames = frames
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.5)
    return layer.eval()


@pytest.mark.parametrize("name", LAYERS)
def test_frame_layer_mixes_frames_of_one_clip_only(name: str) -> None:
    torch.manual_seed(0)
    layer = filled(LAYERS[name], 4)
    x = torch.randn(2 * 4, 16, 4, 4)
    both = layer(x)
    torch.testing.assert_close(both.chunk(2)[1], layer(x[4:]))
    moved = layer(x[4:].flip(0))
    assert moved.shape == (both.shape[0] // 2, 16, 4, 4)
    assert not torch.allclose(moved, both.chunk(2)[1].flip(0), atol=1e-3) or name in ("non-local", "pool")


def test_temporal_interlace_equals_definition() -> None:
    """Each group moves by its offset, with linear interpolation; element by element."""
    torch.manual_seed(0)
    frames, channels, shift_div = 5, 24, 3
    layer = filled(TemporalInterlace(channels, frames, shift_div), frames)
    x = torch.randn(2 * frames, channels, 2, 3)
    clips = x.unflatten(0, (2, frames))
    expected = clips.clone()
    for n in range(2):
        pooled = clips[n, :, :8].mean(dim=(2, 3)).T  # (C', T)
        offset = 4 * (layer.offset_net(pooled[None])[0].sigmoid() - 0.5)
        weight = 2 * layer.weight_net(pooled[None])[0].sigmoid()  # (2, T)
        for channel in range(8):
            group = channel // 2
            by = (offset[group % 2] * (1 if group < 2 else -1)).item()
            for t in range(frames):
                before = math.floor(t - by)
                value = torch.zeros(2, 3)
                for source, share in ((before, 1 - (t - by - before)), (before + 1, t - by - before)):
                    if 0 <= source < frames:
                        value += share * clips[n, source, channel]
                expected[n, t, channel] = value * weight[group % 2, t]
    torch.testing.assert_close(layer(x), expected.flatten(0, 1), atol=1e-5, rtol=1e-5)


def test_temporal_interlace_begins_with_half_a_frame_and_weights_of_one() -> None:
    layer = TemporalInterlace(8, 4, 1)
    nn.init.zeros_(layer.offset_net.fc2.weight)
    nn.init.zeros_(layer.weight_net.conv.weight)
    layer.num_frames = 4
    x = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 8, 1, 1)
    assert layer(x)[2, :, 0, 0].tolist() == pytest.approx([1.5, 1.5, 1.5, 1.5, 2.5, 2.5, 2.5, 2.5], abs=1e-4)


def test_temporal_adaptive_equals_grouped_convolution() -> None:
    """The formula of the paper: a depthwise convolution over time with a kernel for each clip and channel."""
    torch.manual_seed(0)
    layer = filled(TemporalAdaptive(8, 5), 5)
    x = torch.randn(3 * 5, 8, 2, 2)
    clips = x.unflatten(0, (3, 5)).transpose(1, 2)  # (N, C, T, H, W)
    pooled = clips.mean(dim=(3, 4))
    kernel, gate = layer.kernel(pooled.reshape(-1, 5)), layer.gate(pooled)
    gated = (clips * gate[..., None, None]).reshape(1, 24, 5, 4)
    y = functional.conv2d(gated, kernel.view(24, 1, 3, 1), padding=(1, 0), groups=24)
    torch.testing.assert_close(layer(x), y.view(3, 8, 5, 2, 2).transpose(1, 2).flatten(0, 1))


def test_non_local_block_begins_as_the_identity() -> None:
    layer, x = FrameNonLocal(8, "embedded_gaussian"), torch.randn(6, 8, 4, 4)
    layer.num_frames = 3
    assert torch.equal(layer(x), x)


@pytest.mark.parametrize(("frames", "expected"), [(4, [1, 3]), (5, [1, 3, 4]), (1, [0])])
def test_temporal_pool_takes_every_second_maximum(frames: int, expected: list[int]) -> None:
    layer = TemporalPool()
    layer.num_frames = frames
    x = torch.arange(float(frames)).view(-1, 1, 1, 1)
    assert layer(x).flatten().tolist() == expected


def test_tsm_layers_behind_the_pool_have_half_the_frames() -> None:
    model = zoo_frames.Tsm(backbone="resnet18", temporal_pool=True, non_local="gaussian").build(3)
    assert model(torch.randn(2, 3, 5, 32, 32)).shape == (2, 3)
    strides = {name: part.time_stride for name, part in model.named_modules() if isinstance(part, FrameLayer)}
    assert {name.split(".")[1] for name, stride in strides.items() if stride == 2} == {"layer2", "layer3", "layer4"}
    assert strides["backbone.layer2.pool0"] == 1
    assert {part.num_frames for part in model.modules() if isinstance(part, FrameLayer)} == {5, 3}


def test_tsm_non_local_blocks_are_where_published() -> None:
    model = meta_model(zoo_frames.Tsm(non_local="gaussian"), 3)
    places = [name for name, part in model.named_modules() if isinstance(part, FrameNonLocal)]
    assert places == [f"backbone.layer{place}" for place in (
        "2.non_local0", "2.non_local2", "3.non_local0", "3.non_local2", "3.non_local4"
    )]  # fmt: skip
    assert [name for name, _ in model.get_submodule("backbone.layer2").named_children()] == [
        "0", "non_local0", "1", "2", "non_local2", "3",
    ]  # fmt: skip


SMALL: dict[str, Family] = {
    "tanet": zoo_frames.TaNet(backbone="resnet18", num_frames=4),
    "tin": zoo_frames.Tin(backbone="resnet18", num_frames=4),
    "trn": zoo_frames.Trn(backbone="resnet18", num_frames=4, width=8),
}


@pytest.mark.parametrize("name", SMALL)
def test_model_for_a_number_of_frames_refuses_others(name: str) -> None:
    model = meta_model(SMALL[name], 3).eval()
    assert model(torch.empty(2, 3, 4, 32, 32, device="meta")).shape == (2, 3)
    with pytest.raises(UserError, match=r"clips of model.num_frames=4 frames, got 8; set the same number of segments"):
        model(torch.empty(2, 3, 8, 32, 32, device="meta"))


@pytest.mark.parametrize(
    ("option", "key"),
    [
        (zoo_frames.TaNet(backbone="mobilenet_v2"), "model.backbone"),
        (zoo_frames.Tin(backbone="vgg11"), "model.backbone"),
        (zoo_frames.Tin(backbone="resnet18", shift_div=32), "model.shift_div"),
        (zoo_frames.Tsm(backbone="mobilenet_v2", non_local="gaussian"), "model.backbone"),
        (zoo_frames.Tsm(backbone="efficientnet_b0", temporal_pool=True), "model.backbone"),
        (zoo_frames.TsmTpn(backbone="mobilenet_v2"), "model.backbone"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_build_unsupported_image_model_raises(option: Family, key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        meta_model(option, 3)
    assert caught.value.key == key


# --- relations -------------------------------------------------------------------------------------------------------


def expected_relations(module: Relations, features: Tensor, drawn: list[list[tuple[int, ...]]]) -> Tensor:
    parts = [
        scale(features[:, list(frames)].flatten(1))
        for scale, relations in zip(module.scales, drawn, strict=True)
        for frames in relations
    ]
    return torch.stack(parts).sum(0)


def test_relations_in_evaluation_are_those_of_seed_0() -> None:
    """Three of the four relations of three frames, then three of the six of two, as numpy draws them."""
    module, features = Relations(4, 6, 5, multi_scale=True).eval(), torch.randn(2, 4, 6)
    rng = np.random.RandomState(0)
    drawn = [[(0, 1, 2, 3)]]
    for relations in (list(combinations(range(4), 3)), list(combinations(range(4), 2))):
        drawn.append([relations[i] for i in rng.permutation(len(relations))[:3]])
    torch.testing.assert_close(module(features), expected_relations(module, features, drawn))
    assert torch.equal(module(features), module(features))


def test_relations_in_training_depend_on_the_seed_alone() -> None:
    module, features = Relations(6, 4, 3, multi_scale=True), torch.randn(2, 6, 4)

    def outputs(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return torch.stack([module(features) for _ in range(3)])

    first = outputs(1)
    assert torch.equal(first, outputs(1))
    assert not torch.allclose(first, outputs(2))
    assert not torch.allclose(first[0], first[1])


def test_relations_of_single_scale_are_one_relation() -> None:
    module, features = Relations(3, 4, 2, multi_scale=False), torch.randn(2, 3, 4)
    torch.testing.assert_close(module(features), module.scales[0](features.flatten(1)))
    assert len(module.scales) == 1
