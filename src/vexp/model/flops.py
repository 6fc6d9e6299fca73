"""Size of a model, computed on the meta device: parameters, operations for one clip, and memory of training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vexp.model.registry import ModelSize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from vexp.model import ModelOption


def measure(option: ModelOption, clip: Sequence[int], num_classes: int) -> ModelSize:
    """Return the size of a model for one clip of shape (C, T, H, W) without allocating or computing anything."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from vexp.model.meta import meta_model

    model, clips = meta_model(option, num_classes).eval(), torch.empty(1, *clip, device="meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(clips)
    return ModelSize(sum(parameter.numel() for parameter in model.parameters()), counter.get_total_flops() // 2)


def training_flops(model: nn.Module, inputs: Sequence[Any]) -> int:
    """Return the floating-point operations of forward and backward of a model on the meta device.

    Twice the multiply-accumulates of convolutions, linear layers and attention; of parameters that are not trained, the
    gradient is not computed. Only the shapes and types of ``inputs``, the arguments of the model, matter.
    """
    import torch
    from torch.utils._pytree import tree_leaves, tree_map_only
    from torch.utils.flop_counter import FlopCounterMode

    inputs = tree_map_only(torch.Tensor, lambda tensor: torch.empty_like(tensor, device="meta"), tuple(inputs))
    with FlopCounterMode(display=False) as counter:
        outputs = [output for output in tree_leaves(model(*inputs)) if isinstance(output, torch.Tensor)]
        torch.autograd.backward([output.sum() for output in outputs if output.requires_grad])
    return counter.get_total_flops()


def activation_bytes(option: ModelOption, clip: Sequence[int], num_classes: int) -> int:
    """Return the memory of the tensors that the forward pass of one clip (C, T, H, W) keeps for backward, in bytes.

    In float32, and without tensors that only exist during the pass. Attention is counted as torch's fused kernels
    compute it, which do not keep the attention matrix.
    """
    import torch

    from vexp.model.meta import FusedAttention, meta_model

    model = meta_model(option, num_classes).train()
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    owned = {tensor.untyped_storage()._cdata for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, torch.Tensor] = {}  # by storage: several operations may keep the same tensor

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if (storage := tensor.untyped_storage()._cdata) not in owned:
            kept[storage] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), FusedAttention():
        output = model(torch.empty(1, *clip, device="meta"))
    del output
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
