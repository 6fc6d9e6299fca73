"""Probes: heads on the tokens of an encoder (``vexp.model.architectures.tokens``), which is usually frozen."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vexp.core.errors import ConfigError
from vexp.model.architectures.tokens import Tokens, tokens_of
from vexp.model.architectures.transformer import EPS, Block, Mlp, attend, linear
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
        tokens: Tokens | None = tokens_of(self.encoder)
        assert tokens is not None  # add_probe has checked it
        logits: Tensor = self.probe(tokens(clips))
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
        self.blocks = nn.ModuleList(Block(width, heads, 4 * width) for _ in range(depth - 1))
        self.query = nn.Parameter(torch.empty(1, 1, width))
        self.cross = CrossAttention(width, heads)
        self.mlp = Mlp(width, 4 * width)
        self.fc = linear(width, num_classes)
        nn.init.trunc_normal_(self.query, std=_STD)

    def forward(self, tokens: Tensor) -> Tensor:
        for block in self.blocks:
            tokens = block(tokens)
        query = self.query.expand(tokens.shape[0], -1, -1)  # len() would fix the batch size of an exported model
        pooled = query + self.cross(query, tokens)
        pooled = pooled + self.mlp(pooled)
        logits: Tensor = self.fc(pooled[:, 0])
        return logits


class CrossAttention(nn.Module):
    """Layer norm of the tokens and multi-head attention of queries (N, Q, D) to tokens (N, L, D): (N, Q, D)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width, eps=EPS)
        self.q, self.kv = linear(width, width), linear(width, 2 * width)

    def forward(self, queries: Tensor, tokens: Tensor) -> Tensor:
        keys, values = self.kv(self.norm(tokens)).chunk(2, dim=2)
        return attend(self.q(queries), keys, values, self.heads)


def add_probe(model: nn.Module, num_classes: int, kind: str, *, depth: int, heads: int) -> ProbedModel:
    """Replace the head of a model by a probe: ``linear``, or ``attentive`` with ``depth`` blocks.

    Raises:
        ConfigError: If the model has no tokens or its head has further layers than its classifier, whose input is then
            wider or narrower than the tokens, or if their width is not a multiple of ``heads``.
    """
    if tokens_of(model) is None:
        part = type(getattr(model, "backbone", model)).__name__
        rule = f"{part} has no method tokens, as its features are pooled; set it to null and freeze the backbone, or "
        raise ConfigError(rule + "choose another model", key="model.probe", value=kind)
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
