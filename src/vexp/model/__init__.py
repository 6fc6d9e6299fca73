"""Nets: what they are built from, what they start from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import nn


class ModelOption(Protocol):
    """What a ``model`` option can do."""

    def build(self, num_classes: int) -> nn.Module: ...


def build_model(name_or_config: str | ModelOption, num_classes: int) -> nn.Module:
    """A net from float (N, C, T, H, W) to logits (N, num_classes).

    Args:
        name_or_config: ``"tiny3d"``, one of torchvision's names (``"r3d_18"`` ...), or an option's dataclass.
        num_classes: width of the classifier.

    Raises:
        ValueError: an unknown name.
    """
    from vexp.model.options import Tiny3d, TorchvisionVideo

    if not isinstance(name_or_config, str):
        return name_or_config.build(num_classes)
    option: ModelOption = Tiny3d() if name_or_config == "tiny3d" else TorchvisionVideo(name=name_or_config)
    return option.build(num_classes)
