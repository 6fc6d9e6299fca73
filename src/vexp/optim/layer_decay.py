"""Layer indices of a transformer, for layer-wise learning rates (``optimizer.paramwise.layer_decay``)."""

from __future__ import annotations

from torch import nn

from vexp.core.errors import ConfigError
from vexp.model.repeated_blocks import transformer_blocks


def layer_indices(model: nn.Module) -> tuple[dict[str, int], int]:
    """Return the layer index of every parameter by name, and the index of the last layer.

    Layer 0 is everything registered before the first block (patch and position embeddings, class token). Layer i is the
    i-th block and what follows it before the next one (patch merging). The last layer is what follows the last block
    (norm, head). These are the layers of BEiT, VideoMAE and timm.

    Raises:
        ConfigError: If the model has no blocks with attention.
    """
    blocks = transformer_blocks(model)
    if len(blocks) < 2:
        raise ConfigError(
            f"{type(model).__name__} has no blocks with attention in an nn.ModuleList or nn.Sequential; "
            "use custom_keys",
            key="paramwise.layer_decay",
        )
    last = len(blocks) + 1
    indices: dict[str, int] = {}
    begun = 0  # blocks begun so far, in registration order
    for path, module in model.named_modules(remove_duplicate=False):
        within = next((i for i, block in enumerate(blocks, 1) if path == block or path.startswith(f"{block}.")), None)
        begun = max(begun, within or 0)
        after_all = begun == len(blocks) and within is None
        index = last if after_all else begun if within is None else within
        for leaf, _ in module.named_parameters(recurse=False, remove_duplicate=False):
            indices[f"{path}.{leaf}" if path else leaf] = index
    return indices, last
