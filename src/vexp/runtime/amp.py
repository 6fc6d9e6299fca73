"""The ``amp`` group: automatic mixed precision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vexp.core.errors import ConfigError
from vexp.core.fields import ValidatedConfig, option

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(kw_only=True, slots=True)
class Amp(ValidatedConfig):
    """Automatic mixed precision (torch.amp): weights stay float32, convolutions and matrix products use ``dtype``."""

    dtype: str = option(
        "fp32", "Precision of the forward pass; weights and optimizer stay float32.", choices=("fp32", "bf16", "fp16")
    )
    loss_scale: float | None = option(None, "Constant loss scale for dtype=fp16; null: dynamic.", gt=0)

    def __post_init__(self) -> None:
        ValidatedConfig.__post_init__(self)
        if self.loss_scale is not None and self.dtype != "fp16":
            rule = f"only dtype=fp16 scales the loss, but dtype is {self.dtype}"
            raise ConfigError(rule, key="loss_scale", value=self.loss_scale)

    @property
    def torch_dtype(self) -> torch.dtype | None:
        """The type of convolutions and matrix products; None for float32."""
        import torch

        return {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[self.dtype]

    def autocast(self, device: torch.device) -> AbstractContextManager[Any]:
        """Return the context manager of a forward pass."""
        import torch

        return nullcontext() if self.torch_dtype is None else torch.autocast(device.type, self.torch_dtype)

    @contextmanager
    def backward(self, device: torch.device, model: nn.Module) -> Iterator[None]:
        """Switch oneDNN off in a backward pass for which it is wrong: padded 3D convolutions in bfloat16 on a CPU.

        Where the input is shorter than the kernel, oneDNN (torch 2.15) adds uninitialized memory to the gradient of the
        weights: values that differ from run to run, or NaN.
        """
        import torch

        convs = (module for module in model.modules() if isinstance(module, torch.nn.Conv3d))
        if self.dtype != "bf16" or device.type != "cpu" or not any(any(conv.padding) for conv in convs):
            yield
            return
        enabled = torch.backends.mkldnn.enabled
        torch.backends.mkldnn.enabled = False  # type: ignore[assignment]
        try:
            yield
        finally:
            torch.backends.mkldnn.enabled = enabled

    def slow_on(self, device: torch.device) -> str | None:
        """Return why this precision is not faster than float32 on ``device``; None if it is."""
        import torch

        if self.dtype == "fp32" or device.type not in ("cpu", "cuda"):
            return None
        if device.type == "cpu":
            return "CPUs are usually much slower with it than with fp32"
        needed, capability = {"bf16": (8, 0), "fp16": (7, 0)}[self.dtype], torch.cuda.get_device_capability(device)
        if capability >= needed:
            return None
        name = torch.cuda.get_device_name(device)
        return f"{name} has no hardware support for it: compute capability {capability}, needs {needed}"

    def scaler(self, device: torch.device) -> torch.amp.GradScaler:
        """Return the gradient scaler, which keeps small fp16 gradients from underflow; disabled for fp32 and bf16.

        Raises:
            ConfigError: If torch has none for ``device``.
        """
        import torch

        if self.dtype == "fp16" and device.type == "mps" and torch.__version__ < (2, 8):
            raise ConfigError("needs torch 2.8 on device=mps; use bf16", key="amp.dtype", value=self.dtype)
        # training passes a constant loss_scale to ``update``, too, which keeps the scale
        return torch.amp.GradScaler(device.type, init_scale=self.loss_scale or 2.0**16, enabled=self.dtype == "fp16")
