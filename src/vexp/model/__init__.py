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
        name_or_config: a name of ``vexp.model.catalogue`` (``"tiny3d"``, ``"tsm_r50"``, ``"r3d_18"`` ...), or an
            option's dataclass.
        num_classes: width of the classifier.

    Raises:
        ValueError: an unknown name.
    """
    if not isinstance(name_or_config, str):
        return name_or_config.build(num_classes)
    from vexp.model.catalogue import named_option

    return named_option(name_or_config).build(num_classes)
