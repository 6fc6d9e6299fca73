"""Classification of layers by type, suggestions for misspelled parameter paths, and losses."""

from __future__ import annotations

import difflib

import torch
from torch import Tensor, nn
from torch.nn import functional

_NORM = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)
_CONV = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def is_norm(module: nn.Module) -> bool:
    """Return whether a module is a batch, synchronized batch, instance, group, layer or RMS norm."""
    return isinstance(module, _NORM)


def is_batch_norm(module: nn.Module) -> bool:
    """Return whether a module is a batch norm, synchronized or not."""
    return isinstance(module, nn.modules.batchnorm._BatchNorm)


def is_depthwise(module: nn.Module) -> bool:
    """Return whether a module is a depthwise convolution (1d, 2d or 3d) with more than one input channel."""
    return isinstance(module, _CONV) and module.groups == module.in_channels > 1


def near_paths(word: str, model: nn.Module, *, of_names: bool = False) -> str:
    """Return a suggestion for a pattern that matches nothing, ``; did you mean A or B?``, or the first modules.

    ``of_names``: a part of a name matches wherever it occurs, so that it is suggested instead of a path or pattern.
    """
    names = [name.split(".") for name, _ in model.named_parameters()]
    paths = list(dict.fromkeys(".".join(name[:length]) for name in names for length in range(1, len(name) + 1)))
    ending: dict[str, list[str]] = {}  # the paths that end with a name
    for path in paths:
        ending.setdefault(path.rpartition(".")[2], []).append(path)
    known = sorted({*paths, *(name for name in ending if not name.isdecimal())})
    close: list[str] = []
    for match in difflib.get_close_matches(word.removeprefix("*.").removesuffix(".*"), known, n=6, cutoff=0.6):
        if match not in paths and not of_names:
            match = ending[match][0] if len(ending[match]) == 1 else f"*.{match}"
        if match != word and not any(match.startswith(f"{better}.") for better in close):
            close.append(match)
    if close:
        return f"; did you mean {' or '.join(dict.fromkeys(close[:3]))}?"
    depth = next((n for n in range(1, 4) if len({tuple(name[:n]) for name in names}) > 1), 1)
    first = list(dict.fromkeys(".".join(name[:depth]) for name in names))
    return f"; its submodules are {', '.join(first[:12])}{' ...' if len(first) > 12 else ''}"


class CrossEntropyWithZeroWeights(nn.CrossEntropyLoss):
    """Cross entropy that is 0, with gradients of 0, if the classes of all N samples have weight 0.

    The targets are int64 (N,), or float (N, classes): their mean is not weighted and needs no division by the weights.
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Return the mean over the batch, weighted by the weight of each sample's class."""
        if target.is_floating_point() or self.weight is None:
            return super().forward(input, target)
        # Where torch would divide by 0, the weights are replaced. A branch would wait for the GPU, a factor does not.
        is_weighted = self.weight[target].sum() > 0
        weight = torch.where(is_weighted, self.weight, torch.ones_like(self.weight))
        loss = functional.cross_entropy(input, target, weight, label_smoothing=self.label_smoothing)
        return loss * is_weighted


class FocalLoss(nn.Module):
    """Sigmoid focal loss of logits and targets of 0 and 1, (N, classes), averaged; ``weight`` (classes,) or None."""

    weight: Tensor | None

    def __init__(self, alpha: float, gamma: float, weight: Tensor | None = None) -> None:
        super().__init__()
        self.alpha, self.gamma = alpha, gamma
        self.register_buffer("weight", weight)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Return the mean over rows and classes."""
        entropy = functional.binary_cross_entropy_with_logits(input, target, reduction="none")
        probability = torch.exp(-entropy)  # of the label
        loss = self.alpha * (1 - probability) ** self.gamma * entropy
        return (loss if self.weight is None else loss * self.weight).mean()
