"""Supervision of worker processes: samples that hang or crash a worker are identified and skipped.

A decoder may hang on a damaged file, a file server may not answer, a decoder may crash. Each worker records the sample
that it is loading, and since when, in memory shared with the main process. While the main process waits for a batch, it
checks these records; a worker that has been loading one sample for longer than ``data.sample_timeout`` is killed. Only
the kernel can end it, because a decoder written in C handles no signals. A DataLoader does not survive the loss of a
worker, so the remaining batches are loaded by a new one.

The exit of a worker is also detected here and only here: torch would raise from a signal handler, in the middle of
whatever the process is doing (writing a checkpoint, closing a socket).
"""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from multiprocessing.process import BaseProcess
from typing import Any

import torch
from torch.utils.data import DataLoader

from vexp.data.loading import torch_internals

_POLL_SECONDS = 1.0  # longest time between two checks
_PID, _SINCE, _EPOCH, _INDEX = range(4)
#: Signals of a decoder's crash. Workers that die of SIGKILL or SIGBUS have run out of memory.
_CRASHES = [getattr(signal, name) for name in ("SIGSEGV", "SIGABRT", "SIGFPE", "SIGILL") if hasattr(signal, name)]


@dataclass(frozen=True, slots=True)
class InProgress:
    """Sample ``index`` of an epoch, which worker ``pid`` has been loading for ``seconds``.

    ``crash`` is the name of the signal that ended the worker; empty if it is running.
    """

    pid: int
    seconds: float
    epoch: int
    index: int
    crash: str = ""


class WorkerMonitor:
    """Record of the sample that each worker of a loader is loading, in shared memory."""

    def __init__(self, workers: int, limit: float | None) -> None:
        """Create the record for a number of workers; loading one sample may take ``limit`` seconds (None: no limit)."""
        self.limit = math.inf if limit is None else limit
        self._cells = torch.zeros(workers, 4, dtype=torch.float64)
        self._cells.share_memory_()  # type: ignore[no-untyped-call]

    def attach(self, worker: int) -> None:
        """Record in this process, which is that worker, what ``loading`` is called with."""
        global _own_cell  # a process is one worker
        _own_cell = self._cells[worker]

    def in_progress(self) -> list[InProgress]:
        """Return the samples that are being loaded."""
        now = time.monotonic()
        return [
            InProgress(int(cell[_PID]), now - cell[_SINCE], int(cell[_EPOCH]), int(cell[_INDEX]))
            for cell in self._cells.tolist()
            if cell[_SINCE]
        ]

    def crashed(self, exited: Sequence[BaseProcess]) -> list[InProgress]:
        """Return the samples on which one of the ``exited`` workers crashed."""
        codes = {process.pid: -(process.exitcode or 0) for process in exited}
        return [
            replace(sample, crash=signal.Signals(codes[sample.pid]).name)
            for sample in self.in_progress()
            if codes.get(sample.pid) in _CRASHES
        ]

    def poll_seconds(self) -> float:
        """Return the ``timeout`` of the monitored DataLoader; 0 (none) without a limit: torch notices exits itself."""
        return 0 if math.isinf(self.limit) else min(_POLL_SECONDS, self.limit / 2)

    def stop_workers(self, iterator: Any, lost: Sequence[InProgress] = ()) -> None:
        """Kill the workers of the ``lost`` samples, and make sure that all others of the same loader exit."""
        pids = {int(pid) for pid in self._cells[:, _PID].tolist()}
        for process in torch_internals.worker_processes(iterator):
            if process.pid in {sample.pid for sample in lost}:
                process.kill()
        torch_internals.shut_down(iterator)
        for child in multiprocessing.active_children():
            if child.pid in pids:
                child.kill()
        self._cells.zero_()


_own_cell: torch.Tensor | None = None  # the record of this process if it is a worker


@contextmanager
def loading(epoch: int, index: int) -> Iterator[None]:
    """Record for the duration of the block that this process is loading a sample; does nothing outside of a worker."""
    cell = _own_cell
    if cell is None:
        yield
        return
    cell[_PID], cell[_EPOCH], cell[_INDEX] = os.getpid(), epoch, index
    cell[_SINCE] = time.monotonic()  # the same clock in all processes of a machine
    try:
        yield
    finally:
        cell[_SINCE] = 0


def supervised(
    loader: DataLoader[Any],
    monitor: WorkerMonitor,
    on_loss: Callable[[InProgress], None],
    start: Callable[[DataLoader[Any]], Iterator[Any]] = iter,
) -> Iterator[Any]:
    """Iterate over a loader, continuing after samples that end their worker; an exception stops all workers.

    The workers record their samples in ``monitor``. ``on_loss`` is called with each sample that ended its worker; it
    marks the sample in the data set, so that it is not loaded again, or raises. ``start`` starts an iteration.
    """
    batches: Any = loader.batch_sampler
    done, rest = 0, loader
    while True:
        iterator = start(rest)
        lost: list[InProgress] = []
        while not lost:
            try:
                item, lost = _next(iterator, monitor)
            except StopIteration:
                return
            except Exception:
                # torch raises an error of a worker in a reference cycle with the frames that hold the iterator. The
                # garbage collector closes its queues before its destructor runs, which then cannot stop the workers.
                monitor.stop_workers(iterator)
                torch_internals.forget_iterator(loader)
                raise
            if not lost:
                done += 1
                yield item
        monitor.stop_workers(iterator, lost)
        del iterator
        torch_internals.forget_iterator(loader)
        for sample in lost:
            on_loss(sample)
        rest = DataLoader(
            loader.dataset,
            batch_sampler=islice(batches, done, None),
            num_workers=loader.num_workers,
            pin_memory=loader.pin_memory,
            collate_fn=loader.collate_fn,
            worker_init_fn=loader.worker_init_fn,
            generator=loader.generator,
            timeout=loader.timeout,
            multiprocessing_context=loader.multiprocessing_context,
        )


def _next(iterator: Any, monitor: WorkerMonitor) -> tuple[Any, list[InProgress]]:
    """Return the next item of a loader, or the samples that keep it from being loaded."""
    start = time.monotonic()
    while True:
        try:
            return next(iterator), []
        except (RuntimeError, OSError, EOFError) as error:  # a worker may also die while it sends a batch
            timed_out = str(error).startswith("DataLoader timed out")  # torch's own message, not that of a sample
            exited = [] if timed_out else _exited(torch_internals.worker_processes(iterator))
            if timed_out:
                lost = [sample for sample in monitor.in_progress() if sample.seconds > monitor.limit]
            else:
                lost = monitor.crashed(exited)
            if lost:
                return None, lost
            if exited:
                raise RuntimeError(_exit_message(exited[0])) from error
            stuck = not monitor.in_progress() and time.monotonic() - start > monitor.limit
            if not timed_out or stuck:  # stuck: no worker is loading anything
                raise


def _exited(workers: Sequence[BaseProcess]) -> list[BaseProcess]:
    """Return the workers that have failed. Their pipes close some time before their exit status is available."""
    for _ in range(20):
        if exited := [process for process in workers if process.exitcode]:
            return exited
        time.sleep(0.05)
    return []


def _exit_message(process: BaseProcess) -> str:
    """Describe the exit of a worker in the same words as torch."""
    code = process.exitcode or 0
    how = f"is killed by signal: {signal.strsignal(-code)}" if code < 0 else f"exited with status {code}"
    return f"DataLoader worker (pid {process.pid}) {how}"
