"""The processes of one distributed run and their collective operations; all are no-ops in a run of one process.

Rank and world size come from the environment variables that torchrun sets (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR
...); ``vexp.training.launch`` sets the same ones. Python objects and decisions are exchanged on the CPU (gloo),
gradients on the device of the model.
"""

from __future__ import annotations

import atexit
import itertools
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import distributed, nn

from vexp.core.errors import ConfigError, UserError
from vexp.model.layers import is_batch_norm
from vexp.runtime.config import Dist

#: Messages of a lost connection in torch 2.4 to 2.9: torch has no exception class for it.
_LOST_CONNECTION = re.compile(
    r"\bgloo\b|nccl|connection (closed|reset)|store.*(timeout|timed out)|broken pipe", re.IGNORECASE
)
_FAILURE_WAIT = 3.0  # seconds that a process which lost a peer waits for the peer's failure message
_FAILURE_COUNT_KEY, _FAILURE_KEY = "vexp/failures", "vexp/failed"
_path_numbers = itertools.count()  # calls of create_on_main_process


@dataclass(frozen=True, slots=True)
class World:
    """This process among the processes of its run: its ``rank``, and its ``local_rank`` on its machine."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0

    @property
    def is_main_process(self) -> bool:
        """Whether this process writes the run folder and the console output."""
        return self.rank == 0

    @property
    def is_single_process(self) -> bool:
        return self.world_size == 1

    def all_reduce_max(self, number: int) -> int:
        """Return the maximum of a number over all processes."""
        tensor = torch.tensor(int(number))
        if not self.is_single_process:
            distributed.all_reduce(tensor, distributed.ReduceOp.MAX)
        return int(tensor)

    def all_reduce_sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the sum of a tensor without gradient over all processes, on its device."""
        total = tensor.detach().clone()
        if not self.is_single_process:
            distributed.all_reduce(total)
        return total

    def all_reduce_mean(self, numbers: Sequence[float]) -> list[float]:
        """Return the mean of each number over all processes."""
        tensor = torch.tensor(numbers, dtype=torch.float64)
        distributed.all_reduce(tensor)
        return (tensor / self.world_size).tolist()

    def gather_object(self, value: Any) -> list[Any]:
        """Return the values of all processes by rank; an empty list in all but the main process."""
        values = [value] * self.world_size if self.is_main_process else []
        if not self.is_single_process:
            distributed.gather_object(value, values or None)
        return values

    def all_gather_object(self, value: Any) -> list[Any]:
        """Return the values of all processes by rank, in every process."""
        values = [value] * self.world_size
        if not self.is_single_process:
            distributed.all_gather_object(values, value)
        return values

    def broadcast_object(self, value: Any) -> Any:
        """Return the main process's value."""
        values = [value]
        if not self.is_single_process:
            distributed.broadcast_object_list(values)
        return values[0]

    def barrier(self) -> None:
        """Wait until all processes have called this."""
        if not self.is_single_process:
            distributed.barrier()

    @contextmanager
    def local_main_process_first(self) -> Iterator[None]:
        """Run the block in one process of each machine before the others, which then find its files and downloads."""
        if self.local_rank:
            self.barrier()
        yield
        if not self.local_rank:
            self.barrier()

    def sync_batch_norm_stats(self, model: nn.Module) -> None:
        """Replace the running means and variances of batch norm layers by their mean over the processes.

        It is done after every step, so that a run does not depend on when it is evaluated or saved; in float64, where
        the mean of equal numbers is exactly that number.
        """
        layers = [layer for layer in model.modules() if is_batch_norm(layer)] if self.world_size > 1 else []
        buffers = [getattr(layer, name, None) for layer in layers for name in ("running_mean", "running_var")]
        statistics = [tensor for tensor in buffers if tensor is not None]
        if not statistics:
            return
        flat = torch.cat([tensor.double() for tensor in statistics])
        distributed.all_reduce(flat)
        parts = torch.split(flat / self.world_size, [len(tensor) for tensor in statistics])
        torch._foreach_copy_(statistics, list(parts))

    def report_failure(self, text: str) -> bool:
        """Publish why this process fails; return whether it is the first one, which shows its error to the user."""
        with suppress(RuntimeError):  # the store is gone if the process that hosted it is
            if _store().add(_FAILURE_COUNT_KEY, 1) > 1:
                return False
            _store().set(_FAILURE_KEY, text)
        return True

    def peer_failure_message(self) -> str | None:
        """Return the failure message of the terminated peer; None if it left none, as a killed process does."""
        deadline = time.monotonic() + _FAILURE_WAIT
        with suppress(RuntimeError):
            while time.monotonic() < deadline:
                if _store().check([_FAILURE_KEY]):
                    return str(_store().get(_FAILURE_KEY).decode())
                time.sleep(0.1)
        return None


SINGLE_PROCESS = World()


def world_from_environment() -> World:
    """Read rank and world size from torchrun's environment variables; ``SINGLE_PROCESS`` without them."""
    world_size = int(os.environ.get("WORLD_SIZE", 1))
    if world_size == 1 or "RANK" not in os.environ:
        return SINGLE_PROCESS
    rank = int(os.environ["RANK"])
    return World(rank, world_size, int(os.environ.get("LOCAL_RANK", rank)))


@contextmanager
def process_group(options: Dist, world: World, pick_device: Callable[[], torch.device]) -> Iterator[None]:
    """Connect the processes of a run for the block; the first one that fails reports its error to the others.

    Raises:
        UserError: If not all processes join before the timeout.
        SystemExit: If the block fails here and has failed in another process before.
    """
    if world.is_single_process:
        yield
        return
    if not distributed.is_initialized():
        _connect(options, world, pick_device())
    try:
        yield
    except Exception as error:
        if not world.report_failure(f"process {world.rank}: {error}"):
            raise SystemExit(1) from error
        raise
    world.barrier()  # the main process has written all files


def _connect(options: Dist, world: World, device: torch.device) -> None:
    backend = options.backend or ("nccl" if device.type == "cuda" else "gloo")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    try:
        distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if backend == "nccl" else backend,
            store=_store(),
            rank=world.rank,
            world_size=world.world_size,
            timeout=timedelta(seconds=options.timeout),
        )
        atexit.register(destroy_process_group)
        distributed.barrier()
    except RuntimeError as error:
        first_line = str(error).partition("\n")[0]
        address = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        raise UserError(
            f"the {world.world_size} processes of the run could not connect within dist.timeout={options.timeout:g} "
            f"seconds ({first_line}); check that every machine starts its processes and can reach {address}"
        ) from error


def destroy_process_group() -> None:
    """Disconnect from the other processes."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def create_on_main_process(create: Callable[[], Path]) -> Path:
    """Call ``create`` in the main process and return its path in all; works before ``init_process_group``."""
    world = world_from_environment()
    if world.is_single_process:
        return create()
    key = f"vexp/path/{next(_path_numbers)}"  # jobs of a sweep may share the processes
    if world.is_main_process:
        _store().set(key, str(create()))
    return Path(_store().get(key).decode())


def is_peer_failure(error: BaseException) -> bool:
    """Return whether an error means that another process of the run has ended."""
    is_lost = isinstance(error, RuntimeError) and _LOST_CONNECTION.search(str(error)) is not None
    return is_lost and distributed.is_initialized()


def convert_sync_batchnorm(model: nn.Module, options: Dist, world: World, device: torch.device) -> nn.Module:
    """Replace batch norm by synchronized batch norm if ``dist.sync_bn`` is set."""
    if not options.sync_bn or world.is_single_process:
        return model
    if device.type == "cpu":
        rule = "torch has synchronized batch norm for GPUs only; set it to false"
        raise ConfigError(rule, key="dist.sync_bn", value=True)
    return nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-any-return, no-untyped-call]


@cache
def _store() -> Any:
    """Return the rendezvous key-value store. torchrun hosts it, so it outlives every process of the run."""
    from torch.distributed.rendezvous import rendezvous

    return next(rendezvous("env://"))[0]
