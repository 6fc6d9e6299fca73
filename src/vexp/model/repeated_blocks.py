"""The repeated blocks of a model: transformer blocks, and the residual blocks of the stages of a CNN.

Layer-wise learning rates count them, activation checkpointing recomputes them, and FSDP shards them one by one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from torch import nn

_IsLayer = Callable[[nn.Module], bool]


def repeated_blocks(model: nn.Module) -> list[str]:
    """Return the dotted paths of the transformer blocks and residual blocks, in the order of registration.

    A block is a member of an ``nn.ModuleList`` or ``nn.Sequential`` that computes attention or convolutions in modules
    of its own, and does not consist of several blocks itself, as a stage or a backbone does. No block is part of
    another one. A single attention or convolution layer is no block, nor is a CNN's only block of its class.
    """
    attention = _blocks(model, _is_attention)
    convolutional = [
        path
        for path in _blocks(model, _is_convolution)
        if not any(f"{path}.".startswith(f"{other}.") or other.startswith(f"{path}.") for other in attention)
    ]
    classes = {path: type(model.get_submodule(path)) for path in convolutional}
    counts = Counter(classes.values())
    blocks = {*attention, *(path for path in convolutional if counts[classes[path]] > 1)}
    return [path for path, _ in model.named_modules() if path in blocks]


def transformer_blocks(model: nn.Module) -> list[str]:
    """Return the dotted paths of the transformer blocks, in the order of registration.

    Those of another class than most of them, in a list of their own, belong to the head (the pooler of V-JEPA 2). If a
    model has no blocks around its attention, its attention layers in lists are returned.
    """
    blocks = _blocks(model, _is_attention) or _blocks(model, _is_attention, single_layers=True)
    if not blocks:
        return []
    classes = {path: type(model.get_submodule(path)) for path in blocks}
    (most, _), *_ = Counter(classes.values()).most_common(1)
    lists = {path.rpartition(".")[0] for path in blocks if classes[path] is most}
    return [path for path in blocks if path.rpartition(".")[0] in lists]


def _is_attention(module: nn.Module) -> bool:
    return "attention" in type(module).__name__.lower()


def _is_convolution(module: nn.Module) -> bool:
    return isinstance(module, nn.modules.conv._ConvNd)


def _blocks(module: nn.Module, is_layer: _IsLayer, path: str = "", *, single_layers: bool = False) -> list[str]:
    """Return the innermost members of lists and sequences that contain layers, outside other such members."""
    found: list[str] = []
    for name, child in module.named_children():
        if not any(map(is_layer, child.modules())):
            continue
        child_path = f"{path}.{name}".removeprefix(".")
        inner = _blocks(child, is_layer, child_path, single_layers=single_layers)
        is_member = isinstance(module, nn.ModuleList | nn.Sequential)
        is_list = isinstance(child, nn.ModuleList | nn.Sequential)
        contains_layer = single_layers or any(is_layer(part) for part in child.modules() if part is not child)
        is_block = is_member and not is_list and contains_layer and len(inner) < 2
        found += [child_path] if is_block else inner
    return found
