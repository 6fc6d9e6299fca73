"""The ``grad`` group: what happens between ``backward`` and ``optimizer.step``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vexp.fields import Checked, option

if TYPE_CHECKING:
    import torch


@dataclass(kw_only=True, slots=True)
class Clip(Checked):
    max_norm: float | None = option(None, "longest gradient; null: not clipped, inf: only measured", gt=0)
    norm_type: float = option(2.0, "p of the p-norm (inf: the largest entry)", gt=0)


@dataclass(kw_only=True, slots=True)
class Grad(Checked):
    """Clipping and accumulation (mmcv's ``optimizer_config``)."""

    clip: Clip = field(default_factory=Clip)
    accumulate: int = option(1, "batches whose gradients make one optimizer step", unit="batches", ge=1)

    def clip_norm_(self, parameters: Iterable[torch.nn.Parameter]) -> torch.Tensor | None:
        """Clip the gradients in place; their norm before clipping, a scalar on the device. None: clipping is off."""
        if self.clip.max_norm is None:
            return None  # a norm costs more than the rest of a small net's step: max_norm=inf asks for it alone
        import torch

        return torch.nn.utils.clip_grad_norm_(parameters, self.clip.max_norm, self.clip.norm_type)
