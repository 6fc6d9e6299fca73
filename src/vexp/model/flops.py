"""Size of a model, computed on the meta device: parameters, operations for one clip, and memory of training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vexp.model.localizers import Localizer
from vexp.model.registry import ModelSize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn

    from vexp.model import ModelOption


def _model_and_inputs(option: ModelOption, clip: Sequence[int], num_classes: int) -> tuple[nn.Module, Sequence[Tensor]]:
    """Return a model and its inputs for one clip, (C, T, H, W), or features, (C, T), on the meta device."""
    import torch

    from vexp.model.meta import meta_model

    model = meta_model(option, num_classes).to("meta")  # buffers, too
    clips = torch.empty(1, *clip, device="meta")
    if isinstance(option, Localizer):
        return model, option.inputs(clips, torch.ones(1, clip[1], dtype=torch.bool, device="meta"))
    return model, (clips,)


def measure(option: ModelOption, clip: Sequence[int], num_classes: int) -> ModelSize:
    """Return the size of a model for one clip, (C, T, H, W), or features, (C, T), without computing anything."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    model, inputs = _model_and_inputs(option, clip, num_classes)
    model.eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(*inputs)
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
    operations: int = counter.get_total_flops()
    return operations


def activation_bytes(option: ModelOption, clip: Sequence[int], num_classes: int) -> int:
    """Return the memory of the tensors that the forward pass of one clip, or features, keeps for backward, in bytes.

    In float32, and without tensors that only exist during the pass. Attention is counted as torch's fused kernels
    compute it, which do not keep the attention matrix.
    """
    import torch

    from vexp.model.meta import FusedAttention

    model, inputs = _model_and_inputs(option, clip, num_classes)
    model.train()
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    owned = {tensor.untyped_storage()._cdata for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, torch.Tensor] = {}  # by storage: several operations may keep the same tensor

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if (storage := tensor.untyped_storage()._cdata) not in owned:
            kept[storage] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), FusedAttention():
        output = model(*inputs)
    del output
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
