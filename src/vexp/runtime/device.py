"""The device that a process computes on."""

from __future__ import annotations

import torch

from vexp.core.errors import ConfigError
from vexp.runtime.conv3d_check import right_layouts
from vexp.runtime.distributed import SINGLE_PROCESS, World

MPS_ISSUE = "pytorch issue 197114"


def pick_device(name: str, world: World = SINGLE_PROCESS) -> torch.device:
    """Return the device that ``name`` (auto, cpu, cuda, cuda:N, mps) stands for.

    ``auto`` is the first GPU that CUDA finds, or else the CPU; ``mps``, the GPU of a Mac, lacks operations that some
    models need and is used on request only. In a run of several processes each uses the GPU of its local rank.

    Raises:
        ConfigError: If this machine does not have the device, or the 3D convolutions of ``mps`` are wrong.
    """
    if name == "mps":
        return _checked_mps()
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not world.is_single_process and (name == "cuda" or (name == "auto" and count)):
        if world.local_rank >= count:
            rule = f"every process needs a GPU of its own, but torch finds {count} on this machine and this is process "
            raise ConfigError(f"{rule}{world.local_rank + 1}; lower nproc or set device=cpu", key="device", value=name)
        return torch.device("cuda", world.local_rank)
    if name == "auto":
        return torch.device("cuda" if count else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= count:
        raise ConfigError(f"torch finds {count} CUDA devices; set device=cpu or device=auto", key="device", value=name)
    return device


def synchronize(device: torch.device) -> None:
    """Wait until a device has finished its work."""
    if device.type != "cpu":
        torch.get_device_module(device).synchronize()


def _checked_mps() -> torch.device:
    device = torch.device("mps")
    if not torch.backends.mps.is_available():
        rule = "torch finds no Apple GPU: it needs a Mac with Apple silicon and a recent macOS; set device=auto"
        raise ConfigError(rule, key="device", value="mps")
    if not right_layouts(device):
        rule = (
            f"3D convolutions of this GPU have other results than those of the CPU ({MPS_ISSUE}); update macOS and "
            "torch, or set device=cpu"
        )
        raise ConfigError(rule, key="device", value="mps")
    return device
