"""TimeSformer: a vision transformer with divided or joint space-time attention, or attention within frames."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vexp.core.errors import UserError
from vexp.model.architectures import transformer
from vexp.model.architectures.blocks import classifier
from vexp.model.architectures.transformer import EPS, Attention, DropPath, Mlp, drop_path_rates

MLP_RATIO = 4


class TimeSformerBackbone(nn.Module):
    """Backbone of ``timesformer``: float (N, 3, T, H, W) to the class token (N, C)."""

    def __init__(
        self, *, num_frames: int, img_size: int, patch_size: int, width: int, depth: int, heads: int,
        attention_type: str, drop_path: float,
    ) -> None:  # fmt: skip
        super().__init__()
        patches = (img_size // patch_size) ** 2
        self.num_frames, self.img_size, self.attention_type = num_frames, img_size, attention_type
        self.patch_embed = nn.Conv2d(3, width, patch_size, patch_size)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, patches + 1, width))
        with_time = attention_type != "space_only"
        self.time_embed = nn.Parameter(torch.zeros(1, num_frames, width)) if with_time else None
        self.blocks = nn.ModuleList(
            Block(width, heads, rate)
            if attention_type == "divided_space_time"
            else transformer.Block(width, heads, MLP_RATIO * width, rate)
            for rate in drop_path_rates(drop_path, depth)
        )
        self.norm = nn.LayerNorm(width, eps=EPS)
        for weights in (self.cls_token, self.pos_embed):
            nn.init.trunc_normal_(weights, std=0.02)

    def forward(self, clips: Tensor) -> Tensor:
        token, _ = self._encode(clips)
        features: Tensor = self.norm(token)[:, 0]
        return features

    def tokens(self, clips: Tensor) -> Tensor:
        """Return the class token and the tokens of all patches, (N, 1 + P * T, C), for a probe."""
        token, x = self._encode(clips)
        tokens: Tensor = self.norm(torch.cat((token, x.flatten(1, 2)), dim=1))
        return tokens

    def _encode(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        """Map clips to the class token (N, 1, C) and the tokens (N, P patches, T frames, C), not normalized."""
        n, _, frames, height, width = clips.shape
        if (frames, height, width) != (self.num_frames, self.img_size, self.img_size):
            raise UserError(
                f"TimeSformer requires clips of {self.num_frames} frames of {self.img_size}x{self.img_size} pixels, "
                f"got {frames} frames of {width}x{height}; set model.num_frames and model.img_size, or the clip_len of "
                "the sampler and the size of the crop"
            )
        x = self.patch_embed(clips.transpose(1, 2).flatten(0, 1)).flatten(2).transpose(1, 2)  # (N*T, P, C)
        x = (x + self.pos_embed[:, 1:]).unflatten(0, (n, frames)).transpose(1, 2)  # (N, P, T, C)
        x = x if self.time_embed is None else x + self.time_embed
        token = (self.cls_token + self.pos_embed[:, :1]).expand(n, -1, -1)  # (N, 1, C)
        if self.attention_type == "space_only":
            return self._encode_frames(token, x)
        if self.attention_type == "joint_space_time":
            tokens = torch.cat((token, x.flatten(1, 2)), dim=1)  # (N, 1 + P * T, C)
            for block in self.blocks:
                tokens = block(tokens)
            return tokens[:, :1], tokens[:, 1:].view(x.shape)
        for block in self.blocks:
            token, x = block(token, x)
        return token, x

    def _encode_frames(self, token: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Encode every frame by itself; the class token is the mean of those of the frames."""
        n, _, frames, _ = x.shape
        copies = token.unsqueeze(1).expand(-1, frames, -1, -1)  # (N, T, 1, C)
        tokens = torch.cat((copies, x.transpose(1, 2)), dim=2).flatten(0, 1)  # (N * T, 1 + P, C)
        for block in self.blocks:
            tokens = block(tokens)
        tokens = tokens.view(n, frames, *tokens.shape[1:])
        return tokens[:, :, 0].mean(dim=1, keepdim=True), tokens[:, :, 1:].transpose(1, 2)


class Block(nn.Module):
    """Temporal attention, spatial attention and MLP, each with a shortcut: divided space-time attention.

    The temporal attention excludes the class token. In the spatial attention every frame has its own copy of it, and
    the copies are averaged (section 3.3 of the paper). ``drop_path`` is the stochastic depth rate (``DropPath``).
    """

    def __init__(self, width: int, heads: int, drop_path: float) -> None:
        super().__init__()
        self.temporal = TemporalAttention(width, heads)
        self.spatial = Attention(width, heads)
        self.mlp = Mlp(width, MLP_RATIO * width)
        self.drop_path = DropPath(drop_path)

    def forward(self, token: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map ``token`` (N, 1, C) and ``x`` (N, P patches, T frames, C) to the same shapes."""
        frames = x.shape[2]
        x = x + self.drop_path(self.temporal(x.flatten(0, 1)).reshape(x.shape))

        copies = token.unsqueeze(1).expand(-1, frames, -1, -1)  # (N, T, 1, C)
        within = torch.cat((copies, x.transpose(1, 2)), dim=2)  # (N, T, 1 + P, C)
        y = self.drop_path(self.spatial(within.flatten(0, 1)).reshape(within.shape))
        token = token + y[:, :, :1].mean(dim=1)
        x = x + y[:, :, 1:].transpose(1, 2)

        tokens = torch.cat((token, x.flatten(1, 2)), dim=1)  # (N, 1 + P * T, C)
        tokens = tokens + self.drop_path(self.mlp(tokens))
        return tokens[:, :1], tokens[:, 1:].reshape(x.shape)


class TemporalAttention(Attention):
    """Temporal attention and a zero-initialized linear layer, so that image weights initially ignore time."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__(width, heads)
        self.fc = nn.Linear(width, width)
        nn.init.zeros_(self.fc.weight)
        nn.init.zeros_(self.fc.bias)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.fc(super().forward(x))
        return y


def timesformer(num_classes: int, *, width: int, dropout: float, init_std: float, **backbone: Any) -> nn.Module:
    """Build TimeSformer, with divided space-time attention ("T+S") unless ``attention_type`` is another.

    Bertasius et al., "Is Space-Time Attention All You Need for Video Understanding?", ICML 2021, section 3. With
    space_only, the class tokens of the frames are averaged after the last block, and there is no ``time_embed``.

    =========== ============================================================
    input       (N, 3, 8, 224, 224)
    patches     (N, 196, 8, 768), a token for 16 x 16 pixels of every frame
    class token (N, 1, 768)
    blocks      the same shapes, twelve times
    =========== ============================================================
    """
    return classifier(
        TimeSformerBackbone(width=width, **backbone), width, num_classes, dropout=dropout, init_std=init_std
    )
