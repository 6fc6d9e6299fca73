"""The ``grad`` group: what happens between ``backward`` and ``optimizer.step``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vexp.core.fields import ValidatedConfig, option

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(kw_only=True, slots=True)
class Clip(ValidatedConfig):
    """Shortening of gradients before each optimizer step: of their norm, of single entries."""

    max_norm: float | None = option(
        None, "a gradient longer than this is shortened to it; null: not clipped, inf: only measured", gt=0
    )
    norm_type: float = option(2.0, "p of the p-norm that max_norm limits (inf: the largest entry)", gt=0)
    max_value: float | None = option(None, "largest entry of a gradient, either sign; null: not clipped", gt=0)


@dataclass(kw_only=True, slots=True)
class Grad(ValidatedConfig):
    """Clipping and accumulation (mmcv's ``optimizer_config``)."""

    clip: Clip = option(Clip, "limits of the gradient before each optimizer step: of its norm, of single entries")
    accumulate: int = option(
        1, "batches whose gradients make one optimizer step", unit="batches", ge=1, see=("data.batch_size",)
    )
    detect_anomalous_params: bool = option(False, "name the parameters that got no gradient")
    max_nonfinite_steps: int = option(
        0, "steps whose loss or gradient is not finite that a run leaves out and survives", unit="steps", ge=0
    )

    def clip_(self, optimizer: torch.optim.Optimizer) -> torch.Tensor | None:
        """Clip the gradients of all groups in place, entries first; their norm before ``max_norm`` shortened them.

        Returns:
            A scalar on the device; None where ``max_norm`` is null, as a norm costs more than the rest of a small
            model's step (``max_norm=inf`` asks for it alone).
        """
        if self.clip.max_norm is None and self.clip.max_value is None:
            return None
        from torch.nn.utils import clip_grad_norm_, clip_grad_value_

        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        if self.clip.max_value is not None:
            clip_grad_value_(parameters, self.clip.max_value)
        if self.clip.max_norm is None:
            return None
        return clip_grad_norm_(parameters, self.clip.max_norm, self.clip.norm_type)


def params_without_grad(model: nn.Module) -> list[str]:
    """Names of the parameters that are to be trained and that backward did not reach."""
    return [name for name, parameter in model.named_parameters() if parameter.requires_grad and parameter.grad is None]
