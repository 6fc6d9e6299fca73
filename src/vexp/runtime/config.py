"""The ``dist`` group: distributed training. Torch-free, as the config is read before torch is imported."""

from __future__ import annotations

import os
from dataclasses import dataclass

from vexp.core.errors import ConfigError
from vexp.core.fields import ValidatedConfig, option

_PROCESSES_PER_CORE, _MIN_PROCESSES = 8, 64


@dataclass(kw_only=True, slots=True)
class Dist(ValidatedConfig):
    """Distributed training: one run in several processes, one per GPU (or several on the CPU).

    Each process takes ``data.batch_size`` samples at a time, so a step has ``nproc`` times as many.
    """

    nproc: int = option(
        1, "Processes that share one run on this machine; under torchrun its own count.", unit="processes", ge=1
    )
    strategy: str = option(
        "ddp",
        "Weights, gradients and optimizer states: whole in each process (ddp), or sharded over the processes (fsdp).",
        choices=("ddp", "fsdp"),
    )
    backend: str | None = option(
        None, "Communication backend of the gradients; null: nccl on GPUs, gloo on the CPU.", choices=("nccl", "gloo")
    )
    timeout: float = option(1800.0, "Longest wait for the other processes.", unit="seconds", gt=0, le=10**9)
    grace: float = option(
        30.0,
        "Time for processes to end after a signal or a failure before they are killed.",
        unit="seconds",
        gt=0,
        le=10**9,
    )
    sync_bn: bool = option(False, "Batch norm over the samples of all processes (GPUs only).")
    find_unused_parameters: bool = option(
        False, "With strategy=ddp: for a model that does not use all of its parameters in every step."
    )

    def __post_init__(self) -> None:
        ValidatedConfig.__post_init__(self)
        if self.find_unused_parameters and self.strategy == "fsdp":
            raise ConfigError(
                "has no effect with strategy=fsdp; set it to false", key="find_unused_parameters", value=True
            )

    def check_machine(self) -> None:
        """Check that this machine can start ``nproc`` processes; a saved config may come from a larger one.

        Raises:
            ConfigError: If they are far more than its CPU cores.
        """
        cores = os.cpu_count() or 1
        if self.nproc > (limit := max(_MIN_PROCESSES, cores * _PROCESSES_PER_CORE)):
            rule = f"is more than the {limit} processes that this machine may start with its {cores} CPU cores"
            raise ConfigError(rule, key="dist.nproc", value=self.nproc)
