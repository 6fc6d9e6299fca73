"""The ``amp`` group: the precision of forward and backward."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vexp.fields import Checked, option

if TYPE_CHECKING:
    import torch


@dataclass(kw_only=True, slots=True)
class Amp(Checked):
    """Automatic mixed precision (torch.amp): weights stay float32, convolutions and products run in ``dtype``."""

    dtype: str = option("fp32", "precision of the arithmetic", choices=("fp32", "bf16", "fp16"))
    loss_scale: float | None = option(None, "fixed scale of the fp16 loss; null: dynamic", gt=0)

    def __post_init__(self) -> None:
        Checked.__post_init__(self)
        if self.loss_scale is not None and self.dtype != "fp16":
            raise ValueError(f"loss_scale={self.loss_scale}: only fp16 scales the loss, dtype is {self.dtype}")

    def autocast(self, device: torch.device) -> torch.autocast:
        """The context in which a forward pass runs."""
        import torch

        dtype = torch.float16 if self.dtype == "fp16" else torch.bfloat16
        return torch.autocast(device.type, dtype, enabled=self.dtype != "fp32")

    def scaler(self, device: torch.device) -> torch.amp.GradScaler:
        """Scales the fp16 loss so that small gradients survive; disabled (a no-op) for fp32 and bf16."""
        import torch

        # loss_scale goes to ``update`` too, which holds the scale where it is
        return torch.amp.GradScaler(device.type, init_scale=self.loss_scale or 2.0**16, enabled=self.dtype == "fp16")
