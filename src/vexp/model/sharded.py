"""Tensors of which each process has a part: the parameters, gradients and optimizer states of ``dist.strategy=fsdp``.

They are recognized by the methods of torch's DTensor, whose module takes seconds to import; a run without FSDP does not
import it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor
    from torch.distributed.tensor import DTensor
    from typing_extensions import TypeIs


def is_sharded(value: Any) -> TypeIs[DTensor]:
    """Return whether a value is a tensor that is distributed over the processes."""
    return hasattr(value, "full_tensor")


def local_part(tensor: Tensor | DTensor) -> Tensor:
    """Return the part that this process has, in the same memory; any other tensor as it is."""
    return tensor.to_local() if is_sharded(tensor) else tensor


def whole_tensor(tensor: Tensor | DTensor) -> Tensor:
    """Return the tensor with the parts of all processes, which must all call this; any other tensor as it is."""
    return tensor.full_tensor() if is_sharded(tensor) else tensor
