"""VideoMAE's vision transformer: joint space-time attention over tubes of pixels, without a class token."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from vexp.core.errors import UserError
from vexp.model.architectures.blocks import classifier
from vexp.model.architectures.transformer import EPS, Block, drop_path_rates, sinusoid_table


class VideoMaeBackbone(nn.Module):
    """Backbone of ``videomae``: float (N, 3, T, H, W) to the normalized mean of the tokens (N, C)."""

    position: Tensor  # (T/t, H/p, W/p, C) for clips of the published size

    def __init__(
        self,
        *,
        num_frames: int,
        img_size: int,
        patch_size: int,
        tubelet_size: int,
        width: int,
        depth: int,
        heads: int,
        mlp_ratio: float,
        drop_path: float,
    ) -> None:
        super().__init__()
        self.num_frames, self.patch_size = num_frames, patch_size
        tube = (tubelet_size, patch_size, patch_size)
        self.patch_embed = nn.Conv3d(3, width, tube, tube)
        grid = (num_frames // tubelet_size, img_size // patch_size, img_size // patch_size)
        table = sinusoid_table(grid[0] * grid[1] * grid[2], width)
        self.register_buffer("position", table.reshape(*grid, width), persistent=False)
        hidden = round(width * mlp_ratio)
        rates = drop_path_rates(drop_path, depth)
        self.blocks = nn.ModuleList(Block(width, heads, hidden, rate, key_bias=False) for rate in rates)
        self.fc_norm = nn.LayerNorm(width, eps=EPS)

    def forward(self, clips: Tensor) -> Tensor:
        features: Tensor = self.fc_norm(self._encode(clips).mean(dim=1))
        return features

    def tokens(self, clips: Tensor) -> Tensor:
        """Return the normalized tokens (N, L, C), for a probe."""
        tokens: Tensor = self.fc_norm(self._encode(clips))
        return tokens

    def _encode(self, clips: Tensor) -> Tensor:
        """Map clips to tokens (N, L, C), not normalized."""
        frames, height, width = clips.shape[2:]
        if frames != self.num_frames or height % self.patch_size or width % self.patch_size:
            raise UserError(
                f"VideoMAE requires clips of {self.num_frames} frames, with sides that are multiples of "
                f"{self.patch_size} pixels, got {frames} frames of {width}x{height}; use pipeline=clip_16x4_224, or "
                "set model.num_frames and model.img_size"
            )
        x: Tensor = self.patch_embed(clips).flatten(2).transpose(1, 2)  # (N, L, C)
        x = x + self._positions(height // self.patch_size, width // self.patch_size).to(x.dtype)
        for block in self.blocks:
            x = block(x)
        return x

    def _positions(self, height: int, width: int) -> Tensor:
        """Return the positions (L, C) of frames of ``height`` x ``width`` patches, resized within each time step."""
        table = self.position
        if table.shape[1:3] != (height, width):
            table = F.interpolate(table.permute(0, 3, 1, 2), (height, width), mode="bicubic").permute(0, 2, 3, 1)
        return table.flatten(0, 2)


def videomae(num_classes: int, *, width: int, dropout: float, init_std: float, **backbone: Any) -> nn.Module:
    """Build the classifier that VideoMAE and VideoMAE V2 fine-tune.

    Tong et al., "VideoMAE: Masked Autoencoders are Data-Efficient Learners for Self-Supervised Video Pre-Training",
    NeurIPS 2022; Wang et al., "VideoMAE V2: Scaling Video Masked Autoencoders with Dual Masking", CVPR 2023. The
    position encodings are fixed sines and cosines, no parameters.

    ======= =============================================================
    input   (N, 3, 16, 224, 224)
    tokens  (N, 1568, 768), one for 2 frames of 16 x 16 pixels
    blocks  the same shape, twelve times
    fc_norm (N, 768), the mean of the tokens
    ======= =============================================================
    """
    return classifier(VideoMaeBackbone(width=width, **backbone), width, num_classes, dropout=dropout, init_std=init_std)
