"""The ``backend`` group: how torch runs the net; not what is computed, but how fast and how exactly."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from vexp.core.fields import ValidatedConfig, option
from vexp.core.malloc import configure_malloc

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(kw_only=True, slots=True)
class Backend(ValidatedConfig):
    """Memory layout, compilation, reduced precision of float32 and threads. Every switch is set on every run."""

    channels_last: bool | None = option(
        None, "weights and clips in memory as (N, T, H, W, C) (channels_last_3d); null: on a GPU, where clips arrive so"
    )
    compile: bool = option(False, "compile the net (torch.compile): minutes at the first step, faster ones after it")
    compile_mode: str = option(
        "default", "torch.compile's mode", choices=("default", "reduce-overhead", "max-autotune")
    )
    tf32: str = option(
        "conv",
        "float32 products on the tensor cores of an Ampere GPU or later, with 10 bits of mantissa: of convolutions "
        "(torch's own default), of all, or of none",
        choices=("none", "conv", "all"),
    )
    threads: int | None = option(None, "CPU threads of torch's kernels; null: torch's default", unit="threads", ge=1)

    def set_switches(self) -> None:
        """The process-wide ones, in both directions: jobs of a sweep may share a process."""
        import torch

        configure_malloc()
        default_threads = _default_threads()
        torch.set_num_threads(default_threads if self.threads is None else self.threads)
        torch.set_float32_matmul_precision("high" if self.tf32 == "all" else "highest")
        torch.backends.cudnn.allow_tf32 = self.tf32 != "none"

    def channels_last_on(self, device: torch.device) -> bool:
        return device.type != "cpu" if self.channels_last is None else self.channels_last

    def prepare(self, model: nn.Module, device: torch.device) -> nn.Module:
        """``model`` on its device in its memory layout, compiled where that is asked for; its state dict stays."""
        import torch

        model.to(device)
        if self.channels_last_on(device):
            layouts = {5: torch.channels_last_3d, 4: torch.channels_last}  # 4: a 2D net over frames
            for parameter in model.parameters():
                if (layout := layouts.get(parameter.ndim)) is not None:
                    parameter.data = parameter.data.contiguous(memory_format=layout)
        if self.compile:
            model.compile(mode=self.compile_mode)
        return model


@cache
def _default_threads() -> int:
    """What torch chose by itself: asked for before the first run of this process sets another number."""
    import torch

    return torch.get_num_threads()
