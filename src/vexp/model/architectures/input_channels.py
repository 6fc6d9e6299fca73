"""Adapting models to inputs that are not RGB, such as optical flow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

RGB = 3


def replace_input_channels(model: nn.Module, channels: int) -> None:
    """Replace every convolution of ``model`` with RGB input by one with ``channels`` input channels.

    The new weights are those of the channels red, green, blue, red, ..., so that their distribution is that of the
    model's own initialization. From the fourth channel on they are those of other filters, so that channels differ.
    """
    for name, conv in list(model.named_modules()):
        if isinstance(conv, nn.Conv2d | nn.Conv3d) and conv.in_channels == RGB and conv.groups == 1:
            conv_class: Any = type(conv)
            geometry = conv.kernel_size, conv.stride, conv.padding, conv.dilation
            options = {"bias": conv.bias is not None, "padding_mode": conv.padding_mode}
            replacement = conv_class(channels, conv.out_channels, *geometry, **options)
            with torch.no_grad():
                for channel in range(channels):
                    replacement.weight[:, channel] = conv.weight[:, channel % RGB].roll(channel // RGB, dims=0)
                if conv.bias is not None and replacement.bias is not None:
                    replacement.bias.copy_(conv.bias)
            model.set_submodule(name, replacement)


def average_rgb_weights(tensors: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Convert RGB kernels for a model with other input channels: each channel gets the mean over RGB.

    This is the cross-modality pre-training of TSN (Wang et al., ECCV 2016, section 3.2). Other tensors are unchanged.
    """
    state = dict(tensors)
    for name, target in model.state_dict().items():
        source = state.get(name)
        if source is None or source.ndim < 2 or source.shape[1] != RGB or target.ndim != source.ndim:
            continue
        if target.shape[1] != RGB and target.shape[2:] == source.shape[2:]:
            repeats = [1, target.shape[1], *[1] * (source.ndim - 2)]
            state[name] = source.mean(dim=1, keepdim=True).repeat(repeats)
    return state
