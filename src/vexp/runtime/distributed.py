"""The processes that share one run, and what they tell each other. A run of one process asks nobody.

Who they are is said by the environment variables that torchrun sets (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR ...);
``vexp.training.launch`` starts them so, too. What all must decide alike goes over the CPU (gloo); gradients go where the
net is.
"""

from __future__ import annotations

import atexit
import inspect
import itertools
import os
import re
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import distributed, nn

from vexp.config.schema import Dist
from vexp.core.errors import UserError
from vexp.model.layers import is_batch_norm

_LOST = re.compile(r"\bgloo\b|nccl|connection (closed|reset)|store.*(timeout|timed out)|broken pipe", re.IGNORECASE)
_WORDS_OF_OTHERS = 3.0  # seconds: how long a process that lost another waits to hear why
_FAILURES, _FAILED = "vexp/failures", "vexp/failed"
_paths = itertools.count()  # calls of made_by_first


@dataclass(frozen=True, slots=True)
class World:
    """This process among those of its run: its ``rank`` of ``size``, ``local_rank`` on its machine."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def first(self) -> bool:
        """Whether it writes the run folder and talks to the user."""
        return self.rank == 0

    @property
    def alone(self) -> bool:
        return self.size == 1

    def largest(self, *numbers: int) -> list[int]:
        """The largest of each number over all processes."""
        if self.alone:
            return list(numbers)
        tensor = torch.tensor(numbers)
        distributed.all_reduce(tensor, distributed.ReduceOp.MAX)
        return tensor.tolist()

    def mean(self, numbers: Sequence[float]) -> list[float]:
        """The mean of each number over all processes."""
        tensor = torch.tensor(numbers, dtype=torch.float64)
        distributed.all_reduce(tensor)
        return (tensor / self.size).tolist()

    def gather(self, value: Any) -> list[Any]:
        """To the first process the values of all, by rank; to the others nothing."""
        if self.alone:
            return [value]
        values: list[Any] = [None] * self.size
        distributed.gather_object(value, values if self.first else None)
        return values if self.first else []

    def all_gather_object(self, value: Any) -> list[Any]:
        """To every process the values of all, by rank."""
        if self.alone:
            return [value]
        values: list[Any] = [None] * self.size
        distributed.all_gather_object(values, value)
        return values

    def broadcast_object(self, value: Any) -> Any:
        """What the first process has."""
        if self.alone:
            return value
        values = [value]
        distributed.broadcast_object_list(values)
        return values[0]

    def barrier(self) -> None:
        """Wait until all are here."""
        if not self.alone:
            distributed.barrier()

    @contextmanager
    def local_main_process_first(self) -> Iterator[None]:
        """One process of each machine goes ahead: what it makes (data, a download) the others find made."""
        if self.local_rank:
            self.barrier()
        yield
        if not self.local_rank:
            self.barrier()

    def sync_batch_norm_stats(self, model: nn.Module) -> None:
        """Give all batch norm layers the mean over the processes of their running means and variances.

        After every step, so that a run does not depend on when it is evaluated or saved. In float64: the mean of equal
        numbers is that number.
        """
        if self.alone:
            return
        layers = [layer for layer in model.modules() if is_batch_norm(layer)]
        found = [getattr(layer, name, None) for layer in layers for name in ("running_mean", "running_var")]
        statistics = [tensor for tensor in found if tensor is not None]
        if not statistics:
            return
        flat = torch.cat([tensor.double() for tensor in statistics])
        distributed.all_reduce(flat)
        parts = torch.split(flat / self.size, [len(tensor) for tensor in statistics])
        torch._foreach_copy_(statistics, list(parts))

    def report_failure(self, text: str) -> bool:
        """Say why this process ends; whether it is the first to say so, and hence the one to tell the user."""
        with suppress(RuntimeError):  # the store is gone with the process that kept it
            if _store().add(_FAILURES, 1) > 1:
                return False
            _store().set(_FAILED, text)
        return True

    def peer_failure_message(self) -> str | None:
        """The words of the process whose end this one has met; None where it had none, as a killed one."""
        deadline = time.monotonic() + _WORDS_OF_OTHERS
        with suppress(RuntimeError):
            while time.monotonic() < deadline:
                if _store().check([_FAILED]):
                    return str(_store().get(_FAILED).decode())
                time.sleep(0.1)
        return None


SINGLE_PROCESS = World()


def world_from_environment() -> World:
    """As the environment says; the only one where it says nothing."""
    size = int(os.environ.get("WORLD_SIZE", 1))
    if size == 1 or "RANK" not in os.environ:
        return SINGLE_PROCESS
    rank = int(os.environ["RANK"])
    return World(rank, size, int(os.environ.get("LOCAL_RANK", rank)))


def init_process_group(options: Dist, device: torch.device) -> World:
    """Meet the other processes of the run.

    Raises:
        UserError: not all of them came in time.
    """
    processes = world_from_environment()
    if processes.alone or distributed.is_initialized():
        return processes
    backend = options.backend or ("nccl" if device.type == "cuda" else "gloo")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    timeout = timedelta(seconds=options.timeout)
    try:
        distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if backend == "nccl" else backend,
            store=_store(), rank=processes.rank, world_size=processes.size, timeout=timeout,
        )  # fmt: skip
        atexit.register(destroy_process_group)
        distributed.barrier()
    except RuntimeError as error:
        first_line = str(error).partition("\n")[0]
        raise UserError(
            f"the {processes.size} processes of the run have not met ({first_line}); does each machine run as many as "
            f"it was told to, and reach {os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}? "
            f"dist.timeout={options.timeout:g} seconds is how long they wait for each other"
        ) from error
    return processes


def destroy_process_group() -> None:
    """Part from the others, when nothing more is to be run."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def create_on_main_process(make: Callable[[], Path]) -> Path:
    """A path that one process makes and all of the run get; before they have met."""
    processes = world_from_environment()
    if processes.alone:
        return make()
    key = f"vexp/path/{next(_paths)}"  # jobs of a sweep may share the processes
    if processes.first:
        _store().set(key, str(make()))
    return Path(_store().get(key).decode())


def is_peer_failure(error: BaseException) -> bool:
    """Whether an error is another process's end as seen from here."""
    return isinstance(error, RuntimeError) and distributed.is_initialized() and bool(_LOST.search(str(error)))


def wrap_ddp(model: nn.Module, options: Dist, device: torch.device) -> nn.Module:
    """``model`` in a wrapper that averages its gradients over the processes while they are computed."""
    wrapper: Any = nn.parallel.DistributedDataParallel
    newer = "forward_sync_buffers" in inspect.signature(wrapper).parameters  # torch 2.15's name
    # Of convolutions of 1 x 1 x 1, whose strides mean nothing.
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    made: nn.Module = wrapper(
        model,
        device_ids=[device] if device.type == "cuda" else None,
        gradient_as_bucket_view=True,
        find_unused_parameters=options.find_unused_parameters,
        # share_running_statistics does better: no process's part of a batch is lost
        **{"forward_sync_buffers" if newer else "broadcast_buffers": False},
    )
    return made


def convert_sync_batchnorm(model: nn.Module, options: Dist, processes: World, device: torch.device) -> nn.Module:
    """``model`` with batch norm over the batches of all processes, where ``dist.sync_bn`` asks for it.

    Raises:
        UserError: there is no GPU: torch has it for GPUs alone.
    """
    if not options.sync_bn or processes.alone:
        return model
    if device.type == "cpu":
        raise UserError("dist.sync_bn=true: torch has synchronised batch norm for GPUs alone; set it to false")
    return nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-any-return, no-untyped-call]


@cache
def _store() -> Any:
    """Where the processes leave words for each other. torchrun keeps it: it outlives any of them."""
    from torch.distributed.rendezvous import rendezvous

    return next(rendezvous("env://"))[0]
