"""The tokens of an encoder, for a probe: what the model's own head pools.

They are the patches of a transformer, the positions of a convolutional feature map, or the frames of TSN. A model or
its ``backbone`` returns them with a method ``tokens``, from clips, float (N, C, T, H, W), to (N, L, D). The models of
torchvision have functions here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

Tokens = Callable[[Tensor], Tensor]


def tokens_of(encoder: Any) -> Tokens | None:
    """Return the function from clips to tokens of a model, or of its ``backbone``; None if it has none."""
    for part in (encoder, getattr(encoder, "backbone", encoder)):
        if hasattr(part, "tokens"):
            method: Tokens = part.tokens
            return method
        for cls in type(part).__mro__:
            if (function := _TORCHVISION.get(cls.__name__)) is not None:
                return lambda clips: function(part, clips)
    return None


def feature_map_tokens(features: Tensor) -> Tensor:
    """Return the positions of a feature map (N, D, T, H, W) as tokens (N, T * H * W, D)."""
    return features.flatten(2).transpose(1, 2)


def mvit_tokens(model: Any, clips: Tensor) -> Tensor:
    """Return the normalized class token and tokens of all patches, (N, 1 + L, D), of a model of torchvision's class.

    Unlike that class, it accepts clips of other sizes than the one that the model is built for.
    """
    x = model.conv_proj(clips)  # (N, C, T/2, H/4, W/4)
    size = tuple(x.shape[2:])
    x = model.pos_encoding(x.flatten(2).transpose(1, 2))  # (N, 1 + L, C)
    for block in model.blocks:
        x, size = block(x, size)
    tokens: Tensor = model.norm(x)
    return tokens


def _swin_tokens(model: Any, clips: Tensor) -> Tensor:
    tokens: Tensor = model.norm(model.features(model.pos_drop(model.patch_embed(clips))))  # (N, T, H, W, D)
    return tokens.flatten(1, 3)


def _resnet_tokens(model: Any, clips: Tensor) -> Tensor:
    return feature_map_tokens(model.layer4(model.layer3(model.layer2(model.layer1(model.stem(clips))))))


def _s3d_tokens(model: Any, clips: Tensor) -> Tensor:
    return feature_map_tokens(model.features(clips))


#: Class of torchvision -> function of a model and clips that returns the tokens, the forward pass without the head.
_TORCHVISION: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "VideoResNet": _resnet_tokens,
    "S3D": _s3d_tokens,
    "MViT": mvit_tokens,
    "SwinTransformer3d": _swin_tokens,
}
