"""Models for heat maps of joints (Duan et al., "Revisiting Skeleton-based Action Recognition", CVPR 2022, PoseC3D).

Heat maps have fewer pixels and clearer content than frames, so the models have fewer channels and less downsampling.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from vexp.model.architectures.blocks import Triple, classifier, conv3d, conv_norm_act, init_convolutions
from vexp.model.architectures.resnet3d import Residual, ResNet3d, bottleneck


def pose_slow_only(
    num_classes: int, *, in_channels: int, width: int, blocks: Sequence[int], temporal_strides: Sequence[int],
    zero_init_residual: bool, **head: float,
) -> nn.Module:  # fmt: skip
    """Build the SlowOnly of PoseC3D: three stages, stem and pooling without stride (table 2 of the paper).

    The first convolutions of the blocks in the last two stages are 3x1x1.

    ======== =======================
    input    (N, 17, 48, 56, 56)
    conv1    (N, 32, 48, 56, 56)
    pool1    (N, 32, 48, 56, 56)
    layer1   (N, 128, 48, 28, 28)
    layer2   (N, 256, 48, 14, 14)
    layer3   (N, 512, 24, 7, 7)
    ======== =======================
    """

    def make_block(stage: int, place: int, channels: int, stride: Triple) -> Residual:
        mid = width * 2**stage
        conv2 = conv_norm_act(conv3d(mid, mid, (1, 3, 3), stride), mid)
        return bottleneck(channels, mid, 4 * mid, stride, conv2, conv1_length=1 if stage == 0 else 3)

    trunk = ResNet3d(
        conv_norm_act(conv3d(in_channels, width, (1, 7, 7)), width), make_block, blocks, stem_channels=width,
        temporal_strides=temporal_strides, spatial_strides=[2] * len(blocks), pool_stride=(1, 1, 1),
        fused=[0] * len(blocks), zero_init_residual=zero_init_residual,
    )  # fmt: skip
    return classifier(trunk, trunk.channels, num_classes, **head)


class C3dLightBackbone(nn.Module):
    """Backbone of ``c3d_light``: float (N, in_channels, T, H, W) to (N, 8 width, T, H/8, W/8)."""

    def __init__(self, in_channels: int, width: int) -> None:
        super().__init__()
        self.stages = [["1a"], ["2a"], ["3a", "3b"], ["4a", "4b"]]  # a max pooling between two
        channels = in_channels
        for stage, names in enumerate(self.stages):
            for name in names:
                conv = conv_norm_act(conv3d(channels, width * 2**stage, (3, 3, 3)), width * 2**stage)
                self.add_module(f"conv{name}", conv)
                channels = width * 2**stage
        self.pool = nn.MaxPool3d((1, 2, 2))
        init_convolutions(self)

    def forward(self, clips: Tensor) -> Tensor:
        x = clips
        for stage, names in enumerate(self.stages):
            x = x if stage == 0 else self.pool(x)
            for name in names:
                x = getattr(self, f"conv{name}")(x)
        return x


def c3d_light(num_classes: int, *, in_channels: int, width: int, **head: float) -> nn.Module:
    """Build the C3D of PoseC3D: four stages without temporal downsampling, with batch norm (released as C3D-light).

    ======== =======================
    input    (N, 17, 48, 56, 56)
    conv1a   (N, 32, 48, 56, 56)
    conv2a   (N, 64, 48, 28, 28)
    conv3b   (N, 128, 48, 14, 14)
    conv4b   (N, 256, 48, 7, 7)
    ======== =======================
    """
    return classifier(C3dLightBackbone(in_channels, width), 8 * width, num_classes, **head)
