"""Size of a model: parameters and multiply-accumulate operations for one clip, computed on the meta device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vexp.model.registry import ModelSize

if TYPE_CHECKING:
    from collections.abc import Sequence

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
