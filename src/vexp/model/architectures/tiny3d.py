"""A small residual (2+1)D network for examples, tests and the built-in ``motion`` dataset.

The blocks are those of Tran et al., "A Closer Look at Spatiotemporal Convolutions for Action Recognition", CVPR 2018
(R(2+1)D): a spatial 1x3x3 and a temporal 3x1x1 convolution, each followed by normalization and ReLU. Unlike there, the
channels between the two equal those of the block, and the stem is a full 3D convolution, whose filters respond to the
direction of motion in the first layer. This makes the model converge faster.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vexp.model.architectures.tokens import feature_map_tokens

GROUP_CHANNELS = 8  # channels per group of group norm


class Tiny3dBackbone(nn.Module):
    """Map float (N, 3, T, H, W) with T >= 1 and H, W >= 32 to features.

    Shapes, with w = ``width``; sizes that do not divide are rounded up:

    ======== ===========================
    input    (N, 3, T, H, W)
    stem     (N, w, T, H/2, W/2)
    stage 1  (N, w, T, H/4, W/4)
    stage 2  (N, 2w, T/2, H/8, W/8)
    stage 3  (N, 4w, T/4, H/16, W/16)
    ======== ===========================

    Args:
        width: Channels of the first stage, a multiple of 8. A width of 24 gives 0.25 million parameters.
        norm: ``batch``, or ``group`` (groups of 8 channels), whose output does not depend on the other clips of the
            batch and therefore suits gradient accumulation and batches of one or two clips.
        last_stride: Spatial stride of stage 3.
    """

    def __init__(self, *, width: int, norm: str, last_stride: int = 2) -> None:
        super().__init__()
        self.channels = 4 * width
        self.stem = nn.Sequential(
            nn.Conv3d(3, width, (3, 5, 5), (1, 2, 2), (1, 2, 2), bias=False), _norm(norm, width), nn.ReLU(inplace=True)
        )
        self.stage1 = _Residual(width, width, norm=norm, stride=(1, 2))
        self.stage2 = _Residual(width, 2 * width, norm=norm, stride=(2, 2))
        self.stage3 = _Residual(2 * width, 4 * width, norm=norm, stride=(2, last_stride))

    def init_convolutions(self) -> None:
        """Initialize the convolutions, as in torchvision's ResNets (He et al. 2015)."""
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def pathways(self, clips: Tensor) -> list[Tensor]:
        """Return the features of the only pathway, (N, 4w, T/4, H', W')."""
        # On a CPU, where batches are contiguous, this is 1.4 to 1.6 times faster; elsewhere it is a no-op.
        x = self.stem(clips.contiguous(memory_format=torch.channels_last_3d))
        return [self.stage3(self.stage2(self.stage1(x)))]


class Tiny3d(Tiny3dBackbone):
    """Map float (N, 3, T, H, W) to logits (N, num_classes), from the mean of the features, (N, 4w).

    Args:
        num_classes: Number of outputs.
        width: See ``Tiny3dBackbone``.
        norm: See ``Tiny3dBackbone``.
        dropout: Dropout probability of the pooled features.
    """

    def __init__(self, num_classes: int, *, width: int, norm: str, dropout: float) -> None:
        super().__init__(width=width, norm=norm)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(4 * width, num_classes)
        self.init_convolutions()

    def forward(self, clips: Tensor) -> Tensor:
        logits: Tensor = self.head(self.dropout(self.pathways(clips)[0].mean(dim=(2, 3, 4))))
        return logits

    def tokens(self, clips: Tensor) -> Tensor:
        """Return the features of all positions, (N, L, 4w), for a probe."""
        return feature_map_tokens(self.pathways(clips)[0])


class _Residual(nn.Module):
    """Two (2+1)D convolutions with a shortcut; ``stride`` is (temporal, spatial)."""

    def __init__(self, in_channels: int, out_channels: int, *, norm: str, stride: tuple[int, int]) -> None:
        super().__init__()
        self.first = _conv2plus1d(in_channels, out_channels, norm=norm, stride=stride)
        self.second = _conv2plus1d(out_channels, out_channels, norm=norm, stride=(1, 1))
        time, space = stride
        conv = nn.Conv3d(in_channels, out_channels, 1, (time, space, space), bias=False)
        self.shortcut = nn.Sequential(conv, _norm(norm, out_channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.second(F.relu(self.first(x))) + self.shortcut(x))


def _norm(norm: str, channels: int) -> nn.Module:
    if norm == "batch":
        return nn.BatchNorm3d(channels)
    if norm == "group" and channels % GROUP_CHANNELS == 0:
        return nn.GroupNorm(channels // GROUP_CHANNELS, channels)
    raise ValueError(f"norm={norm}: must be batch, or group with a multiple of {GROUP_CHANNELS} channels")


def _conv2plus1d(in_channels: int, out_channels: int, *, norm: str, stride: tuple[int, int]) -> nn.Sequential:
    """Build a spatial and a temporal convolution without the last ReLU; ``stride`` is (temporal, spatial)."""
    time, space = stride
    return nn.Sequential(
        nn.Conv3d(in_channels, out_channels, (1, 3, 3), (1, space, space), (0, 1, 1), bias=False),
        _norm(norm, out_channels),
        nn.ReLU(inplace=True),
        nn.Conv3d(out_channels, out_channels, (3, 1, 1), (time, 1, 1), (1, 0, 0), bias=False),
        _norm(norm, out_channels),
    )
