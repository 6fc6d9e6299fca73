"""Models on the meta device: parameter names, shapes and layer types without memory or computation."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from vexp.model import ModelOption, build_model


def meta_model(option: str | ModelOption, num_classes: int) -> nn.Module:
    """Build the model of an option on the meta device, with frozen parameters but without values."""
    with torch.device("meta"), SkipRandomInit():
        return build_model(option, num_classes, pretrained=False)


class SkipRandomInit(TorchFunctionMode):
    """Skip random initialization, for which torch imports its compiler on the meta device (about three seconds)."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in ("normal_", "uniform_"):
            # called as a method of torch.Tensor, or by torch.nn.init with keywords
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


class FusedAttention(TorchFunctionMode):
    """Replace attention, which has no fused kernel on the meta device, by one that keeps what such a kernel keeps.

    Those are queries, keys, values and the output, but not the attention matrix. Only shapes are correct, and nothing
    can be differentiated.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.nn.functional.scaled_dot_product_attention:
            return _FusedAttention.apply(*args[:3])
        return func(*args, **(kwargs or {}))


class _FusedAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        output = query.new_empty(*query.shape[:-1], value.shape[-1])
        ctx.save_for_backward(query, key, value, output)
        return output
