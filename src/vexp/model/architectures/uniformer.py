"""UniFormer: depthwise convolutions in two shallow stages, attention over space and time in two deep ones."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from vexp.core.errors import UserError
from vexp.model.architectures.blocks import classifier, conv3d
from vexp.model.architectures.tokens import feature_map_tokens
from vexp.model.architectures.transformer import Attention, DropPath, Mlp, drop_path_rates

EPS = 1e-5  # epsilon of the layer norms
MLP_RATIO = 4
STRIDE = 32  # pixels of the frame for each position of the last stage


class UniFormerBackbone(nn.Module):
    """Backbone of ``uniformer``: float (N, 3, T, H, W) with H, W >= 32 to (N, C, T/2, H/32, W/32)."""

    def __init__(self, *, depths: Sequence[int], widths: Sequence[int], head_width: int, drop_path: float) -> None:
        super().__init__()
        rates = iter(drop_path_rates(drop_path, sum(depths)))
        for stage, (in_channels, width, depth) in enumerate(zip((3, *widths[:-1]), widths, depths, strict=True), 1):
            blocks = [
                LocalBlock(width, next(rates)) if stage <= 2 else GlobalBlock(width, width // head_width, next(rates))
                for _ in range(depth)
            ]
            self.add_module(
                f"patch_embed{stage}", PatchEmbed(in_channels, width, (3, 4, 4) if stage == 1 else (1, 2, 2))
            )
            self.add_module(f"blocks{stage}", nn.Sequential(*blocks))
        self.norm = nn.BatchNorm3d(widths[-1])

    def forward(self, clips: Tensor) -> Tensor:
        if min(clips.shape[3:]) < STRIDE:
            height, width = clips.shape[3:]
            raise UserError(f"UniFormer requires frames of at least {STRIDE}x{STRIDE} pixels, got {width}x{height}")
        x = clips
        for part in self.children():
            x = part(x)
        return x

    def tokens(self, clips: Tensor) -> Tensor:
        """Return the features of all positions, (N, L, C), for a probe."""
        return feature_map_tokens(self(clips))


class PatchEmbed(nn.Module):
    """A convolution whose kernel is its stride in space, and layer norm; (3, h, w) kernels have a temporal stride of 2.

    (N, C, T, H, W) to (N, C', T or T/2, H/h, W/w).
    """

    def __init__(self, in_channels: int, width: int, kernel: tuple[int, int, int]) -> None:
        super().__init__()
        length = kernel[0]
        stride = (2 if length > 1 else 1, *kernel[1:])
        self.norm = nn.LayerNorm(width)
        self.proj = nn.Conv3d(in_channels, width, kernel, stride, (length // 2, 0, 0))

    def forward(self, x: Tensor) -> Tensor:
        tokens: Tensor = self.norm(self.proj(x).movedim(1, -1))
        return tokens.movedim(-1, 1)


class LocalBlock(nn.Module):
    """A local block: relative position, 5x5x5 depthwise convolution and MLP, each with a shortcut (section 3.2).

    (N, C, T, H, W) to the same shape. ``drop_path`` is the stochastic depth rate.
    """

    def __init__(self, width: int, drop_path: float) -> None:
        super().__init__()
        self.pos_embed = conv3d(width, width, (3, 3, 3), groups=width, bias=True)
        self.norm1 = nn.BatchNorm3d(width)
        self.conv1 = conv3d(width, width, (1, 1, 1), bias=True)
        self.attn = conv3d(width, width, (5, 5, 5), groups=width, bias=True)  # the paper's local token affinity
        self.conv2 = conv3d(width, width, (1, 1, 1), bias=True)
        self.norm2 = nn.BatchNorm3d(width)
        self.mlp = ConvMlp(width, MLP_RATIO * width)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.pos_embed(x)
        x = x + self.drop_path(self.conv2(self.attn(self.conv1(self.norm1(x)))))
        out: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))
        return out


class ConvMlp(nn.Module):
    """Two 1x1x1 convolutions with GELU in between."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = (conv3d(a, b, (1, 1, 1), bias=True) for a, b in ((width, hidden), (hidden, width)))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return y


class GlobalBlock(nn.Module):
    """A global block: relative position, attention over all T * H * W tokens and MLP, each with a shortcut.

    (N, C, T, H, W) to the same shape. ``drop_path`` is the stochastic depth rate.
    """

    def __init__(self, width: int, heads: int, drop_path: float) -> None:
        super().__init__()
        self.pos_embed = conv3d(width, width, (3, 3, 3), groups=width, bias=True)
        self.attn = Attention(width, heads, eps=EPS)
        self.mlp = Mlp(width, MLP_RATIO * width, eps=EPS)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.pos_embed(x)
        tokens = x.flatten(2).transpose(1, 2)  # (N, T * H * W, C)
        tokens = tokens + self.drop_path(self.attn(tokens))
        tokens = tokens + self.drop_path(self.mlp(tokens))
        out: Tensor = tokens.transpose(1, 2).unflatten(2, x.shape[2:])
        return out


def uniformer(
    num_classes: int,
    *,
    depths: Sequence[int],
    widths: Sequence[int],
    head_width: int,
    drop_path: float,
    dropout: float,
    init_std: float,
) -> nn.Module:
    """Build UniFormer for clips of any length and frames of any size from 32x32 pixels.

    Li et al., "UniFormer: Unified Transformer for Efficient Spatiotemporal Representation Learning", ICLR 2022,
    arXiv:2201.04676, section 3 and table 1.

    ============ =====================
    input        (N, 3, 16, 224, 224)
    patch_embed1 (N, 64, 8, 56, 56)
    blocks1      (N, 64, 8, 56, 56)
    patch_embed2 (N, 128, 8, 28, 28)
    blocks2      (N, 128, 8, 28, 28)
    patch_embed3 (N, 320, 8, 14, 14)
    blocks3      (N, 320, 8, 14, 14)
    patch_embed4 (N, 512, 8, 7, 7)
    blocks4      (N, 512, 8, 7, 7)
    norm         (N, 512, 8, 7, 7)
    ============ =====================
    """
    backbone = UniFormerBackbone(depths=depths, widths=widths, head_width=head_width, drop_path=drop_path)
    return classifier(backbone, widths[-1], num_classes, dropout=dropout, init_std=init_std)
