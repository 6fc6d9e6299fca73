"""Image models of torchvision and timm without their classifiers, as backbones of TSN and TSM."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import nn

from vexp.core.errors import ConfigError
from vexp.model.image_models import TIMM_PREFIX, check_image_model


class ImageBackbone(NamedTuple):
    """A model that maps images (N, C, H, W) to features (N, width)."""

    model: nn.Module
    width: int
    side: int | None  # height and width of the images, if it accepts no other


def image_backbone(name: str, in_channels: int) -> ImageBackbone:
    """Build an image model of torchvision (NAME) or timm (timm/NAME) with random weights and without its classifier.

    Args:
        name: See ``vexp.model.image_models``.
        in_channels: Channels of an image; for timm only, since torchvision's models are built for RGB.

    Raises:
        ConfigError: If there is no such model, or its classifier is not a linear layer.
    """
    check_image_model(name)
    return _timm(name, in_channels) if name.startswith(TIMM_PREFIX) else _torchvision(name)


def _timm(name: str, in_channels: int) -> ImageBackbone:
    import timm

    try:
        model = timm.create_model(name.removeprefix(TIMM_PREFIX), num_classes=0, in_chans=in_channels)
    except RuntimeError as error:  # an unknown tag after the name, or a model for RGB only
        raise ConfigError(f"timm cannot build it: {error}", key="model.backbone", value=name) from None
    width: Any = model.head_hidden_size
    config: Any = model.pretrained_cfg
    return ImageBackbone(model, width, config["input_size"][-1] if config["fixed_input_size"] else None)


def _torchvision(name: str) -> ImageBackbone:
    from torchvision import models

    # These two have auxiliary classifiers and would return tuples.
    options = {"aux_logits": False, "init_weights": True} if name in ("googlenet", "inception_v3") else {}
    model: nn.Module = models.get_model(name, **options)
    linear = [(path, part) for path, part in model.named_modules() if isinstance(part, nn.Linear)]
    if not linear:
        raise ConfigError("has no linear classifier to replace", key="model.backbone", value=name)
    path, layer = linear[-1]
    model.set_submodule(path, nn.Identity())
    parent = model.get_submodule(path.rpartition(".")[0])
    if isinstance(parent, nn.Sequential) and len(parent) > 1 and isinstance(parent[-2], nn.Dropout):
        parent[-2] = nn.Identity()  # the head has its own dropout
    side = model.image_size if isinstance(model, models.VisionTransformer) else None
    return ImageBackbone(model, layer.in_features, side)
