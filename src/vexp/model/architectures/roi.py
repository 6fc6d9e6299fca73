"""Models of spatio-temporal detection: a 3D backbone, and a classifier of the boxes in the key frame.

Feichtenhofer et al., "SlowFast Networks for Video Recognition", ICCV 2019, section 5, as in mmaction2: the last stage
keeps the spatial size, features are pooled over time, RoIAlign (He et al., ICCV 2017) cuts the boxes out of them, and
the maximum over each box is classified. Boxes are not changed: persons are detected before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vexp.model.architectures.blocks import sequential
from vexp.model.architectures.resnet3d import ResNet3d
from vexp.model.architectures.slowfast_i3d import SlowFastBackbone, slow_only_trunk
from vexp.model.architectures.tiny3d import Tiny3dBackbone
from vexp.model.architectures.tokens import feature_map_tokens

#: Spatial strides of the four stages, so that the features have 1/16 of the size of the frames.
STRIDES = (1, 2, 2, 1)


class RoiModel(nn.Module):
    """Map clips, float (N, 3, T, H, W), and boxes in their frames, float (M, 5), to logits (M, num_classes).

    A row of the boxes is the index of the clip, and x1, y1, x2, y2 in pixels. Without boxes, each clip has one box,
    the whole frame.

    Args:
        backbone: Module whose ``pathways`` returns features (N, C, T, H, W) of clips, which may differ in C and T, and
            whose ``channels`` is the sum of C.
        stride: Ratio of the size of frames to that of features.
        num_classes: Number of outputs.
        roi_size: Side of the grid of features of a box.
        temporal_pool: ``mean`` or ``max`` of the features over time.
        dropout: Dropout probability of the features of the boxes, before the maximum (as in mmaction2).
        init_std: Standard deviation of the classifier's initial weights.
    """

    def __init__(
        self, backbone: ResNet3d | SlowFastBackbone | Tiny3dBackbone, stride: int, num_classes: int, *, roi_size: int,
        temporal_pool: str, dropout: float, init_std: float,
    ) -> None:  # fmt: skip
        super().__init__()
        self.backbone, self.stride = backbone, stride
        self.roi_size, self.temporal_pool = roi_size, temporal_pool
        fc = nn.Linear(backbone.channels, num_classes)
        nn.init.normal_(fc.weight, std=init_std)
        nn.init.zeros_(fc.bias)
        self.head = sequential(dropout=nn.Dropout(dropout), pool=nn.AdaptiveMaxPool2d(1), flatten=nn.Flatten(), fc=fc)

    def forward(self, clips: Tensor, boxes: Tensor | None = None) -> Tensor:
        if boxes is None:
            boxes = whole_frames(clips)
        features = pool_over_time(self.backbone.pathways(clips), self.temporal_pool)
        logits: Tensor = self.head(align(features, boxes, self.roi_size, 1 / self.stride))
        return logits

    def tokens(self, clips: Tensor) -> Tensor:
        """Return the features of all positions, (N, L, C), for a probe."""
        return feature_map_tokens(pool_over_time(self.backbone.pathways(clips), self.temporal_pool))


def whole_frames(clips: Tensor) -> Tensor:
    """Return one box for each clip (N, C, T, H, W), its whole frame: (N, 5)."""
    count, size = len(clips), (0, 0, clips.shape[4], clips.shape[3])
    index = torch.arange(count, dtype=torch.float32, device=clips.device)[:, None]
    return torch.cat([index, torch.tensor(size, dtype=torch.float32, device=clips.device).expand(count, 4)], dim=1)


def pool_over_time(pathways: Sequence[Tensor], mode: str) -> Tensor:
    """Pool the features of each pathway over time and concatenate them: (N, C, H, W).

    A shorter pathway counts as if its frames were repeated to the length of the longest one (nearest neighbor), which
    changes a mean only if the lengths do not divide.
    """
    length = max(features.shape[2] for features in pathways)
    pooled = []
    for features in pathways:
        if mode == "max":
            pooled.append(features.amax(2))
            continue
        if length % features.shape[2]:
            features = F.interpolate(features, (length, *features.shape[3:]))
        pooled.append(features.mean(2))
    return torch.cat(pooled, dim=1)


def align(features: Tensor, boxes: Tensor, size: int, scale: float) -> Tensor:
    """Cut boxes (M, 5) in pixels out of features (N, C, H, W): (M, C, size, size).

    ``scale`` is the ratio of the size of the features to that of the frames. As in mmaction2, half a pixel is
    subtracted (``aligned``), and the number of samples of a bin follows from the size of the box.
    """
    from torchvision.ops import roi_align

    maps, rows = features.float(), boxes.float()  # half precision would move boxes by a pixel
    regions: Tensor = roi_align(maps, rows, size, spatial_scale=scale, sampling_ratio=0, aligned=True)
    return regions


def slow_only(
    num_classes: int, *, roi_size: int, temporal_pool: str, dropout: float, init_std: float, **trunk: Any
) -> RoiModel:
    """Build SlowOnly for detection: features (N, 2048, H/16, W/16), or twice as high and wide without pool1."""
    return RoiModel(
        slow_only_trunk(spatial_strides=STRIDES, **trunk), 16 if trunk["with_pool1"] else 8, num_classes,
        roi_size=roi_size, temporal_pool=temporal_pool, dropout=dropout, init_std=init_std,
    )  # fmt: skip


def slow_fast(
    num_classes: int, *, roi_size: int, temporal_pool: str, dropout: float, init_std: float, **pathways: Any
) -> RoiModel:
    """Build SlowFast for detection: features (N, 2048 + 256, H/16, W/16), the slow pathway first."""
    return RoiModel(
        SlowFastBackbone(spatial_strides=STRIDES, **pathways), 16, num_classes,
        roi_size=roi_size, temporal_pool=temporal_pool, dropout=dropout, init_std=init_std,
    )  # fmt: skip


def tiny3d(num_classes: int, *, norm: str, width: int, **head: Any) -> RoiModel:
    """Build the small model for detection: features (N, 4 width, H/8, W/8)."""
    backbone = Tiny3dBackbone(norm=norm, width=width, last_stride=1)
    backbone.init_convolutions()
    return RoiModel(backbone, 8, num_classes, **head)
