"""The 3D models and transformers: the documented shapes, what they refuse, gradients, learning."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.small_models import small_model
from support.tables import default_lane_has
from torch import Tensor, nn

from vexp.core.errors import UserError
from vexp.data.sources.motion import ensure_motion
from vexp.model import build_model, zoo, zoo_frames, zoo_transformers
from vexp.model.architectures import c3d, r2plus1d_csn, slowfast_i3d, x3d
from vexp.model.architectures.blocks import NonLocal
from vexp.model.architectures.resnet3d import ResNet3d
from vexp.model.auxiliary import logits_of, losses
from vexp.model.config import Model
from vexp.model.registry import REGISTRY

DOCUMENTED = {
    "c2d_r50": slowfast_i3d.c2d,
    "slowonly_r50": slowfast_i3d.slow_only,
    "i3d_r50": slowfast_i3d.i3d,
    "slowfast_r50": slowfast_i3d.slow_fast,
    "c3d": c3d.c3d,
    "r2plus1d_r34": r2plus1d_csn.r2plus1d,
    "ircsn_r50": r2plus1d_csn.csn,
    "ipcsn_r152": r2plus1d_csn.csn,
    "x3d_m": x3d.x3d,
}

#: The last block of MViTv2 is read at the class token alone, which has no position and is not pooled.
_LAST = ("rel_pos_h", "rel_pos_w", "rel_pos_t", "pool_q.pool.weight")
OUT_OF_REACH = {"mvit_v2_s": [f"blocks.15.attn.{part}" for part in _LAST]} | {
    name: [f"backbone.blocks.3.attn.{part}" for part in _LAST] for name in REGISTRY if name.startswith("mvitv2")
}
# The classifier of images is not used for videos.
OUT_OF_REACH["omni_r50"] = [f"image_head.{part}" for part in ("norm.weight", "norm.bias", "fc.weight", "fc.bias")]
#: Losses at which a model has learned eight clips, if not 0.5: behind a batch norm they fall slowly.
LEARNED = {"omni_r50": 1.2}
#: A member of each kind that trains in a second.
CHEAP: dict[str, tuple[Model, tuple[int, int, int]]] = {
    "tsn": (zoo_frames.Tsn(backbone="resnet18"), (2, 32, 32)),
    "tsm": (zoo_frames.Tsm(backbone="resnet18"), (2, 32, 32)),
    "tsm with non-local blocks": (zoo_frames.Tsm(backbone="resnet18", non_local="gaussian"), (2, 64, 64)),
    "tin": (zoo_frames.Tin(backbone="resnet18", num_frames=4), (4, 32, 32)),
    "tanet": (zoo_frames.TaNet(backbone="resnet18", num_frames=4), (4, 32, 32)),
    "trn": (zoo_frames.Trn(backbone="resnet18", num_frames=4), (4, 32, 32)),
    "tpn": (zoo_frames.TsmTpn(backbone="resnet18"), (2, 64, 64)),
    "x3d": (zoo.X3d(depth_factor=1.0), (4, 32, 32)),
    **{
        kind: (
            zoo_transformers.TimeSformer(num_frames=3, img_size=32, width=48, depth=2, heads=4, attention_type=kind),
            (3, 32, 32),
        )
        for kind in ("divided_space_time", "joint_space_time", "space_only")
    },
    "videomae": (zoo_transformers.VideoMae(num_frames=4, img_size=32, width=48, depth=2, heads=4), (4, 32, 32)),
    "swin": (zoo_transformers.VideoSwin(width=12, depths=[2, 2], heads=[1, 2], window=[2, 2, 2]), (4, 32, 32)),
}


@pytest.mark.parametrize("name", default_lane_has(4, list(DOCUMENTED)))
def test_build_model_stages_have_documented_shapes(name: str) -> None:
    table = dict(re.findall(r"^ +(\S+) +\(N, ([\d, ]+)\)$", DOCUMENTED[name].__doc__ or "", re.MULTILINE))
    assert len(table) >= 6
    documented = {part: tuple(map(int, sizes.split(","))) for part, sizes in table.items()}
    with torch.device("meta"):
        model = build_model(name, 5).eval()
        clips = torch.empty(2, *documented.pop("input"))
    measured = {}
    for part in documented:
        module = model.get_submodule(f"backbone.{part}")
        module.register_forward_hook(lambda _m, _x, y, part=part: measured.update({part: tuple(y.shape[1:])}))
    assert model(clips).shape == (2, 5)
    assert measured == documented


def unreached(model: nn.Module, clips: Tensor) -> list[str]:
    """Forward, backward: a finite loss; the parameters without a gradient.

    What starts at exactly 0 so that a block starts as its shortcut would block gradients: it is moved first.
    """
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(std=0.05)
    loss = losses(F.cross_entropy, model(clips), torch.arange(len(clips)))["loss"]
    loss.backward()
    assert loss.isfinite()
    return [n for n, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all() or not p.grad.any()]


@pytest.mark.parametrize("name", default_lane_has(5, list(CHEAP)))
def test_backward_small_model_reaches_every_parameter(name: str) -> None:
    torch.manual_seed(0)
    option, size = CHEAP[name]
    assert unreached(option.build(4).train(), torch.randn(2, 3, *size)) == []


def eight_clips(size: tuple[int, int, int], folder: Path) -> tuple[Tensor, Tensor]:
    """One H.264 clip of each class of the embedded set: float (8, 3, T, H, W), int64 (8,)."""
    import av

    motion = ensure_motion(folder, seed=0, train_clips=1, val_clips=1)
    clips, labels = [], []
    for line in (motion / "train.txt").read_text().splitlines():
        path, label = line.split()
        with av.open(str(motion / path)) as container:
            frames = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
        clips.append(torch.from_numpy(frames).permute(3, 0, 1, 2).float() / 127.5 - 1)
        labels.append(int(label))
    return F.interpolate(torch.stack(clips), size), torch.tensor(labels)


@pytest.mark.slow
@pytest.mark.parametrize("name", REGISTRY)
def test_backward_every_model_reaches_every_parameter(name: str) -> None:
    torch.manual_seed(0)
    model, size = small_model(name, 4)
    assert unreached(model.train(), torch.randn(2, 3, *size)) == OUT_OF_REACH.get(name, [])


@pytest.mark.slow
@pytest.mark.parametrize("name", REGISTRY)
def test_training_every_model_overfits_eight_clips(name: str, motion_cache: Path) -> None:
    torch.manual_seed(0)
    model, size = small_model(name, 8)
    clips, labels = eight_clips(size, motion_cache)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4 if name != "c3d" else 1e-4)
    for _ in range(60):
        outputs = model(clips)
        logits, loss = logits_of(outputs), losses(F.cross_entropy, outputs, labels)["loss"]
        if bool((logits.argmax(1) == labels).all()) and loss < LEARNED.get(name, 0.5):
            return
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    pytest.fail(f"after 60 steps the loss is {loss.item():.3f}")


@pytest.mark.parametrize(
    ("option", "size", "message"),
    [
        (zoo.SlowFast(), (30, 32, 32), "a multiple of 8 frames .*, got 30"),
        (zoo.C3d(), (16, 64, 112), "clips of 16 frames of 112x112 pixels, got 16 frames of 112x64"),
        (zoo_transformers.TimeSformer(), (4, 224, 224), "clips of 8 frames of 224x224 pixels, got 4 frames of 224x224"),
        (
            zoo_transformers.VideoMae(),
            (8, 224, 224),
            "clips of 16 frames, .*, got 8 frames of 224x224; use pipeline=clip_16x4_224",
        ),
        (zoo_transformers.VideoMae(), (16, 224, 230), "multiples of 16 pixels, got 16 frames of 230x224"),
    ],
)
def test_forward_clip_of_wrong_size_raises(option: Model, size: tuple[int, int, int], message: str) -> None:
    with torch.device("meta"), pytest.raises(UserError, match=message):
        option.build(3)(torch.empty(1, 3, *size))


@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize("mode", ["embedded_gaussian", "dot_product", "gaussian"])
def test_non_local_sums_over_all_positions(mode: str, scale: bool) -> None:
    torch.manual_seed(0)
    block = NonLocal(4, mode, scale=scale).eval()
    x = torch.randn(1, 4, 2, 2, 4)
    keys, values = (part(x).flatten(2)[0].T for part in (block.phi, block.g))  # (positions, C)
    expected = torch.zeros(1, 2, *x.shape[2:])
    for t in range(2):
        for h in range(2):
            for w in range(4):
                similar = keys @ block.theta(x)[0, :, t, h, w]
                if scale and mode == "embedded_gaussian":  # the other modes have no scale in mmcv
                    similar = similar / 2**0.5
                weights = similar / len(keys) if mode == "dot_product" else similar.softmax(0)
                expected[0, :, t, h, w] = weights @ values
    torch.testing.assert_close(block(x), x + block.out(expected), atol=1e-5, rtol=1e-5)
    block.zero_init_last_bn()
    assert torch.equal(block(x), x)


@pytest.mark.parametrize(
    ("name", "published"),
    [("i3d_nl_r50", ("2.1", "2.3", "3.1", "3.3", "3.5")), ("slowonly_nl_r50", ("2.0", "2.2", "3.0", "3.2", "3.4"))],
)
def test_non_local_blocks_are_where_published(name: str, published: tuple[str, ...]) -> None:
    with torch.device("meta"):
        model = build_model(name, 3)
    places = [name for name, part in model.named_modules() if isinstance(part, NonLocal)]
    assert places == [f"backbone.layer{place}.non_local" for place in published]


def test_slowonly_without_pool1_keeps_height_and_width() -> None:
    with torch.device("meta"):
        trunk = zoo.SlowOnly(with_pool1=False).build(3).get_submodule("backbone")
        assert trunk(torch.empty(1, 3, 4, 112, 112)).shape == (1, 2048, 4, 7, 7)


def test_slowfast_lateral_norm_follows_every_lateral_convolution() -> None:
    with torch.device("meta"):
        model = zoo.SlowFast(lateral_norm=True).build(3)
        assert model(torch.empty(2, 3, 16, 32, 32)).shape == (2, 3)
    laterals = model.get_submodule("backbone.laterals")
    assert [[type(part).__name__ for part in lateral] for lateral in laterals.children()] == [
        ["Conv3d", "BatchNorm3d", "ReLU"]
    ] * 4


def test_timesformer_without_time_equals_mean_over_frames() -> None:
    """The logits of space_only are those of the mean class token of the frames, in any order."""
    torch.manual_seed(0)
    option = zoo_transformers.TimeSformer(
        num_frames=3, img_size=32, width=32, depth=2, heads=2, attention_type="space_only"
    )
    model, clips = option.build(3).eval(), torch.randn(2, 3, 3, 32, 32)
    torch.testing.assert_close(model(clips), model(clips.flip(2)))
    assert model.get_submodule("backbone").tokens(clips).shape == (2, 1 + 4 * 3, 32)


def test_uniformerv2_temporal_downsample_halves_frames() -> None:
    option = zoo_transformers.UniFormerV2(
        img_size=32, width=32, depth=2, heads=2, global_blocks=1, temporal_downsample=True
    )
    model, clips = option.build(3), torch.randn(2, 3, 6, 32, 32)
    assert model(clips).shape == (2, 3)
    assert model.get_submodule("backbone").tokens(clips).shape == (2, 3 * (1 + 4), 32)


def test_zero_init_residual_block_equals_shortcut() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 24, 2, 4, 4).relu()
    trunk = zoo.X3d().build(3).backbone.eval()
    assert isinstance(trunk, ResNet3d)
    block = trunk.layer1[1]
    assert torch.equal(block(x), x)
    assert not torch.equal(zoo.X3d(zero_init_residual=False).build(3).backbone.eval().layer1[1](x), x)


def test_drop_path_skips_clips_in_training_only() -> None:
    torch.manual_seed(0)
    model = zoo_transformers.TimeSformer(num_frames=2, img_size=32, width=32, depth=2, heads=2, drop_path=0.5).build(3)
    clips = torch.randn(4, 3, 2, 32, 32)
    assert not torch.equal(model(clips), model(clips))
    model.eval()
    assert torch.equal(model(clips), model(clips))
