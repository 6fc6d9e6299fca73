"""TSN and TSM: what they do to the frames of a clip, and over which image models."""

from __future__ import annotations

import pytest
import torch
from support.tables import default_lane_has
from torch import Tensor, nn

from vexp.core.errors import ConfigError, UserError
from vexp.model import zoo_frames
from vexp.model.architectures.frame_layers import TemporalShift, temporal_shift
from vexp.model.architectures.tsn_tsm import FrameModel, frame_model
from vexp.model.meta import SkipRandomInit
from vexp.optim.layer_decay import layer_indices


def tiny_tsn(backbone: str = "resnet18", shift_div: int | None = None) -> FrameModel:
    torch.manual_seed(0)
    return frame_model(5, backbone=backbone, dropout=0.5, init_std=0.01, shift_div=shift_div).eval()


def shifted_by_indexing(x: Tensor, frames: int, shift_div: int) -> Tensor:
    """The definition, element by element."""
    out = torch.zeros_like(x)
    channels = x.shape[1]
    fold = channels // shift_div
    for row in range(x.shape[0]):
        time = row % frames
        for channel in range(channels):
            source = 1 if channel < fold else -1 if channel < 2 * fold else 0
            if 0 <= time + source < frames:
                out[row, channel] = x[row + source, channel]
    return out


@pytest.mark.parametrize(
    ("clips", "frames", "channels", "shift_div"),
    [
        (2, 8, 16, 8),  # the usual shares
        (3, 4, 10, 4),  # 10 channels are not a multiple of 4
        (1, 1, 8, 8),  # one frame has no neighbours: zeros come in
        (2, 3, 4, 8),  # fewer channels than shares: nothing moves
        (2, 2, 6, 2),  # all channels move
    ],
)
def test_temporal_shift_equals_definition(clips: int, frames: int, channels: int, shift_div: int) -> None:
    x = torch.randn(clips * frames, channels, 3, 2)
    kept = x.clone()
    assert torch.equal(temporal_shift(x, frames, shift_div), shifted_by_indexing(x, frames, shift_div))
    assert torch.equal(x, kept)  # the shortcut reads it, too


class Seen(nn.Module):
    """A backbone that keeps what it is given, and answers with the mean of each image."""

    def forward(self, images: Tensor) -> Tensor:
        self.images = images
        return images.mean(dim=(1, 2, 3))[:, None]


def test_frame_model_stacked_concatenates_channels_of_frames() -> None:
    """x1, y1, x2, y2 ... as mmaction2's FormatShape NCHW_Flow lays optical flow."""
    number = torch.arange(12.0).view(1, 6, 2).transpose(1, 2)  # frame t has x = 2t, y = 2t + 1
    clips = torch.cat([number, number + 100])[..., None, None].expand(2, 2, 6, 4, 5)
    stacked = FrameModel(Seen(), nn.Identity(), stacked=3)
    logits = stacked(clips)
    assert stacked.backbone.images[..., 3, 4].tolist() == [
        [0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11], [100, 101, 102, 103, 104, 105], [106, 107, 108, 109, 110, 111],
    ]  # fmt: skip
    assert logits.tolist() == [[5.5], [105.5]]  # the mean of both images


def test_frame_model_indivisible_frames_raise() -> None:
    with pytest.raises(UserError, match=r"model.stacked=5 requires clips of a multiple of 5 frames, got 8"):
        FrameModel(Seen(), nn.Identity(), stacked=5)(torch.zeros(1, 2, 8, 4, 4))


def test_temporal_shift_keeps_memory_format() -> None:
    x = torch.randn(8, 16, 5, 4).contiguous(memory_format=torch.channels_last)
    y = temporal_shift(x, 4, 8)
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(y, shifted_by_indexing(x, 4, 8))


def test_temporal_shift_passes_gradients() -> None:
    x = torch.randn(6, 8, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: temporal_shift(x, 3, 4), x)


def test_tsn_single_frame_equals_image_model() -> None:
    from torchvision.models import resnet18

    video = tiny_tsn()
    image = resnet18(num_classes=5).eval()
    image.load_state_dict(
        {**video.backbone.state_dict(), **{f"fc.{k}": v for k, v in video.head.fc.state_dict().items()}}
    )
    frames = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(video(frames.unsqueeze(2)), image(frames))


def test_tsn_averages_logits_in_any_order() -> None:
    video, clips = tiny_tsn(), torch.randn(2, 3, 4, 32, 32)
    frame_by_frame = torch.stack([video(clips[:, :, t : t + 1]) for t in range(4)])
    torch.testing.assert_close(video(clips), frame_by_frame.mean(0))
    torch.testing.assert_close(video(clips), video(clips.flip(2)))


def test_tsm_depends_on_frame_order_within_clip_only() -> None:
    video, clips = tiny_tsn(shift_div=8), torch.randn(2, 3, 4, 32, 32)
    both = video(clips)
    assert not torch.allclose(both, video(clips.flip(2)), atol=1e-4)
    torch.testing.assert_close(both[1:], video(clips[1:]))
    assert video(torch.randn(1, 3, 6, 32, 32)).shape == (1, 5)  # another number of frames, the same model


def test_tsm_without_shift_equals_tsn() -> None:
    plain, shifted = tiny_tsn(), tiny_tsn(shift_div=8)
    shapes = [{k: v.shape for k, v in video.state_dict().items()} for video in (plain, shifted)]
    assert shapes[0] == shapes[1]
    shifted.load_state_dict(plain.state_dict())
    for part in shifted.modules():
        if isinstance(part, TemporalShift):
            part.shift_div = 10_000  # more shares than channels: nothing moves
    clips = torch.randn(1, 3, 2, 32, 32)
    torch.testing.assert_close(shifted(clips), plain(clips))


@pytest.mark.parametrize(
    ("backbone", "shifts"),
    [
        ("resnet18", 8),  # a basic block each
        ("resnet50", 16),  # a bottleneck each
        ("resnet101", 18),  # every second block of 3 + 4 + 23 + 3, stage by stage: 2 + 2 + 12 + 2
        ("mobilenet_v2", 10),  # of 17 blocks those with a shortcut
        ("mobilenet_v3_small", 6),
        ("efficientnet_b0", 9),
        ("mnasnet0_5", 10),
    ],
)
def test_tsm_shifts_every_residual_branch(backbone: str, shifts: int) -> None:
    with torch.device("meta"):
        video = tiny_tsn(backbone, shift_div=8)
        assert video(torch.empty(2, 3, 3, 64, 64)).shape == (2, 5)
    assert sum(isinstance(part, TemporalShift) for part in video.modules()) == shifts


def test_tsm_regnet_is_shifted() -> None:
    """Apart: torchvision computes with tensors when it makes one, which the meta device cannot."""
    video = tiny_tsn("regnet_y_400mf", shift_div=8)
    assert sum(isinstance(part, TemporalShift) for part in video.modules()) == 16


def test_tsm_backbone_without_known_branches_raises() -> None:
    with torch.device("meta"), pytest.raises(UserError, match=r"model.backbone=vgg11: TSM supports .*model=tsn"):
        tiny_tsn("vgg11", shift_div=8)


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        ("resnet51", "is not an image model of torchvision; did you mean resnet50"),
        ("r3d_18", "is not an image model of torchvision"),  # a video model
        ("squeezenet1_1", "has no linear classifier"),
    ],
)
def test_frame_model_unsupported_backbone_raises(backbone: str, message: str) -> None:
    with torch.device("meta"), pytest.raises(UserError, match=f"model.backbone={backbone}: {message}"):
        tiny_tsn(backbone)


@pytest.mark.parametrize(
    ("backbone", "features", "side"),
    default_lane_has(
        4,
        [
            ("alexnet", 4096, 64),
            ("inception_v3", 2048, 96),
            ("mobilenet_v3_small", 1024, 64),
            ("vit_b_32", 768, 224),
            ("convnext_tiny", 768, 64),
            ("densenet121", 1024, 64),
            ("efficientnet_b0", 1280, 64),
            ("googlenet", 1024, 64),
            ("maxvit_t", 512, 224),
            ("mnasnet0_5", 1280, 64),
            ("resnext50_32x4d", 2048, 64),
            ("shufflenet_v2_x0_5", 1024, 64),
            ("swin_t", 768, 64),
            ("vgg11", 4096, 64),
        ],
    ),
)
def test_tsn_supports_every_image_family(backbone: str, features: int, side: int) -> None:
    with torch.device("meta"):
        video = tiny_tsn(backbone).train()  # in training, when some of them would answer with side exits
        assert video(torch.empty(2, 3, 2, side, side)).shape == (2, 5)
    assert video.head.fc.in_features == features


def test_frame_model_dropout_of_backbone_is_replaced() -> None:
    with torch.device("meta"):
        video = tiny_tsn("mobilenet_v2")
    dropouts = [part.p for part in video.modules() if isinstance(part, nn.Dropout)]
    assert dropouts == [0.5]


#: A model of each large family of timm: features, size of the images (fixed for some), shifted convolutions (0: TSN).
TIMM = {
    "vit_tiny_patch16_224": (192, 224, 0),
    "mobilenetv3_small_100": (1024, 64, 6),
    "resnet26d": (2048, 64, 8),
    "convnext_tiny": (768, 64, 0),
    "deit_tiny_distilled_patch16_224": (192, 224, 0),
    "swin_tiny_patch4_window7_224": (768, 224, 0),
    "eva02_tiny_patch14_224": (192, 224, 0),
    "vgg11": (4096, 64, 0),
    "mobilenetv2_050": (1280, 64, 10),
    "efficientnet_b0": (1280, 64, 9),
    "resnet101": (2048, 64, 18),  # every second block
    "resnext50_32x4d": (2048, 64, 16),
    "regnety_002": (368, 64, 13),
}


@pytest.mark.parametrize("name", default_lane_has(3, list(TIMM)))
def test_timm_backbone_features_and_shifts(name: str) -> None:
    pytest.importorskip("timm")
    features, side, shifts = TIMM[name]
    with torch.device("meta"), SkipRandomInit():
        video = tiny_tsn(f"timm/{name}", shift_div=8 if shifts else None)
        assert video(torch.empty(2, 3, 3, side, side)).shape == (2, 5)
    assert video.head.fc.in_features == features
    assert sum(isinstance(part, TemporalShift) for part in video.modules()) == shifts


@pytest.mark.slow
def test_timm_backbone_every_family_has_features() -> None:
    """The model of each module of timm with the shortest name."""
    timm = pytest.importorskip("timm")
    names = [min(timm.list_models(module=module), key=len) for module in timm.list_modules()]
    assert len(names) > 70
    for name in names:
        with torch.device("meta"), SkipRandomInit():
            video = tiny_tsn(f"timm/{name}")
            side = video.backbone.pretrained_cfg["input_size"][-1]
            assert video.backbone(torch.empty(2, 3, side, side)).shape == (2, video.head.fc.in_features), name


@pytest.mark.parametrize("name", ["convnext_tiny", "vit_tiny_patch16_224", "vgg11", "mixnet_s"])
def test_tsm_timm_backbone_without_place_for_shifts_raises(name: str) -> None:
    """The blocks of ConvNeXt begin with a depthwise convolution, those of MixNet with one of several kernels."""
    pytest.importorskip("timm")
    with torch.device("meta"), SkipRandomInit(), pytest.raises(ConfigError, match=f"timm/{name}: TSM supports") as info:
        tiny_tsn(f"timm/{name}", shift_div=8)
    assert info.value.key == "model.backbone"


def test_tsn_timm_single_frame_equals_timm() -> None:
    timm = pytest.importorskip("timm")
    video, image = tiny_tsn("timm/test_convnext"), timm.create_model("test_convnext", num_classes=5).eval()
    fill = {f"head.fc.{key}": value for key, value in video.head.fc.state_dict().items()}
    image.load_state_dict({**video.backbone.state_dict(), **fill})
    frames = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(video(frames.unsqueeze(2)), image(frames))


def test_tsn_timm_stacked_flow_has_its_channels() -> None:
    pytest.importorskip("timm")
    model = zoo_frames.Tsn(backbone="timm/test_convnext", channels=2, stacked=5).build(3)
    assert model(torch.randn(1, 2, 10, 64, 64)).shape == (1, 3)


def test_frame_model_fixed_size_backbone_names_size() -> None:
    pytest.importorskip("timm")
    with pytest.raises(UserError, match=r"requires frames of 160x160 pixels, got 96x64; set the size of the crop"):
        tiny_tsn("timm/test_vit")(torch.zeros(1, 3, 2, 64, 96))


def test_timm_tag_that_does_not_exist_raises() -> None:
    pytest.importorskip("timm")
    with pytest.raises(ConfigError, match=r"timm/test_vit.nope: timm cannot build it: .*nope"):
        tiny_tsn("timm/test_vit.nope")


def test_timm_transformer_freezes_and_decays_by_layer() -> None:
    pytest.importorskip("timm")
    model = zoo_frames.Tsn(backbone="timm/test_vit", freeze=["backbone.patch_embed", "backbone.blocks.0"]).build(3)
    frozen = {name.split(".")[1] for name, one in model.named_parameters() if not one.requires_grad}
    assert frozen == {"patch_embed", "blocks"}
    indices, last = layer_indices(model)
    depth = len(model.backbone.blocks)
    assert [indices[f"backbone.blocks.{i}.mlp.fc1.weight"] for i in range(depth)] == list(range(1, depth + 1))
    assert (indices["backbone.pos_embed"], indices["head.fc.weight"], last) == (0, depth + 1, depth + 1)
