"""MViTv2: a vision transformer whose attention pools queries, keys and values, built from torchvision's blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torchvision.models.video.mvit import MSBlockConfig, MViT

from vexp.model.architectures.blocks import classifier
from vexp.model.architectures.tokens import mvit_tokens

KEY_STRIDE = 8  # spatial stride of keys and values in the first block; halved where the queries are pooled


class MViTv2Backbone(MViT):  # type: ignore[misc]  # torchvision has no types
    """Backbone of ``mvitv2``: float (N, 3, T, H, W) to the class token (N, C).

    torchvision's model accepts clips of the size it is built for only. Here the tables of relative positions are
    resized linearly to the clip, as in mmaction2.
    """

    def __init__(
        self, blocks: Sequence[MSBlockConfig], *, num_frames: int, img_size: int, expand_in_attention: bool, **rest: Any
    ) -> None:
        super().__init__(
            spatial_size=(img_size, img_size), temporal_size=num_frames, block_setting=blocks, residual_pool=True,
            residual_with_cls_embed=False, rel_pos_embed=True, proj_after_attn=expand_in_attention, **rest,
        )  # fmt: skip
        del self.head

    def forward(self, clips: Tensor) -> Tensor:
        return mvit_tokens(self, clips)[:, 0]


def block_settings(
    *, width: int, depth: int, heads: int, downsample: Sequence[int], expand_in_attention: bool
) -> list[MSBlockConfig]:
    """Return the settings of every block.

    A block of ``downsample`` halves height and width and has twice as many heads as the one before it. The channels are
    doubled by its attention, or by the MLP of the block before it.
    """
    settings, key_stride = [], KEY_STRIDE
    for i in range(depth):
        stride = 2 if i in downsample else 1
        heads, key_stride = heads * stride, max(1, key_stride // stride)
        out_width = width * 2 if (i if expand_in_attention else i + 1) in downsample else width
        settings.append(
            MSBlockConfig(
                num_heads=heads, input_channels=width, output_channels=out_width, kernel_q=[3, 3, 3],
                kernel_kv=[3, 3, 3], stride_q=[1, stride, stride], stride_kv=[1, key_stride, key_stride],
            )
        )  # fmt: skip
        width = out_width
    return settings


def mvitv2(
    num_classes: int,
    *,
    width: int,
    depth: int,
    heads: int,
    downsample: Sequence[int],
    expand_in_attention: bool,
    num_frames: int,
    img_size: int,
    drop_path: float,
    dropout: float,
    init_std: float,
) -> nn.Module:
    """Build MViTv2.

    Li et al., "MViTv2: Improved Multiscale Vision Transformers for Classification and Detection", CVPR 2022.

    ============ ==================================================================
    input        (N, 3, 16, 224, 224)
    tokens       (N, 8, 56, 56, 96) and a class token
    blocks 1-2   (N, 8, 28, 28, 192)
    blocks 3-13  (N, 8, 14, 14, 384)
    blocks 14-15 (N, 8, 7, 7, 768)
    norm         (N, 768), the class token
    ============ ==================================================================
    """
    blocks = block_settings(
        width=width, depth=depth, heads=heads, downsample=downsample, expand_in_attention=expand_in_attention
    )
    backbone = MViTv2Backbone(
        blocks, num_frames=num_frames, img_size=img_size, expand_in_attention=expand_in_attention,
        stochastic_depth_prob=drop_path,
    )  # fmt: skip
    return classifier(backbone, blocks[-1].output_channels, num_classes, dropout=dropout, init_std=init_std)
