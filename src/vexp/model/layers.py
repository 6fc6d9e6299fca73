"""What a layer is, and where: questions that freezing and parameter groups ask of any net."""

from __future__ import annotations

import difflib

from torch import nn

_NORM = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)
_CONV = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def is_norm(module: nn.Module) -> bool:
    """Batch (also synchronised), instance, group, layer or RMS normalisation."""
    return isinstance(module, _NORM)


def is_batch_norm(module: nn.Module) -> bool:
    """A norm layer that measures its batch while training."""
    return isinstance(module, nn.modules.batchnorm._BatchNorm)


def is_depthwise(module: nn.Module) -> bool:
    """A convolution of each channel by itself, in one, two or three dimensions. One input channel makes none."""
    return isinstance(module, _CONV) and module.groups == module.in_channels > 1


def near_paths(word: str, net: nn.Module) -> str:
    """``; did you mean A or B?`` for the parts of the net that are called nearly so, else the names of its parts."""
    names = [name.split(".") for name, _ in net.named_parameters()]
    paths = {".".join(name[:length]) for name in names for length in range(1, len(name) + 1)}
    parts = {part for name in names for part in name if not part.isdecimal()}
    close: list[str] = []
    for found in difflib.get_close_matches(word, sorted(paths | parts), n=6, cutoff=0.6):
        if not any(found.startswith(f"{better}.") for better in close):
            close.append(found)
    if close:
        return f"; did you mean {' or '.join(close[:3])}?"
    first = list(dict.fromkeys(name[0] for name in names))
    return f"; its parts are {', '.join(first[:12])}{' ...' if len(first) > 12 else ''}"
