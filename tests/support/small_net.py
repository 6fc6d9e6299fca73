"""A model of eight tensors, and values that a new one does not have."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

State = dict[str, Any]


class Net(nn.Module):
    """A backbone of convolution and batch norm, a linear head."""

    def __init__(self, classes: int = 3, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.backbone = nn.ModuleDict({"conv": nn.Conv2d(3, 4, 3), "bn": nn.BatchNorm2d(4)})
        self.head = nn.Linear(4, classes)


class TiedNet(Net):
    """The same with a second head that shares its weight."""

    def __init__(self, classes: int = 3, seed: int = 0) -> None:
        super().__init__(classes, seed)
        self.second = nn.Linear(4, classes)
        self.second.weight = self.head.weight


def other(classes: int = 3) -> State:
    """The state dict of a model with other values."""
    return Net(classes, seed=1).state_dict()


def prefixed(prefix: str, state: State) -> State:
    """The state dict with a prefix before every key."""
    return {prefix + key: value for key, value in state.items()}
