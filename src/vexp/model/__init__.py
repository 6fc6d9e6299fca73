"""Nets: what they are built from, what they start from."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import nn


class ModelOption(Protocol):
    """What a ``model`` option can do."""

    def build(self, num_classes: int) -> nn.Module: ...


def build_model(
    name_or_config: str | ModelOption,
    num_classes: int,
    *,
    pretrained: bool = True,
    tell: Callable[[Any], object] = print,
) -> nn.Module:
    """A net from float (N, C, T, H, W) to logits (N, num_classes).

    Args:
        name_or_config: a name of ``vexp.model.registry`` (``"tiny3d"``, ``"tsm_r50"``, ``"r3d_18"`` ...), or an
            option's dataclass.
        num_classes: width of the classifier.
        pretrained: false leaves out ``model.init`` and ``model.weights``: a checkpoint is about to set the values.
        tell: is given what those two did, to be printed.

    Raises:
        ValueError: an unknown name.
    """
    from vexp.model.config import Model
    from vexp.model.registry import named_option

    option = named_option(name_or_config) if isinstance(name_or_config, str) else name_or_config
    if isinstance(option, Model):
        return option.build(num_classes, pretrained=pretrained, tell=tell)
    return option.build(num_classes)  # a class or function of the user's own, called with num_classes
