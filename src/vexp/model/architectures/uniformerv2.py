"""UniFormerV2: an image transformer of CLIP on every frame, and global blocks that read all frames."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vexp.core.errors import UserError
from vexp.model.architectures.blocks import classifier
from vexp.model.architectures.transformer import Attention, DropPath, attend, drop_path_rates, linear

EPS = 1e-5  # epsilon of the layer norms, as in CLIP
MLP_RATIO = 4


class UniFormerV2Backbone(nn.Module):
    """Backbone of ``uniformerv2``: float (N, 3, T, H, W), any T, to the video token (N, C)."""

    def __init__(
        self,
        *,
        img_size: int,
        patch_size: int,
        width: int,
        depth: int,
        heads: int,
        global_blocks: int,
        temporal_downsample: bool,
        mlp_dropout: float,
        drop_path: float,
        global_drop_path: float,
    ) -> None:
        super().__init__()
        self.img_size = img_size
        length, stride = (3, 2) if temporal_downsample else (1, 1)
        size = (patch_size, patch_size)
        self.patch_embed = nn.Conv3d(3, width, (length, *size), (stride, *size), (length // 2, 0, 0), bias=False)
        self.cls_token = nn.Parameter(torch.empty(width))
        self.pos_embed = nn.Parameter(torch.empty((img_size // patch_size) ** 2 + 1, width))
        for weights in (self.cls_token, self.pos_embed):
            nn.init.normal_(weights, std=width**-0.5)
        self.norm_pre = nn.LayerNorm(width, eps=EPS)
        self.blocks = nn.ModuleList(Block(width, heads, rate) for rate in drop_path_rates(drop_path, depth))
        self.global_blocks = nn.ModuleList(
            GlobalBlock(width, heads, dropout=mlp_dropout, drop_path=rate)
            for rate in drop_path_rates(global_drop_path, global_blocks)
        )
        self.fusion = Fusion(width)

    def forward(self, clips: Tensor) -> Tensor:
        video, x = self._encode(clips)
        features: Tensor = self.fusion(video[:, 0], x[:, :, 0].mean(dim=1))
        return features

    def tokens(self, clips: Tensor) -> Tensor:
        """Return the tokens of all frames, (N, T * (1 + H'W'), C), each fused with the video token, for a probe."""
        video, x = self._encode(clips)
        tokens: Tensor = self.fusion(video, x.flatten(1, 2))
        return tokens

    def _encode(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        """Map clips to the video token (N, 1, C) and the tokens (N, T, 1 + H'W', C) of the frames."""
        n, height, width = clips.shape[0], *clips.shape[3:]
        if (height, width) != (self.img_size, self.img_size):
            raise UserError(
                f"UniFormerV2 requires frames of {self.img_size}x{self.img_size} pixels, got {width}x{height}; set "
                "model.img_size, or the size of the crop"
            )
        patches = self.patch_embed(clips)  # (N, C, T, H', W')
        frames, *grid = patches.shape[2:]
        x = torch.cat((self.cls_token.expand(n, frames, 1, -1), patches.flatten(3).movedim(1, 3)), dim=2)
        x = self.norm_pre(x + self.pos_embed)  # (N, T, 1 + H'W', C)
        video = self.fusion.token.repeat(n, 1, 1)  # (N, 1, C)
        first = len(self.blocks) - len(self.global_blocks)
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i >= first:
                video = self.global_blocks[i - first](video, x, grid)
        return video, x


class Fusion(nn.Module):
    """The initial video token, and the weighted mean of the final one with the tokens of the frames."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.balance = nn.Parameter(torch.zeros(width))
        self.norm = nn.LayerNorm(width, eps=EPS)

    def forward(self, video: Tensor, x: Tensor) -> Tensor:
        """Return the normalized mean of ``video`` and ``x`` (..., C), with a learned weight for each channel."""
        weight = self.balance.sigmoid()
        mean: Tensor = self.norm((1 - weight) * video + weight * x)
        return mean


class Block(nn.Module):
    """A block of CLIP's vision transformer on every frame (Radford et al., ICML 2021): (N, T, L, C) to the same shape.

    ``drop_path`` is the stochastic depth rate per clip.
    """

    def __init__(self, width: int, heads: int, drop_path: float) -> None:
        super().__init__()
        self.attn = Attention(width, heads, eps=EPS)
        self.mlp = QuickGeluMlp(width)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.attn(x.flatten(0, 1)).view(x.shape))
        out: Tensor = x + self.drop_path(self.mlp(x))
        return out


class GlobalBlock(nn.Module):
    """A global block: the video token attends to the tokens of all frames (section 3.3 of the paper).

    Maps the video token (N, 1, C) and the tokens (N, T, 1 + H'W', C) of frames of (H', W') patches to the new video
    token. The output layers are zero-initialized, so that the model starts as the image transformer.
    """

    def __init__(self, width: int, heads: int, *, dropout: float, drop_path: float) -> None:
        super().__init__()
        self.pos_embed = nn.Conv3d(width, width, 3, padding=1, groups=width)
        self.attn = CrossAttention(width, heads)
        self.mlp = QuickGeluMlp(width, dropout)
        self.drop_path = DropPath(drop_path)
        for layer in (self.attn.q, self.attn.kv, self.mlp.fc1):
            nn.init.xavier_uniform_(layer.weight)
        for layer in (self.attn.proj, self.mlp.fc2):
            nn.init.zeros_(layer.weight)
        nn.init.zeros_(self.pos_embed.bias)  # type: ignore[arg-type]

    def forward(self, video: Tensor, x: Tensor, grid: torch.Size) -> Tensor:
        patches = x[:, :, 1:].movedim(3, 1).reshape(x.shape[0], -1, x.shape[1], *grid)  # (N, C, T, H', W')
        positions = self.pos_embed(patches).flatten(3).movedim(1, 3)
        context = torch.cat((x[:, :, :1], x[:, :, 1:] + positions), dim=2).flatten(1, 2)  # (N, T * L, C)
        video = video + self.drop_path(self.attn(video, context))
        out: Tensor = video + self.drop_path(self.mlp(video))
        return out


class CrossAttention(nn.Module):
    """Layer norms and multi-head attention of queries (M, L, C) to a context (M, L', C): (M, L, C)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.norm_context = nn.LayerNorm(width, eps=EPS), nn.LayerNorm(width, eps=EPS)
        self.q, self.kv, self.proj = linear(width, width), linear(width, 2 * width), linear(width, width)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        keys, values = self.kv(self.norm_context(context)).chunk(2, dim=2)
        out: Tensor = self.proj(attend(self.q(self.norm(x)), keys, values, self.heads))
        return out


class QuickGeluMlp(nn.Module):
    """Layer norm and two linear layers with CLIP's approximation of GELU, x * sigmoid(1.702 x), in between.

    (..., C) to the same shape.
    """

    def __init__(self, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=EPS)
        self.fc1, self.fc2 = linear(width, MLP_RATIO * width), linear(MLP_RATIO * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = self.fc1(self.norm(x))
        y: Tensor = self.fc2(self.dropout(x * (1.702 * x).sigmoid()))
        return y


def uniformerv2(num_classes: int, *, width: int, dropout: float, init_std: float, **backbone: Any) -> nn.Module:
    """Build UniFormerV2 for clips of any length, without the local temporal blocks (as released for Kinetics).

    Li et al., "UniFormerV2: Spatiotemporal Learning by Arming Image ViTs with Video UniFormer", ICCV 2023,
    arXiv:2211.09552, section 3.

    =========== ==================================================================
    input       (N, 3, 8, 224, 224)
    patches     (N, 8, 197, 768), a class token and a token for 16 x 16 pixels
    video token (N, 1, 768), updated after each of the last four blocks
    features    (N, 768), video token and mean class token, weighted by channel
    =========== ==================================================================
    """
    return classifier(
        UniFormerV2Backbone(width=width, **backbone), width, num_classes, dropout=dropout, init_std=init_std
    )
