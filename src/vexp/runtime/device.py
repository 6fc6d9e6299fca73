"""The device that a process computes on."""

from __future__ import annotations

import torch

from vexp.core.errors import ConfigError
from vexp.runtime.distributed import SINGLE_PROCESS, World


def pick_device(name: str, world: World = SINGLE_PROCESS) -> torch.device:
    """Return the device that ``name`` (auto, cpu, cuda, cuda:N) stands for.

    ``auto`` is the first GPU, or the CPU if there is none. In a run of several processes each uses the GPU of its local
    rank.
    """
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
