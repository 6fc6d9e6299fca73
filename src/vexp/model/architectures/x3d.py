"""X3D: an efficient video model obtained by expanding a small 2D architecture along one axis at a time."""

from __future__ import annotations

import math

from torch import Tensor, nn

from vexp.model.architectures import blocks
from vexp.model.architectures.blocks import Triple, conv3d, conv_norm_act, sequential
from vexp.model.architectures.resnet3d import Residual, ResNet3d, bottleneck

STEM_CHANNELS = 24
STAGE_CHANNELS = (24, 48, 96, 192)
BLOCKS = (1, 2, 5, 3)  # of each stage of X2D, before applying gamma_d
HIDDEN = 2048  # channels before the classifier


def x3d(
    num_classes: int, *, width_factor: float, depth_factor: float, bottleneck_factor: float, zero_init_residual: bool,
    **head: float,
) -> nn.Module:  # fmt: skip
    """X3D (Feichtenhofer, "X3D: Expanding Architectures for Efficient Video Recognition", CVPR 2020, table 1).

    Inverted bottlenecks with a depthwise 3x3x3 convolution, squeeze-and-excitation in every second block, and Swish.
    There is no temporal downsampling. X3D-M (width 1, depth 2.2, bottleneck 2.25: 3, 5, 11 and 7 blocks):

    ======== ========================
    input    (N, 3, 16, 224, 224)
    conv1    (N, 24, 16, 112, 112)
    layer1   (N, 24, 16, 56, 56)
    layer2   (N, 48, 16, 28, 28)
    layer3   (N, 96, 16, 14, 14)
    layer4   (N, 192, 16, 7, 7)
    ======== ========================

    The factors on all channels, on the blocks of each stage and on the inner channels of a block are gamma_w, gamma_d
    and gamma_b of the paper.
    """
    stem_channels = _round_channels(STEM_CHANNELS * width_factor)
    widths = [_round_channels(channels * width_factor) for channels in STAGE_CHANNELS]
    hidden = [int(channels * bottleneck_factor) for channels in widths]

    def make_block(stage: int, place: int, in_channels: int, stride: Triple) -> Residual:
        mid = hidden[stage]
        conv2 = sequential(conv=conv3d(mid, mid, (3, 3, 3), stride, groups=mid), bn=nn.BatchNorm3d(mid))
        if place % 2 == 0:
            conv2.add_module("se", blocks.SqueezeExcite(mid, _round_channels(mid / 16)))
        conv2.add_module("swish", nn.SiLU(inplace=True))
        return bottleneck(in_channels, mid, widths[stage], stride, conv2)

    stem = sequential(  # a 1x3x3 and a depthwise 5x1x1 convolution
        s=conv3d(3, stem_channels, (1, 3, 3), (1, 2, 2)),
        t=conv_norm_act(conv3d(stem_channels, stem_channels, (5, 1, 1), groups=stem_channels), stem_channels),
    )
    trunk = ResNet3d(
        stem, make_block, [math.ceil(depth_factor * count) for count in BLOCKS], stem_channels=stem_channels,
        spatial_strides=(2, 2, 2, 2), pool_stride=None, zero_init_residual=zero_init_residual,
    )  # fmt: skip
    return sequential(backbone=trunk, head=X3dHead(widths[-1], hidden[-1], num_classes, **head))


class X3dHead(blocks.Head):
    """Convolution, average pooling, a hidden layer and the classifier: (N, C, T, H, W) to (N, num_classes)."""

    def __init__(self, channels: int, mid: int, num_classes: int, *, dropout: float, init_std: float) -> None:
        super().__init__(HIDDEN, num_classes, dropout=dropout, init_std=init_std)
        self.conv5 = conv_norm_act(conv3d(channels, mid, (1, 1, 1)), mid)
        self.fc1 = nn.Linear(mid, HIDDEN, bias=False)
        blocks.init_convolutions(self.conv5)
        nn.init.normal_(self.fc1.weight, std=init_std)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.fc1(blocks.global_average_pool(self.conv5(x))).relu())


def _round_channels(channels: float) -> int:
    """Round to the nearest multiple of 8, at least 8 and at least 90 % of ``channels``."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded
