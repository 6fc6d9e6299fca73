"""ResNets with factorized 3D convolutions: R(2+1)D (space and time) and CSN (channels and space-time)."""

from __future__ import annotations

from functools import partial

from torch import nn

from vexp.model.architectures.blocks import Triple, classifier, conv2plus1d, conv3d, conv_norm_act
from vexp.model.architectures.resnet3d import STAGES, Residual, ResNet3d, bottleneck


def r2plus1d(num_classes: int, *, depth: int, norm_eps: float, zero_init_residual: bool, **head: float) -> nn.Module:
    """Build R(2+1)D (Tran et al., "A Closer Look at Spatiotemporal Convolutions for Action Recognition", CVPR 2018).

    Basic blocks with factorized convolutions (``conv2plus1d``), whose inner norms have the default epsilon, 1e-5. As in
    mmaction2, and unlike in the paper, a max pooling follows the stem, for inputs twice as large.

    ======== ======================
    input    (N, 3, 8, 224, 224)
    conv1    (N, 64, 8, 112, 112)
    pool1    (N, 64, 8, 56, 56)
    layer1   (N, 64, 8, 56, 56)
    layer2   (N, 128, 4, 28, 28)
    layer3   (N, 256, 2, 14, 14)
    layer4   (N, 512, 1, 7, 7)
    ======== ======================
    """
    norm = partial(conv_norm_act, eps=norm_eps)

    def make_block(stage: int, place: int, in_channels: int, stride: Triple) -> Residual:
        out = 64 * 2**stage
        downsample = None
        if stride != (1, 1, 1) or in_channels != out:
            downsample = norm(conv2plus1d(in_channels, out, (1, 1, 1), stride), out, act=False)
        conv1 = norm(conv2plus1d(in_channels, out, (3, 3, 3), stride), out)
        conv2 = norm(conv2plus1d(out, out, (3, 3, 3)), out, act=False)
        return Residual(conv1, conv2, out_channels=out, downsample=downsample)

    stem = norm(conv2plus1d(3, 64, (3, 7, 7), (1, 2, 2)), 64)
    trunk = ResNet3d(
        stem, make_block, STAGES[depth], temporal_strides=(1, 2, 2, 2), zero_init_residual=zero_init_residual
    )
    return classifier(trunk, trunk.channels, num_classes, **head)


def csn(
    num_classes: int, *, depth: int, interaction: str, norm_eps: float, zero_init_residual: bool, **head: float
) -> nn.Module:
    """Build CSN (Tran et al., "Video Classification with Channel-Separated Convolutional Networks", ICCV 2019).

    The 3x3x3 convolution of the bottleneck is depthwise. With ``interaction="preserved"`` (ip-CSN) a 1x1x1 convolution
    with batch norm and without ReLU precedes it; ``"reduced"`` (ir-CSN) has none.

    ======== ========================
    input    (N, 3, 32, 224, 224)
    conv1    (N, 64, 32, 112, 112)
    pool1    (N, 64, 32, 56, 56)
    layer1   (N, 256, 32, 56, 56)
    layer2   (N, 512, 16, 28, 28)
    layer3   (N, 1024, 8, 14, 14)
    layer4   (N, 2048, 4, 7, 7)
    ======== ========================
    """
    norm = partial(conv_norm_act, eps=norm_eps)

    def make_block(stage: int, place: int, in_channels: int, stride: Triple) -> Residual:
        mid = 64 * 2**stage
        depthwise = norm(conv3d(mid, mid, (3, 3, 3), stride, groups=mid), mid)
        conv2 = nn.Sequential(depthwise)
        if interaction == "preserved":
            conv2.insert(0, norm(conv3d(mid, mid, (1, 1, 1)), mid, act=False))
        return bottleneck(in_channels, mid, 4 * mid, stride, conv2, eps=norm_eps)

    stem = norm(conv3d(3, 64, (3, 7, 7), (1, 2, 2)), 64)
    trunk = ResNet3d(
        stem, make_block, STAGES[depth], temporal_strides=(1, 2, 2, 2), zero_init_residual=zero_init_residual
    )
    return classifier(trunk, trunk.channels, num_classes, **head)
