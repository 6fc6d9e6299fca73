"""Probes: heads on the tokens of an encoder, which is usually frozen.

The tokens of a model are what its own head pools: the patches of a transformer, the positions of a convolutional
feature map, the frames of TSN. A model or its ``backbone`` returns them with a method ``tokens``, from float
(N, C, T, H, W) to (N, L, D); the models of torchvision have functions here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from vexp.core.errors import ConfigError, UserError
from vexp.model.architectures.transformer import EPS, Attention, Mlp, linear
from vexp.model.features import classifier_of, head_paths

_STD = 0.02  # of the initial weights, as in V-JEPA 2


class ProbedModel(nn.Module):
    """An encoder and a probe on its tokens: float (N, C, T, H, W) to logits (N, num_classes).

    Attributes:
        encoder: A model without its own head; in eval mode during training if all of its parameters are frozen.
        probe: The head.
    """

    def __init__(self, encoder: nn.Module, probe: nn.Module) -> None:
        super().__init__()
        self.encoder, self.probe = encoder, probe

    @property
    def head_paths(self) -> list[str]:
        """Paths of the modules after the encoder, which are trained together with adapters."""
        return ["probe"]

    def forward(self, clips: Tensor) -> Tensor:
        logits: Tensor = self.probe(encoder_tokens(self.encoder, clips))
        return logits

    def train(self, mode: bool = True) -> ProbedModel:
        """Set the mode; a frozen encoder stays in eval mode, without dropout and stochastic depth."""
        super().train(mode)
        if not any(parameter.requires_grad for parameter in self.encoder.parameters()):
            self.encoder.eval()
        return self


class LinearProbe(nn.Module):
    """A linear layer on the mean of the tokens: (N, L, D) to logits (N, num_classes)."""

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.fc = linear(width, num_classes)

    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.fc(tokens.mean(dim=1))
        return logits


class AttentiveProbe(nn.Module):
    """The attentive probe of V-JEPA and V-JEPA 2: (N, L, D) to logits (N, num_classes).

    ``depth - 1`` blocks of self-attention on the tokens, then a learned query that attends to them, an MLP and a linear
    classifier (Bardes et al., "Revisiting Feature Prediction for Learning Visual Representations from Video", 2024;
    Assran et al., "V-JEPA 2", 2025, section 4 and appendix). The cross-attention has no output projection, as in the
    released weights.
    """

    def __init__(self, width: int, num_classes: int, *, depth: int, heads: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(_Block(width, heads) for _ in range(depth - 1))
        self.query = nn.Parameter(torch.empty(1, 1, width))
        self.cross = CrossAttention(width, heads)
        self.mlp = Mlp(width, 4 * width)
        self.fc = linear(width, num_classes)
        nn.init.trunc_normal_(self.query, std=_STD)

    def forward(self, tokens: Tensor) -> Tensor:
        for block in self.blocks:
            tokens = block(tokens)
        query = self.query.expand(len(tokens), -1, -1)
        pooled = query + self.cross(query, tokens)
        pooled = pooled + self.mlp(pooled)
        logits: Tensor = self.fc(pooled[:, 0])
        return logits


class _Block(nn.Module):
    """Self-attention and MLP, each with a shortcut: (N, L, D) to the same shape."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attn, self.mlp = Attention(width, heads), Mlp(width, 4 * width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(x)
        mixed: Tensor = x + self.mlp(x)
        return mixed


class CrossAttention(nn.Module):
    """Layer norm of the tokens and multi-head attention of queries (N, Q, D) to tokens (N, L, D): (N, Q, D)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width, eps=EPS)
        self.q, self.kv = linear(width, width), linear(width, 2 * width)

    def forward(self, queries: Tensor, tokens: Tensor) -> Tensor:
        q, k, v = (  # each (N, heads, Q or L, D/heads)
            part.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for part in (self.q(queries), *self.kv(self.norm(tokens)).chunk(2, dim=2))
        )
        return functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def add_probe(model: nn.Module, num_classes: int, kind: str, *, depth: int, heads: int) -> ProbedModel:
    """Replace the head of a model by a probe: ``linear``, or ``attentive`` with ``depth`` blocks.

    Raises:
        ConfigError: If the head of the model has further layers than its classifier, so that the classifier's input is
            wider or narrower than the tokens, or this width is not a multiple of ``heads``.
    """
    paths, (_, classifier) = head_paths(model, num_classes), classifier_of(model, num_classes)
    width = int(classifier.weight.shape[1])  # type: ignore[index]
    if kind == "attentive" and width % heads:
        raise ConfigError(f"must divide {width}, the width of the tokens", key="model.probe_heads", value=heads)
    for path in paths:
        model.set_submodule(path, nn.Identity())
    if more := [name for name, _ in model.named_parameters() if name.startswith("head.")]:
        rule = f"the model has layers between tokens and classifier ({more[0]}); set it to null"
        raise ConfigError(rule, key="model.probe", value=kind)
    if kind == "linear":
        return ProbedModel(model, LinearProbe(width, num_classes))
    return ProbedModel(model, AttentiveProbe(width, num_classes, depth=depth, heads=heads))


def encoder_tokens(encoder: Any, clips: Tensor) -> Tensor:
    """Return the tokens of clips, float (N, C, T, H, W) to (N, L, D).

    Raises:
        UserError: If the encoder pools its features.
    """
    for part in (encoder, getattr(encoder, "backbone", encoder)):
        if hasattr(part, "tokens"):
            tokens: Tensor = part.tokens(clips)
            return tokens
        names = [cls.__name__ for cls in type(part).__mro__]
        function = next((_TORCHVISION[name] for name in names if name in _TORCHVISION), None)
        if function is not None:
            return function(part, clips)
    features: Tensor = getattr(encoder, "backbone", encoder)(clips)
    if features.ndim != 5:
        raise UserError(
            f"model.probe: {type(encoder).__name__} pools its features to {tuple(features.shape)}, so it has no "
            "tokens; set model.probe=null and freeze its backbone, or choose another model"
        )
    return features.flatten(2).transpose(1, 2)


def _swin_tokens(model: Any, clips: Tensor) -> Tensor:
    tokens: Tensor = model.norm(model.features(model.pos_drop(model.patch_embed(clips))))  # (N, T, H, W, D)
    return tokens.flatten(1, 3)


def _mvit_tokens(model: Any, clips: Tensor) -> Tensor:
    x = model.conv_proj(clips)
    size = tuple(x.shape[2:])
    x = model.pos_encoding(x.flatten(2).transpose(1, 2))
    for block in model.blocks:
        x, size = block(x, size)
    tokens: Tensor = model.norm(x)  # (N, 1 + L, D)
    return tokens


def _resnet_tokens(model: Any, clips: Tensor) -> Tensor:
    features: Tensor = model.layer4(model.layer3(model.layer2(model.layer1(model.stem(clips)))))
    return features.flatten(2).transpose(1, 2)


def _s3d_tokens(model: Any, clips: Tensor) -> Tensor:
    features: Tensor = model.features(clips)
    return features.flatten(2).transpose(1, 2)


#: Class of torchvision -> function of a model and clips that returns the tokens, the forward pass without the head.
_TORCHVISION: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {
    "VideoResNet": _resnet_tokens,
    "S3D": _s3d_tokens,
    "MViT": _mvit_tokens,
    "SwinTransformer3d": _swin_tokens,
}
