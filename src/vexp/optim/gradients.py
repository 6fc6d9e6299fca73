"""The ``grad`` group: gradient clipping and accumulation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vexp.core.fields import ValidatedConfig, option

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(kw_only=True, slots=True)
class Clip(ValidatedConfig):
    """Gradient clipping before each optimizer step, by norm and by value."""

    max_norm: float | None = option(
        None,
        "Maximum norm of the gradient; null for no clipping, inf to log the norm without clipping.",
        gt=0,
        infinite=True,
    )
    norm_type: float = option(2.0, "p of the p-norm for max_norm (inf for the maximum norm).", gt=0, infinite=True)
    max_value: float | None = option(
        None, "Maximum absolute value of the gradient entries; null for no clipping.", gt=0, infinite=True
    )


@dataclass(kw_only=True, slots=True)
class Grad(ValidatedConfig):
    """Clipping and accumulation (mmcv's ``optimizer_config``)."""

    clip: Clip = option(Clip, "Gradient clipping before each optimizer step.")
    accumulate: int = option(
        1, "Batches whose gradients are accumulated for one optimizer step.", unit="batches", ge=1,
        see=("data.batch_size",),
    )  # fmt: skip
    detect_anomalous_params: bool = option(False, "Report parameters without a gradient.")
    max_nonfinite_steps: int = option(
        0, "Maximum number of skipped steps with a non-finite loss or gradient; one more ends the run.",
        unit="steps", ge=0,
    )  # fmt: skip

    def clip_(self, optimizer: torch.optim.Optimizer) -> torch.Tensor | None:
        """Clip the gradients of all parameter groups in place, first by value, then by norm.

        Returns:
            The norm before clipping by norm, a scalar tensor on the device. None if ``max_norm`` is null, since
            computing the norm takes longer than the rest of a small model's step.
        """
        if self.clip.max_value is None and self.clip.max_norm is None:
            return None
        from torch.nn.utils import clip_grad_norm_, clip_grad_value_

        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        if self.clip.max_value is not None:
            clip_grad_value_(parameters, self.clip.max_value)
        if self.clip.max_norm is None:
            return None
        return clip_grad_norm_(parameters, self.clip.max_norm, self.clip.norm_type)


def params_without_grad(model: nn.Module) -> list[str]:
    """Return the names of the trainable parameters without a gradient."""
    return [name for name, parameter in model.named_parameters() if parameter.requires_grad and parameter.grad is None]
