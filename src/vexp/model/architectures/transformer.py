"""Building blocks of the vision transformers. Tokens are (N, L, C); every block adds its branches to its input."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPS = 1e-6  # epsilon of the layer norms, as in ViT


class DropPath(nn.Module):
    """Stochastic depth: skip a branch with probability ``rate`` per sample in training (Huang et al., ECCV 2016).

    The branches that are kept are divided by ``1 - rate``, so that the expected value does not change.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, branch: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return branch
        kept = torch.rand(branch.shape[0], *[1] * (branch.ndim - 1), device=branch.device) >= self.rate
        return branch * kept / (1 - self.rate)

    def extra_repr(self) -> str:
        return f"rate={self.rate:g}"


def drop_path_rates(rate: float, depth: int) -> list[float]:
    """Return the rate of every block: 0 for the first, rising linearly to ``rate`` for the last (the rule of timm)."""
    return [rate * i / max(1, depth - 1) for i in range(depth)]


class Attention(nn.Module):
    """Layer norm and multi-head self-attention: (N, L, C) to the same shape.

    Without ``key_bias`` only queries and values have a bias, as in BEiT: a bias of the keys adds the same number to all
    logits of a query, which the softmax cancels.
    """

    def __init__(self, width: int, heads: int, *, key_bias: bool = True, eps: float = EPS) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width, eps=eps)
        self.qkv, self.proj = linear(width, 3 * width, bias=key_bias), linear(width, width)
        self.q_bias = None if key_bias else nn.Parameter(torch.zeros(width))
        self.v_bias = None if key_bias else nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        queries, keys, values = self.qkv(self.norm(x)).chunk(3, dim=2)
        if self.q_bias is not None and self.v_bias is not None:
            queries, values = queries + self.q_bias.to(queries.dtype), values + self.v_bias.to(values.dtype)
        out: Tensor = self.proj(attend(queries, keys, values, self.heads))
        return out


def attend(queries: Tensor, keys: Tensor, values: Tensor, heads: int) -> Tensor:
    """Return multi-head attention of queries (N, L, C) to keys and values (N, L', C): (N, L, C)."""
    q, k, v = (part.reshape(*part.shape[:2], heads, -1).transpose(1, 2) for part in (queries, keys, values))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)  # of parts (N, heads, L, C / heads)


class Mlp(nn.Module):
    """Layer norm and two linear layers with GELU in between: (N, L, C) to the same shape."""

    def __init__(self, width: int, hidden: int, *, eps: float = EPS) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=eps)
        self.fc1, self.fc2 = linear(width, hidden), linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.fc2(F.gelu(self.fc1(self.norm(x))))
        return y


class Block(nn.Module):
    """Attention and MLP, each with a shortcut: (N, L, C) to the same shape.

    ``hidden`` are the channels within the MLP, ``drop_path`` is the stochastic depth rate.
    """

    def __init__(self, width: int, heads: int, hidden: int, drop_path: float = 0.0, *, key_bias: bool = True) -> None:
        super().__init__()
        self.attn = Attention(width, heads, key_bias=key_bias)
        self.mlp = Mlp(width, hidden)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.attn(x))
        out: Tensor = x + self.drop_path(self.mlp(x))
        return out


def linear(in_features: int, out_features: int, *, bias: bool = True) -> nn.Linear:
    """Build a linear layer with weights from a truncated normal distribution (std 0.02) and a bias of 0."""
    layer = nn.Linear(in_features, out_features, bias=bias)
    nn.init.trunc_normal_(layer.weight, std=0.02)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def sinusoid_table(positions: int, width: int) -> Tensor:
    """Return the position encodings of the Transformer, float (positions, width).

    Channels 2i and 2i + 1 are the sine and cosine of ``position / 10000 ** (2i / width)`` (Vaswani et al., NeurIPS
    2017, section 3.5), computed in float64.
    """
    frequencies = 10000.0 ** -(np.arange(0, width, 2) / width)
    angles = np.arange(positions)[:, None] * frequencies
    table = np.stack((np.sin(angles), np.cos(angles)), axis=2).reshape(positions, -1)[:, :width]
    return torch.tensor(table, dtype=torch.float32)
