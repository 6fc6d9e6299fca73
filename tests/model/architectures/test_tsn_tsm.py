"""TSN and TSM: what they do to the frames of a clip, and over which image models."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from vexp.core.errors import UserError
from vexp.model.architectures.tsn_tsm import FrameModel, ShiftedConv2d, frame_model, temporal_shift


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
        if isinstance(part, ShiftedConv2d):
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
    assert sum(isinstance(part, ShiftedConv2d) for part in video.modules()) == shifts


def test_tsm_regnet_is_shifted() -> None:
    """Apart: torchvision computes with tensors when it makes one, which the meta device cannot."""
    video = tiny_tsn("regnet_y_400mf", shift_div=8)
    assert sum(isinstance(part, ShiftedConv2d) for part in video.modules()) == 16


def test_tsm_backbone_without_known_branches_raises() -> None:
    with torch.device("meta"), pytest.raises(UserError, match=r"model.backbone=vgg11: TSM supports .*model=tsn_r50"):
        tiny_tsn("vgg11", shift_div=8)


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        ("resnet51", "is not an image model of torchvision"),
        ("r3d_18", "is not an image model of torchvision"),  # a video model
        ("squeezenet1_1", "has no linear classifier"),
    ],
)
def test_frame_model_unsupported_backbone_raises(backbone: str, message: str) -> None:
    with torch.device("meta"), pytest.raises(UserError, match=f"model.backbone={backbone}: {message}"):
        tiny_tsn(backbone)


@pytest.mark.parametrize(
    ("backbone", "features", "side"),
    [
        ("alexnet", 4096, 64),
        ("convnext_tiny", 768, 64),
        ("densenet121", 1024, 64),
        ("efficientnet_b0", 1280, 64),
        ("googlenet", 1024, 64),
        ("inception_v3", 2048, 96),
        ("maxvit_t", 512, 224),
        ("mnasnet0_5", 1280, 64),
        ("mobilenet_v3_small", 1024, 64),
        ("resnext50_32x4d", 2048, 64),
        ("shufflenet_v2_x0_5", 1024, 64),
        ("swin_t", 768, 64),
        ("vgg11", 4096, 64),
        ("vit_b_32", 768, 224),
    ],
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
