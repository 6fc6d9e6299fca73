"""The ``amp`` group: the precision of forward and backward."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vexp.core.fields import ValidatedConfig, option

if TYPE_CHECKING:
    import torch


@dataclass(kw_only=True, slots=True)
class Amp(ValidatedConfig):
    """Automatic mixed precision (torch.amp): weights stay float32, convolutions and products run in ``dtype``."""

    dtype: str = option(
        "fp32", "precision of the forward pass; weights and optimizer stay float32", choices=("fp32", "bf16", "fp16")
    )
    loss_scale: float | None = option(None, "fixed factor on the loss with dtype=fp16; null: dynamic", gt=0)

    def __post_init__(self) -> None:
        ValidatedConfig.__post_init__(self)
        if self.loss_scale is not None and self.dtype != "fp16":
            raise ValueError(f"loss_scale={self.loss_scale}: only fp16 scales the loss, dtype is {self.dtype}")

    def autocast(self, device: torch.device) -> AbstractContextManager[Any]:
        """The context in which a forward pass runs."""
        import torch

        if self.dtype == "fp32":
            return nullcontext()
        return torch.autocast(device.type, torch.float16 if self.dtype == "fp16" else torch.bfloat16)

    def slow_on(self, device: torch.device) -> str | None:
        """Why this precision is no faster on ``device``, where it is not; None where it is."""
        import torch

        if self.dtype == "fp32":
            return None
        if device.type == "cpu":
            return "CPUs are usually much slower with it than with fp32"
        if device.type == "cuda":
            needed = (8, 0) if self.dtype == "bf16" else (7, 0)
            found = torch.cuda.get_device_capability(device)
            if found < needed:
                name = torch.cuda.get_device_name(device)
                return f"{name} has no fast units for it: compute capability {found}, they came with {needed}"
        return None

    def scaler(self, device: torch.device) -> torch.amp.GradScaler:
        """Scales the fp16 loss so that small gradients survive; disabled (a no-op) for fp32 and bf16."""
        import torch

        # loss_scale goes to ``update`` too, which holds the scale where it is
        return torch.amp.GradScaler(device.type, init_scale=self.loss_scale or 2.0**16, enabled=self.dtype == "fp16")
