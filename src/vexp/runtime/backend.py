"""The ``backend`` group: memory layout, compilation, float32 precision and threads of torch."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from vexp.core.errors import ConfigError
from vexp.core.fields import ValidatedConfig, option
from vexp.core.malloc import configure_malloc

if TYPE_CHECKING:
    import torch
    from torch import nn

logger = logging.getLogger(__name__)


def _activation_checkpointing_rule(value: Any) -> str | None:
    is_list = isinstance(value, list) and all(isinstance(pattern, str) and pattern.strip() for pattern in value)
    return None if isinstance(value, bool) or is_list else "must be true, false or a list of module paths"


@dataclass(kw_only=True, slots=True)
class Backend(ValidatedConfig):
    """Memory layout, compilation, recomputation, float32 precision and threads. Every switch is set on every run."""

    channels_last: bool | None = option(
        None, "Memory format channels_last_3d for weights and clips; null: on GPUs only."
    )
    compile: bool = option(
        False, "Compile the model (torch.compile): the first step takes minutes, later ones are faster."
    )
    compile_mode: str = option(
        "default", "Mode of torch.compile.", choices=("default", "reduce-overhead", "max-autotune")
    )
    tf32: str = option(
        "conv",
        "TensorFloat-32 (10 bits of mantissa) on GPUs from Ampere on: for convolutions (torch's default), for "
        "convolutions and matrix products, or for none.",
        choices=("none", "conv", "all"),
    )
    activation_checkpointing: Any = option(
        False,
        "Compute the blocks of the model again in the backward pass, instead of keeping their activations: less "
        "memory, more time; or the modules to do so, by dotted path with shell-style patterns.",
        accepts="bool or list of str", check=_activation_checkpointing_rule,
    )  # fmt: skip
    threads: int | None = option(
        None, "CPU threads of torch's kernels; null: torch's default.", unit="threads", ge=1, le=4096
    )

    def set_switches(self) -> None:
        """Set the process-wide switches, in both directions: jobs of a sweep may share a process."""
        import torch

        configure_malloc()
        default_threads = _default_threads()
        torch.set_num_threads(default_threads if self.threads is None else self.threads)
        torch.set_float32_matmul_precision("high" if self.tf32 == "all" else "highest")
        torch.backends.cudnn.allow_tf32 = self.tf32 != "none"

    def channels_last_on(self, device: torch.device) -> bool:
        """Return whether weights and clips use the channels-last memory format on ``device``.

        Raises:
            ConfigError: If 3D convolutions of the device are wrong in the format that was chosen.
        """
        if device.type != "mps":
            return device.type != "cpu" if self.channels_last is None else self.channels_last
        from vexp.runtime.conv3d_check import right_layouts

        right = right_layouts(device)
        default = "channels_last_3d" in right
        if self.channels_last not in (None, default) and len(right) == 1:
            rule = "3D convolutions of this GPU have wrong results in that format (pytorch issue 197114); omit it"
            raise ConfigError(rule, key="backend.channels_last", value=self.channels_last)
        return default if self.channels_last is None else self.channels_last

    def prepare(self, model: nn.Module, device: torch.device) -> nn.Module:
        """Move ``model`` to ``device`` and its memory format; set up activation checkpointing and compilation.

        Raises:
            ConfigError: If the model has no modules for ``activation_checkpointing``.
        """
        import torch

        from vexp.runtime.conv3d_check import LAYOUTS, force_layout, right_layouts

        model.to(device)
        if self.channels_last_on(device):
            layouts = {5: torch.channels_last_3d, 4: torch.channels_last}  # 4: a 2D model applied to frames
            for parameter in model.parameters():
                if (layout := layouts.get(parameter.ndim)) is not None:
                    parameter.data = parameter.data.contiguous(memory_format=layout)
        if device.type == "mps" and len(right := right_layouts(device)) == 1:
            logger.warning(
                f"3D convolutions of this GPU are right in the memory format {right[0]} only (pytorch issue 197114): "
                "every input is converted to it"
            )
            force_layout(model, LAYOUTS[right[0]])
        if self.activation_checkpointing:
            from vexp.runtime.activation_checkpointing import checkpoint_activations, describe_checkpointed

            paths = checkpoint_activations(model, self.activation_checkpointing)
            logger.info(f"activation checkpointing: {describe_checkpointed(paths)}")
        if self.compile:
            model.compile(mode=self.compile_mode)
        return model


@cache
def _default_threads() -> int:
    """Return torch's own number of threads; cached before the first run of this process changes it."""
    import torch

    return torch.get_num_threads()
