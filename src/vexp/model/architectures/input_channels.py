"""Nets for optical flow: a net's first convolutions, made for another number of channels than RGB's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

RGB = 3


def replace_input_channels(net: nn.Module, channels: int) -> None:
    """Make every convolution of ``net`` that sees the clip itself take ``channels`` instead of RGB.

    Its first values are those that the net gives to red, green, blue, red ...: their distribution is that of the net's
    own recipe.
    """
    for name, part in list(net.named_modules()):
        if isinstance(part, nn.Conv2d | nn.Conv3d) and part.in_channels == RGB and part.groups == 1:
            make: Any = type(part)
            other = make(
                channels, part.out_channels, part.kernel_size, part.stride, part.padding, part.dilation,
                bias=part.bias is not None, padding_mode=part.padding_mode,
            )  # fmt: skip
            with torch.no_grad():
                other.weight.copy_(part.weight[:, [channel % RGB for channel in range(channels)]])
                if part.bias is not None and other.bias is not None:
                    other.bias.copy_(part.bias)
            net.set_submodule(name, other)


def average_rgb_weights(tensors: Mapping[str, Tensor], net: nn.Module) -> dict[str, Tensor]:
    """RGB kernels for a net that takes other channels: their mean over RGB, for each channel.

    The cross-modality pre-training of TSN (Wang et al., ECCV 2016, section 3.2). All else is passed on.
    """
    state = dict(tensors)
    for name, wanted in net.state_dict().items():
        given = state.get(name)
        if given is None or given.ndim < 2 or given.shape[1] != RGB or wanted.ndim != given.ndim:
            continue
        if wanted.shape[1] != RGB and wanted.shape[2:] == given.shape[2:]:
            repeats = [1, wanted.shape[1], *[1] * (given.ndim - 2)]
            state[name] = given.mean(dim=1, keepdim=True).repeat(repeats)
    return state
