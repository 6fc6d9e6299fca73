"""A check of the 3D convolutions of a device against those of the CPU, in both memory formats.

Torch on Apple's GPUs (MPS) has returned wrong values without an error: for contiguous inputs on macOS 26.2 (pytorch
issue 197114), and for inputs in channels_last_3d before torch 2.6 (pytorch pull request 141780).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LAYOUTS = {"channels_last_3d": torch.channels_last_3d, "contiguous": torch.contiguous_format}

#: Largest error of a right kernel, relative to the largest value; a wrong one is off by about 1.
TOLERANCES = {torch.float32: 1e-3, torch.float16: 1e-2, torch.bfloat16: 3e-2}

#: (in_channels, out_channels, kernel, stride) of every convolution of tiny3d and r3d_18, padded by half the kernel.
CONVOLUTIONS = (
    *((3, 24, (3, 5, 5), (1, 2, 2)), (24, 24, (1, 3, 3), (1, 2, 2)), (24, 24, (3, 1, 1), (1, 1, 1))),
    *((24, 24, (1, 3, 3), (1, 1, 1)), (24, 24, (1, 1, 1), (1, 2, 2))),
    *((24, 48, (1, 3, 3), (1, 2, 2)), (48, 48, (3, 1, 1), (2, 1, 1)), (48, 48, (1, 3, 3), (1, 1, 1))),
    *((48, 48, (3, 1, 1), (1, 1, 1)), (24, 48, (1, 1, 1), (2, 2, 2))),
    *((48, 96, (1, 3, 3), (1, 2, 2)), (96, 96, (3, 1, 1), (2, 1, 1)), (96, 96, (1, 3, 3), (1, 1, 1))),
    *((96, 96, (3, 1, 1), (1, 1, 1)), (48, 96, (1, 1, 1), (2, 2, 2))),
    *((3, 64, (3, 7, 7), (1, 2, 2)), (64, 64, (3, 3, 3), (1, 1, 1))),
    *((64, 128, (3, 3, 3), (2, 2, 2)), (64, 128, (1, 1, 1), (2, 2, 2)), (128, 128, (3, 3, 3), (1, 1, 1))),
    *((128, 256, (3, 3, 3), (2, 2, 2)), (128, 256, (1, 1, 1), (2, 2, 2)), (256, 256, (3, 3, 3), (1, 1, 1))),
    *((256, 512, (3, 3, 3), (2, 2, 2)), (256, 512, (1, 1, 1), (2, 2, 2)), (512, 512, (3, 3, 3), (1, 1, 1))),
)
_INPUT = (2, 4, 6, 6)  # N, T, H, W


@cache
def right_layouts(device: torch.device) -> tuple[str, ...]:
    """Return the memory formats, keys of ``LAYOUTS``, in which the 3D convolutions of a device are right."""
    return tuple(name for name, error in conv3d_errors(device).items() if error <= 1)


def conv3d_errors(
    device: torch.device,
    *,
    tolerances: Mapping[torch.dtype, float] = TOLERANCES,
    convolutions: Sequence[tuple[int, int, tuple[int, ...], tuple[int, ...]]] = CONVOLUTIONS,
) -> dict[str, float]:
    """Return the largest error of outputs and gradients for each memory format, in units of the tolerance.

    The reference is float64 on the CPU. Types that the device does not support are left out: torch raises an error
    for them.
    """
    generator = torch.Generator().manual_seed(0)
    worst = dict.fromkeys(LAYOUTS, 0.0)
    for inputs, outputs, kernel, stride in convolutions:
        batch, *size = _INPUT
        # Multiples of 1/8 up to 1 are exact in every type, and their sums in float32.
        x, weight = (
            torch.randint(-8, 9, shape, generator=generator) / 8
            for shape in ((batch, inputs, *size), (outputs, inputs, *kernel))
        )
        expected = _results(x, weight, stride, torch.float64, torch.device("cpu"), torch.contiguous_format)
        for name, layout in LAYOUTS.items():
            for dtype, tolerance in tolerances.items():
                try:
                    actual = _results(x, weight, stride, dtype, device, layout)
                except (TypeError, RuntimeError):
                    if dtype is torch.float32:
                        raise
                    continue
                error = max(_relative_error(*pair) for pair in zip(actual, expected, strict=True))
                worst[name] = max(worst[name], error / tolerance)
    return worst


def force_layout(model: nn.Module, layout: torch.memory_format) -> None:
    """Convert the input of every 3D convolution of a model to a memory format.

    Layers in between, such as pooling, return contiguous tensors for inputs in channels_last_3d.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv3d):
            module.register_forward_pre_hook(lambda _, inputs: (inputs[0].contiguous(memory_format=layout),))


def _results(
    x: Tensor,
    weight: Tensor,
    stride: tuple[int, ...],
    dtype: torch.dtype,
    device: torch.device,
    layout: torch.memory_format,
) -> list[Tensor]:
    """Return the output of a convolution and its gradients, float64 on the CPU."""
    x, weight = (
        tensor.to(device, dtype).contiguous(memory_format=layout).detach().requires_grad_() for tensor in (x, weight)
    )
    padding = [size // 2 for size in weight.shape[2:]]
    output = F.conv3d(x, weight, stride=stride, padding=padding)
    output.backward(torch.ones_like(output) / 8)
    return [tensor.detach().cpu().double() for tensor in (output, x.grad, weight.grad) if tensor is not None]


def _relative_error(actual: Tensor, expected: Tensor) -> float:
    """Return the largest difference relative to the largest expected value; infinity for NaN."""
    error = float((actual - expected).abs().max() / expected.abs().max())
    return error if error == error else float("inf")
