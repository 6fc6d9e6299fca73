"""Models: architectures, initialization, pretrained weights and losses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import nn


class ModelOption(Protocol):
    """An option of the ``model`` group: a ``vexp.model.config.Model`` or the option of a plugin."""

    def build(self, num_classes: int) -> nn.Module:
        """Build a model that maps float (N, C, T, H, W) to logits (N, num_classes)."""
        ...


def build_model(name_or_config: str | ModelOption, num_classes: int, *, pretrained: bool = True) -> nn.Module:
    """Build a model that maps float (N, C, T, H, W) to logits (N, num_classes).

    Args:
        name_or_config: A name in ``vexp.model.registry`` (``"tiny3d"``, ``"tsm_r50"``, ``"r3d_18"``, ...) or an option.
        num_classes: Number of outputs of the classifier.
        pretrained: Whether to apply ``model.init`` and ``model.weights``. False if a checkpoint is loaded afterwards.

    Raises:
        ConfigError: If the name is unknown.
        UserError: If the weights do not fit or cannot be read.
    """
    from vexp.model.config import Model
    from vexp.model.registry import named_option

    option = named_option(name_or_config) if isinstance(name_or_config, str) else name_or_config
    if isinstance(option, Model):
        return option.build(num_classes, pretrained=pretrained)
    return option.build(num_classes)  # a plugin's class or function, called with num_classes
