"""ActionFormer (Zhang et al., ECCV 2022): a transformer with local attention on a pyramid of temporal resolutions.

Every point of every level is classified and predicts its distances to the start and the end of an action. Padded
positions are zero after every layer, so they do not change the output of the others.
"""

from __future__ import annotations

import math
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vexp.model.architectures.transformer import DropPath

_PRIOR = 0.01  # initial probability of every class at every point


class PyramidOutput(NamedTuple):
    """The output of ``ActionFormer`` for the P points of all levels, the finest level first."""

    logits: Tensor  # float (N, P, classes)
    distances: Tensor  # float (N, P, 2), to start and end in strides, >= 0
    valid: Tensor  # bool (N, P), whether the point is within the video
    points: Tensor  # float (P, 4): position in units of features, stride, range of distances (low, high)

    def select(self, index: int) -> PyramidOutput:
        """Return the output for one video, N = 1."""
        logits, distances, valid = (part[index : index + 1] for part in self[:3])
        return PyramidOutput(logits, distances, valid, self.points)


class ActionFormer(nn.Module):
    """float (N, C, T) features and bool (N, T), whether a position is within the video -> ``PyramidOutput``."""

    def __init__(
        self,
        num_classes: int,
        *,
        feature_dim: int,
        width: int = 512,
        heads: int = 4,
        window: int = 19,
        stem_blocks: int = 2,
        levels: int = 6,
        first_range: float = 4.0,
        top_down: bool = False,
        head_layers: int = 3,
        dropout: float = 0.0,
        drop_path: float = 0.1,
    ) -> None:
        super().__init__()
        self.levels, self.first_range = levels, first_range
        self.embedding = nn.ModuleList(MaskedConv(size, width, 3, norm=True) for size in (feature_dim, width))
        block = partial(Block, width, heads=heads, window=window, dropout=dropout, drop_path=drop_path)
        self.stem = nn.ModuleList(block() for _ in range(stem_blocks))
        self.branch = nn.ModuleList(block(stride=2) for _ in range(levels - 1))
        self.lateral = nn.ModuleList(MaskedConv(width, width, 1) for _ in range(levels)) if top_down else None
        self.norms = nn.ModuleList(ChannelNorm(width) for _ in range(levels))
        self.class_head = Head(width, num_classes, head_layers)
        self.distance_head = Head(width, 2, head_layers)
        self.scales = nn.Parameter(torch.ones(levels))
        self._initialize()

    def _initialize(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv1d) and module.bias is not None:
                nn.init.zeros_(module.bias)
        bias = self.class_head.output.conv.bias
        assert bias is not None
        nn.init.constant_(bias, -math.log((1 - _PRIOR) / _PRIOR))

    def forward(self, features: Tensor, valid: Tensor) -> PyramidOutput:
        length = features.shape[-1]
        size = 2 ** (self.levels - 1)
        padding = (0, -length % size)  # every level divides the length of the one below
        x, mask = F.pad(features, padding), F.pad(valid, padding)[:, None]  # (N, C, T), (N, 1, T)
        x = x * mask
        for layer in self.embedding:
            x = F.relu(layer(x, mask))
        for block in self.stem:
            x, _ = block(x, mask)
        pyramid = [(x, mask)]
        for block in self.branch:
            pyramid.append(block(*pyramid[-1]))
        levels = [(norm(x) * mask, mask) for norm, (x, mask) in zip(self.norms, self._merge(pyramid), strict=True)]
        logits = [self.class_head(x, mask) for x, mask in levels]
        distances = [
            F.relu(self.distance_head(x, mask) * scale) for (x, mask), scale in zip(levels, self.scales, strict=True)
        ]
        return PyramidOutput(
            torch.cat(logits, 2).transpose(1, 2),
            torch.cat(distances, 2).transpose(1, 2),
            torch.cat([mask for _, mask in levels], 2)[:, 0],
            self._points([x.shape[-1] for x, _ in levels], features),
        )

    def _merge(self, pyramid: list[tuple[Tensor, Tensor]]) -> list[tuple[Tensor, Tensor]]:
        """Add the coarser levels to the finer ones (Lin et al., CVPR 2017), if there are lateral connections."""
        if self.lateral is None:
            return pyramid
        merged: list[tuple[Tensor, Tensor]] = []
        for layer, (x, mask) in zip(reversed(self.lateral), reversed(pyramid), strict=True):
            x = layer(x, mask)
            if merged:
                x = (x + F.interpolate(merged[-1][0], scale_factor=2.0, mode="nearest")) * mask
            merged.append((x, mask))
        return merged[::-1]

    def _points(self, lengths: list[int], like: Tensor) -> Tensor:
        """Return ``PyramidOutput.points``; the ranges of distances double with the stride, the last is unlimited."""
        bounds = [0.0, *(self.first_range * 2**level for level in range(self.levels - 1)), 1e4]
        parts = []
        for level, (length, (low, high)) in enumerate(zip(lengths, pairwise(bounds), strict=True)):
            stride = float(2**level)
            position = torch.arange(length, dtype=torch.float32, device=like.device) * stride + 0.5
            constants = torch.tensor([stride, low, high], device=like.device).expand(length, 3)
            parts.append(torch.cat((position[:, None], constants), 1))
        return torch.cat(parts)


class ChannelNorm(nn.Module):
    """Layer norm over the channels of (N, C, T)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        normed: Tensor = self.norm(x.transpose(1, 2)).transpose(1, 2)
        return normed


class MaskedConv(nn.Module):
    """A convolution over time, optionally followed by layer norm; its output is 0 at padded positions."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, *, stride: int = 1, groups: int = 1, norm: bool = False
    ) -> None:
        super().__init__()
        self.conv = nn.Conv1d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=not norm)
        self.norm = ChannelNorm(out_channels) if norm else nn.Identity()

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        out: Tensor = self.norm(self.conv(x)) * mask
        return out


class Block(nn.Module):
    """A transformer block with local attention on (N, C, T); a stride halves the resolution of its output."""

    def __init__(
        self, width: int, *, heads: int, window: int, dropout: float, drop_path: float, stride: int = 1
    ) -> None:
        super().__init__()
        self.stride = stride
        self.norm1, self.norm2 = ChannelNorm(width), ChannelNorm(width)
        self.attention = LocalAttention(width, heads=heads, window=window, stride=stride, dropout=dropout)
        self.mlp = nn.Sequential(
            nn.Conv1d(width, 4 * width, 1), nn.GELU(), nn.Dropout(dropout), nn.Conv1d(4 * width, width, 1),
            nn.Dropout(dropout),
        )  # fmt: skip
        self.scale1, self.scale2 = (nn.Parameter(torch.full((width, 1), 1e-4)) for _ in range(2))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        small = mask[..., :: self.stride]
        skip = x if self.stride == 1 else F.max_pool1d(x, 3, self.stride, 1)
        x = skip * small + self.drop_path(self.scale1 * self.attention(self.norm1(x) * mask, small))
        x = x + self.drop_path(self.scale2 * self.mlp(self.norm2(x)) * small)
        return x, small


class LocalAttention(nn.Module):
    """Multi-head attention within a window around each position, after a depthwise convolution of its inputs."""

    def __init__(self, width: int, *, heads: int, window: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.convs = nn.ModuleList(
            MaskedConv(width, width, 3, stride=stride, groups=width, norm=True) for _ in range(3)
        )
        self.query, self.key, self.value, self.projection = (nn.Conv1d(width, width, 1) for _ in range(4))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        layers = (self.query, self.key, self.value)
        query, key, value = (
            layer(conv(x, mask)).unflatten(1, (self.heads, -1)) for layer, conv in zip(layers, self.convs, strict=True)
        )  # each (N, heads, C / heads, T)
        half, channels = self.window // 2, query.shape[2]
        near_key, near_value = (F.pad(part, (half, half)).unfold(3, self.window, 1) for part in (key, value))
        near_mask = F.pad(mask, (half, half)).unfold(2, self.window, 1)  # (N, 1, T, window)
        scores = torch.einsum("nhct,nhctw->nhtw", query / math.sqrt(channels), near_key)
        scores = scores.masked_fill(~near_mask, -1e4 if scores.dtype == torch.float16 else -1e9)
        out = torch.einsum("nhtw,nhctw->nhct", scores.softmax(3), near_value).flatten(1, 2)
        projected: Tensor = self.dropout(self.projection(out)) * mask
        return projected


class Head(nn.Module):
    """Convolutions that all levels share."""

    def __init__(self, width: int, outputs: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(MaskedConv(width, width, 3, norm=True) for _ in range(layers - 1))
        self.output = MaskedConv(width, outputs, 3)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        for layer in self.layers:
            x = F.relu(layer(x, mask))
        out: Tensor = self.output(x, mask)
        return out


def pyramid_candidates(
    output: PyramidOutput, *, min_score: float, max_candidates: int
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Return the candidates of each video: positions (M, 2) in units of features, scores (M,) and class indices (M,).

    They are in float64, float64 and int64; M is at most ``max_candidates``, the ones with the highest scores.
    """
    result = []
    position, stride = output.points[:, 0].double().cpu(), output.points[:, 1].double().cpu()
    for logits, distances, valid in zip(*(part.detach().cpu() for part in output[:3]), strict=True):
        scores = (torch.sigmoid(logits.double()) * valid[:, None]).flatten()
        order = torch.argsort(scores, descending=True, stable=True)[:max_candidates]
        order = order[scores[order] > min_score]
        point, label = order // logits.shape[1], order % logits.shape[1]
        reach = distances.double()[point] * stride[point, None]
        segments = torch.stack((position[point] - reach[:, 0], position[point] + reach[:, 1]), 1)
        kept = segments[:, 1] > segments[:, 0]
        result.append((segments[kept], scores[order][kept], label[kept]))
    return result
