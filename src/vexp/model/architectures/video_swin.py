"""Video Swin Transformer: attention within shifted windows of space and time, built from torchvision's model."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn
from torchvision.models.video.swin_transformer import SwinTransformer3d

from vexp.model.architectures.blocks import classifier

PATCH = (2, 4, 4)  # frames, height, width


def video_swin(
    num_classes: int,
    *,
    width: int,
    depths: Sequence[int],
    heads: Sequence[int],
    window: Sequence[int],
    drop_path: float,
    dropout: float,
    init_std: float,
) -> nn.Module:
    """Build the Video Swin Transformer. It accepts clips of any size: what does not fill a window is padded.

    Liu et al., "Video Swin Transformer", CVPR 2022.

    ========= =====================
    input     (N, 3, 32, 224, 224)
    patches   (N, 16, 56, 56, 96)
    stage 1   (N, 16, 56, 56, 96)
    stage 2   (N, 16, 28, 28, 192)
    stage 3   (N, 16, 14, 14, 384)
    stage 4   (N, 16, 7, 7, 768)
    norm      the same, averaged to (N, 768)
    ========= =====================
    """
    backbone = SwinTransformer3d(
        patch_size=list(PATCH), embed_dim=width, depths=list(depths), num_heads=list(heads), window_size=list(window),
        stochastic_depth_prob=drop_path,
    )  # fmt: skip
    backbone.head = nn.Identity()
    return classifier(backbone, backbone.num_features, num_classes, dropout=dropout, init_std=init_std)
