"""Inflated bottleneck ResNets: C2D, SlowOnly, SlowFast, and I3D, with and without non-local blocks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vexp.core.errors import UserError
from vexp.model.architectures.blocks import (
    classifier,
    conv3d,
    conv_norm_act,
    global_average_pool,
    init_convolutions,
)
from vexp.model.architectures.resnet3d import ResNet3d, inflated_resnet

#: Inflated blocks of the four stages, as patterns (``inflated_resnet``).
NONE = ((0,), (0,), (0,), (0,))
ALL = ((1,), (1,), (1,), (1,))
#: Stages with inflated blocks of the Slow pathway (Feichtenhofer et al. 2019, table 1).
SLOW = ((0,), (0,), (1,), (1,))
#: Inflates every second block from the second stage on, as the released I3D ResNets (Wang et al. 2018, section 4.1).
EVERY_SECOND = ((1,), (1, 0), (1, 0), (0, 1))
#: After every second block of the two middle stages: five in a ResNet-50 (Wang et al. 2018, section 4.2).
FIVE_NON_LOCAL = ((), (0, 1), (0, 1), ())
#: The same number, each one block earlier, as in mmaction2's SlowOnly.
EARLY_NON_LOCAL = ((), (1, 0), (1, 0), ())


def c2d(num_classes: int, *, depth: int, **head: float) -> nn.Module:
    """Build C2D, a 2D ResNet on every frame with a pooling in time (Wang et al., "Non-local Neural Networks", 2018).

    As in the released code, and unlike in the paper, the pooling after the stem has no padding, and only the pooling
    after the first stage halves the number of frames.

    ======== ======================
    input    (N, 3, 8, 224, 224)
    conv1    (N, 64, 8, 112, 112)
    pool1    (N, 64, 8, 55, 55)
    layer1   (N, 256, 8, 55, 55)
    pool2    (N, 256, 4, 55, 55)
    layer2   (N, 512, 4, 28, 28)
    layer3   (N, 1024, 4, 14, 14)
    layer4   (N, 2048, 4, 7, 7)
    ======== ======================
    """
    trunk = inflated_resnet(depth, NONE, stem_length=1, pool_padding=0, pool2=True)
    return classifier(trunk, trunk.channels, num_classes, **head)


def slow_only(
    num_classes: int, *, depth: int, with_pool1: bool, non_local: str | None, non_local_scale: bool,
    zero_init_residual: bool, **head: float,
) -> nn.Module:  # fmt: skip
    """Build the Slow pathway alone (Feichtenhofer et al., "SlowFast Networks for Video Recognition", ICCV 2019).

    There is no temporal downsampling (table 1 of the paper).

    ======== =======================
    input    (N, 3, 8, 224, 224)
    conv1    (N, 64, 8, 112, 112)
    pool1    (N, 64, 8, 56, 56)
    layer1   (N, 256, 8, 56, 56)
    layer2   (N, 512, 8, 28, 28)
    layer3   (N, 1024, 8, 14, 14)
    layer4   (N, 2048, 8, 7, 7)
    ======== =======================
    """
    trunk = slow_only_trunk(
        depth, with_pool1=with_pool1, non_local=non_local, non_local_scale=non_local_scale,
        zero_init_residual=zero_init_residual,
    )  # fmt: skip
    return classifier(trunk, trunk.channels, num_classes, **head)


def slow_only_trunk(depth: int, *, with_pool1: bool, **resnet: Any) -> ResNet3d:
    """Build the backbone of SlowOnly; ``resnet`` are further arguments of ``inflated_resnet``."""
    pool_stride = 1 if with_pool1 else None
    return inflated_resnet(
        depth, SLOW, stem_length=1, pool_stride=pool_stride, non_local_places=EARLY_NON_LOCAL, **resnet
    )


def i3d(
    num_classes: int, *, depth: int, inflate: str, conv1_stride_t: int, pool1_stride_t: int, non_local: str | None,
    non_local_scale: bool, zero_init_residual: bool, **head: float,
) -> nn.Module:  # fmt: skip
    """Build an inflated 3D ResNet (Carreira & Zisserman, CVPR 2017; as a ResNet: "Non-local Neural Networks").

    By default, the stem, the pooling after it and the pooling after the first stage each halve the number of frames.

    ======== =======================
    input    (N, 3, 32, 224, 224)
    conv1    (N, 64, 16, 112, 112)
    pool1    (N, 64, 8, 56, 56)
    layer1   (N, 256, 8, 56, 56)
    pool2    (N, 256, 4, 56, 56)
    layer2   (N, 512, 4, 28, 28)
    layer3   (N, 1024, 4, 14, 14)
    layer4   (N, 2048, 4, 7, 7)
    ======== =======================
    """
    trunk = inflated_resnet(
        depth, {"every_second": EVERY_SECOND, "all": ALL}[inflate], stem_length=5, stem_stride=conv1_stride_t,
        pool_stride=pool1_stride_t, pool2=True, non_local=non_local, non_local_scale=non_local_scale,
        non_local_places=FIVE_NON_LOCAL, zero_init_residual=zero_init_residual,
    )  # fmt: skip
    return classifier(trunk, trunk.channels, num_classes, **head)


class SlowFastBackbone(nn.Module):
    """Two pathways over the same clip, with lateral connections from the fast to the slow one before every stage.

    Args:
        alpha: Ratio of the frames of the fast pathway to those of the slow pathway.
        beta_inverse: Ratio of the channels of the slow pathway to those of the fast pathway.
        slow_stride: Temporal stride of the slow pathway within the clip (tau).
        fusion_kernel: Temporal kernel size of the lateral convolutions, whose stride is ``alpha``.
        lateral_norm: Whether batch norm and ReLU follow the lateral convolutions.
        depth: That of the slow pathway.
        fast_depth: That of the fast pathway.
        resnet: Further arguments of ``inflated_resnet`` for both pathways.
    """

    def __init__(
        self, *, alpha: int, beta_inverse: int, slow_stride: int, fusion_kernel: int, lateral_norm: bool, depth: int,
        fast_depth: int, **resnet: Any,
    ) -> None:  # fmt: skip
        super().__init__()
        self.slow_stride, self.fast_stride = slow_stride, slow_stride // alpha
        width = 64 // beta_inverse
        lateral = [width, 4 * width, 8 * width, 16 * width]  # channels of the fast pathway before each stage
        fused = [2 * channels for channels in lateral]
        self.slow_path = inflated_resnet(depth, SLOW, stem_length=1, fused=fused, **resnet)
        self.fast_path = inflated_resnet(fast_depth, ALL, stem_length=5, base_channels=width, **resnet)
        convs = [conv3d(channels, 2 * channels, (fusion_kernel, 1, 1), (alpha, 1, 1)) for channels in lateral]
        self.laterals = nn.ModuleList(
            conv_norm_act(conv, conv.out_channels) if lateral_norm else conv for conv in convs
        )
        init_convolutions(self.laterals)
        self.channels = self.slow_path.channels + self.fast_path.channels

    def forward(self, clips: Tensor) -> Tensor:
        slow, fast = self.pathways(clips)
        return torch.cat((global_average_pool(fast), global_average_pool(slow)), dim=1)  # in mmaction2's order

    def pathways(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features of the slow and of the fast pathway, (N, C, T, H, W)."""
        frames = clips.shape[2]
        if frames % self.slow_stride:
            raise UserError(
                f"SlowFast requires clips of a multiple of {self.slow_stride} frames (model.slow_stride), got {frames}"
                "; change the clip_len of the sampler or model.slow_stride"
            )
        slow, fast = clips[:, :, :: self.slow_stride], clips[:, :, :: self.fast_stride]
        slow = self.slow_path.pool1(self.slow_path.conv1(slow))
        fast = self.fast_path.pool1(self.fast_path.conv1(fast))
        for stage, lateral in enumerate(self.laterals, start=1):
            slow = self.slow_path.stage(stage, torch.cat((slow, lateral(fast)), dim=1))
            fast = self.fast_path.stage(stage, fast)
        return slow, fast


def slow_fast(num_classes: int, *, dropout: float, init_std: float, **pathways: Any) -> nn.Module:
    """Build SlowFast: a pathway of few frames and many channels, and one of many frames and few channels.

    Feichtenhofer et al., "SlowFast Networks for Video Recognition", ICCV 2019, table 1. A clip of 32 frames with
    alpha 8, beta 1/8 and slow_stride 8 (``4 x 16`` there, at a frame interval of 2 in the data):

    ================= ======================
    input             (N, 3, 32, 224, 224)
    slow_path.conv1   (N, 64, 4, 112, 112)
    slow_path.pool1   (N, 64, 4, 56, 56)
    slow_path.layer1  (N, 256, 4, 56, 56)
    slow_path.layer2  (N, 512, 4, 28, 28)
    slow_path.layer3  (N, 1024, 4, 14, 14)
    slow_path.layer4  (N, 2048, 4, 7, 7)
    fast_path.conv1   (N, 8, 32, 112, 112)
    fast_path.pool1   (N, 8, 32, 56, 56)
    fast_path.layer1  (N, 32, 32, 56, 56)
    fast_path.layer2  (N, 64, 32, 28, 28)
    fast_path.layer3  (N, 128, 32, 14, 14)
    fast_path.layer4  (N, 256, 32, 7, 7)
    laterals.0        (N, 16, 4, 56, 56)
    laterals.3        (N, 256, 4, 14, 14)
    ================= ======================
    """
    backbone = SlowFastBackbone(**pathways)
    return classifier(backbone, backbone.channels, num_classes, dropout=dropout, init_std=init_std)
