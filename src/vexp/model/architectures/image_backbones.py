"""Image models of torchvision and timm without their classifiers, as backbones of TSN and TSM."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor, nn

from vexp.core.errors import ConfigError
from vexp.model.image_models import TIMM_PREFIX, check_image_model


class ImageBackbone(NamedTuple):
    """A model that maps images (N, C, H, W) to features (N, width)."""

    model: nn.Module
    width: int
    side: int | None  # height and width of the images, if it accepts no other


class PooledFeatures(nn.Module):
    """The ``features`` of a model of torchvision, averaged over all positions: (N, C, H, W) to (N, width)."""

    def __init__(self, features: nn.Module, *, channels_last: bool) -> None:
        super().__init__()
        self.features, self.positions = features, (1, 2) if channels_last else (2, 3)

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.features(images)
        return features.mean(self.positions)


def image_backbone(name: str, in_channels: int, *, features_only: bool = False, deploy: bool = False) -> ImageBackbone:
    """Build an image model of torchvision (NAME) or timm (timm/NAME) with random weights and without its classifier.

    Args:
        name: See ``vexp.model.image_models``.
        in_channels: Channels of an image; for timm only, since torchvision's models are built for RGB.
        features_only: Whether to average the ``features`` of a model of torchvision and leave out what follows.
        deploy: Whether to fuse the parallel branches of the blocks of a model of timm (``fuse_branches``).

    Raises:
        ConfigError: If there is no such model, its classifier is not a linear layer, or it has no such features or
            branches.
    """
    check_image_model(name)
    if deploy:
        backbone = image_backbone(name, in_channels, features_only=features_only)
        fuse_branches(backbone.model, name)
        return backbone
    if features_only:
        return _features(name)
    return _timm(name, in_channels) if name.startswith(TIMM_PREFIX) else _torchvision(name)


def fuse_branches(model: nn.Module, name: str) -> None:
    """Replace the parallel branches of each block by one convolution that computes their sum in evaluation, in place.

    The branches are convolutions and identities, each with a batch norm: MobileOne (Vasu et al., "MobileOne: An
    Improved One millisecond Mobile Backbone", CVPR 2023, section 3.3) and other models of timm.

    Raises:
        ConfigError: If the model has no such branches.
    """
    before = model.state_dict().keys()
    if name.startswith(TIMM_PREFIX):
        from timm.utils.model import reparameterize_model

        reparameterize_model(model, inplace=True)
    if model.state_dict().keys() == before:
        rule = f"{name} has no branches to fuse, as those of timm/mobileone_s4"
        raise ConfigError(rule, key="model.deploy", value=True)


def _features(name: str) -> ImageBackbone:
    from torchvision import models

    model: Any = None if name.startswith((TIMM_PREFIX, "vgg", "alexnet")) else models.get_model(name)
    behind = [part for path, part in model.named_modules() if not path.startswith("features.")] if model else []
    layer = next((part for part in behind if isinstance(part, nn.Linear)), None)
    if layer is None or not hasattr(model, "features"):
        rule = "has no features of the width of its classifier; set model.features_only=false"
        raise ConfigError(rule, key="model.backbone", value=name)
    features = PooledFeatures(model.features, channels_last=isinstance(model, models.SwinTransformer))
    return ImageBackbone(features, layer.in_features, None)


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
