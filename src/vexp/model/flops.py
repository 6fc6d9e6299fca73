"""How large a net is: parameters, and multiply-accumulates of one clip, without running it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vexp.model import ModelOption


@dataclass(frozen=True, slots=True)
class ModelSize:
    """``macs``: multiply-accumulates of convolutions, linear layers, attention; norms and activations are free."""

    parameters: int
    macs: int


def measure(option: ModelOption, clip: Sequence[int], num_classes: int) -> ModelSize:
    """The size of a net on a clip (C, T, H, W), on the meta device: no weights are made, nothing is computed."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from vexp.model.meta import meta_model

    net, clips = meta_model(option, num_classes).eval(), torch.empty(1, *clip, device="meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(clips)
    return ModelSize(sum(parameter.numel() for parameter in net.parameters()), counter.get_total_flops() // 2)
