"""The layers of a transformer, counted for layer-wise learning rates (``optimizer.paramwise.layer_decay``)."""

from __future__ import annotations

from torch import nn


def layer_indices(model: nn.Module) -> tuple[dict[str, int], int]:
    """The layer of every parameter, by name, and the number of the last layer.

    Layer 0 is what is registered before the first block (patches, positions, class token), layer i the i-th block with
    what follows it before the next (a merging of patches), the last layer, one more than there are blocks, what follows
    the last block (norm, head).

    Raises:
        ValueError: the model has no blocks with attention.
    """
    blocks = _attention_blocks(model)
    if len(blocks) < 2:
        raise ValueError(
            f"paramwise.layer_decay: {type(model).__name__} is no transformer, it has no blocks with attention in an "
            "nn.ModuleList or nn.Sequential; custom_keys can give its parts rates of their own"
        )
    last = len(blocks) + 1
    numbers: dict[str, int] = {}
    begun = 0  # blocks begun so far, in the order of registration
    for path, module in model.named_modules(remove_duplicate=False):
        within = next((i for i, block in enumerate(blocks, 1) if path == block or path.startswith(f"{block}.")), None)
        begun = max(begun, within or 0)
        after_all = begun == len(blocks) and within is None
        number = last if after_all else begun if within is None else within
        for leaf, _ in module.named_parameters(recurse=False, remove_duplicate=False):
            numbers[f"{path}.{leaf}" if path else leaf] = number
    return numbers, last


def _attention_blocks(model: nn.Module) -> list[str]:
    """Paths of the outermost modules that have attention and stand in a plain list or sequence of modules."""
    blocks: list[str] = []
    for path, module in model.named_modules(remove_duplicate=False):
        parent = model.get_submodule(path.rpartition(".")[0])
        in_list = bool(path) and type(parent) in (nn.ModuleList, nn.Sequential)
        inside = any(path.startswith(f"{block}.") for block in blocks)
        if in_list and not inside and type(module) not in (nn.ModuleList, nn.Sequential) and _has_attention(module):
            blocks.append(path)
    return blocks


def _has_attention(module: nn.Module) -> bool:
    return any("attention" in type(part).__name__.lower() for part in module.modules())
