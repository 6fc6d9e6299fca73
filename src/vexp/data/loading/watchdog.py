"""Supervision of worker processes: samples that hang or crash a worker are identified and skipped.

A decoder may hang on a damaged file, a file server may not answer, a decoder may crash. Each worker records the sample
that it is loading, and since when, in memory shared with the main process. While the main process waits for a batch, it
checks these records; a worker that has been loading one sample for longer than ``data.sample_timeout`` is killed. Only
the kernel can end it, because a decoder written in C handles no signals. A DataLoader does not survive the loss of a
worker, so the remaining batches are loaded by a new one.

A worker can also be stopped (SIGSTOP). If no worker answers for ``WorkerMonitor.patience`` seconds, all of them are
killed and new ones load the remaining batches: no sample is to blame. A run that has received a signal to stop has less
patience, because its scheduler does not wait for long.

The exit of a worker is also detected here and only here: torch would raise from a signal handler, in the middle of
whatever the process is doing (writing a checkpoint, closing a socket).
"""

from __future__ import annotations

import errno
import logging
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from vexp.core import interrupt
from vexp.core.errors import UserError
from vexp.data.loading import torch_internals

logger = logging.getLogger(__name__)

_POLL_SECONDS = (0.05, 1.0)  # shortest and longest time between two checks
_MIN_PATIENCE = 10.0  # seconds; a worker that collates a large batch loads no sample either
_START_SECONDS = 300.0  # longest start of a worker; a spawned one imports torch
_PID, _SINCE, _EPOCH, _INDEX, _ACTIVE = range(5)  # _ACTIVE: when it started, or began or finished a sample
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
        self._cells = torch.zeros(workers, 5, dtype=torch.float64)
        self._cells.share_memory_()  # type: ignore[no-untyped-call]

    @property
    def patience(self) -> float:
        """Seconds without an answer of any worker."""
        return _MIN_PATIENCE if interrupt.stop_requested else max(self.limit, _MIN_PATIENCE)

    def attach(self, worker: int) -> None:
        """Record in this process, which is that worker, what ``loading`` is called with."""
        global _own_cell  # a process is one worker
        _own_cell = self._cells[worker]
        _own_cell[_PID], _own_cell[_ACTIVE] = os.getpid(), time.monotonic()

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

    def is_silent(self, since: float) -> bool:
        """Return whether no worker has loaded anything for ``patience`` seconds of a wait that began at ``since``.

        A stopped worker does not load the sample that it had begun.
        """
        cells = self._cells.tolist()
        patience = self.patience if all(cell[_PID] for cell in cells) else max(self.patience, _START_SECONDS)
        last = max([since, *(cell[_ACTIVE] for cell in cells)])
        is_loading = any(not _is_stopped(sample.pid) for sample in self.in_progress())
        return not is_loading and time.monotonic() - last > patience

    def overdue(self) -> list[InProgress]:
        """Return the samples that have been loaded for longer than ``limit``, without those of stopped workers."""
        return [row for row in self.in_progress() if row.seconds > self.limit and not _is_stopped(row.pid)]

    def poll_seconds(self) -> float:
        """Return the ``timeout`` of the monitored DataLoader; 0 (none) without a limit: torch notices exits itself."""
        shortest, longest = _POLL_SECONDS
        return 0 if math.isinf(self.limit) else min(longest, max(shortest, self.limit / 2))

    def stop_workers(self, iterator: Any, lost: Sequence[InProgress] = ()) -> None:
        """Kill the workers of the ``lost`` samples, and make sure that all others of the same loader exit."""
        workers = torch_internals.worker_processes(iterator)
        for process in workers:
            if process.pid in {sample.pid for sample in lost}:
                process.kill()
        torch_internals.shut_down(iterator)
        for process in workers:
            if process.is_alive():
                process.kill()  # a stopped process ends by no other signal
        self._cells.zero_()


def _is_stopped(pid: int) -> bool:
    """Whether a process is stopped by a signal; only Linux reports it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "T"
    except OSError:
        return False


_own_cell: torch.Tensor | None = None  # the record of this process if it is a worker


@contextmanager
def loading(epoch: int, index: int) -> Iterator[None]:
    """Record for the duration of the block that this process is loading a sample; does nothing outside of a worker."""
    cell = _own_cell
    if cell is None:
        yield
        return
    cell[_PID], cell[_EPOCH], cell[_INDEX] = os.getpid(), epoch, index
    cell[_SINCE] = cell[_ACTIVE] = time.monotonic()  # the same clock in all processes of a machine
    try:
        yield
    finally:
        cell[_SINCE], cell[_ACTIVE] = 0, time.monotonic()


class _LostWorkersError(Exception):
    """Workers hang or have crashed on ``samples``; without samples, no worker answers."""

    def __init__(self, samples: Sequence[InProgress]) -> None:
        super().__init__()
        self.samples = samples


class _Guard:
    """Kills workers while this process waits for one of them in a call that has no time limit.

    torch receives the memory of a batch in a handshake with its worker, in which a stopped worker never answers.
    Without ``data.sample_timeout``, the wait for a batch has no limit either; then workers that load are not killed.
    """

    def __init__(self, workers: Sequence[BaseProcess], monitor: WorkerMonitor) -> None:
        """Kill the ``workers`` if a ``with`` block of this object takes longer than the monitor's patience."""
        self.has_killed = False
        self._workers = workers
        self._monitor = monitor
        self._call: object = None  # the current ``with`` block
        self._closed = threading.Event()
        threading.Thread(target=self._watch, name="worker guard", daemon=True).start()

    def __enter__(self) -> None:
        self._call = object()

    def __exit__(self, *_: object) -> None:
        self._call = None

    def close(self) -> None:
        """End the supervision."""
        self._closed.set()

    def kill_workers(self) -> None:
        """Kill all workers."""
        self.has_killed = True
        for process in self._workers:
            process.kill()

    def _watch(self) -> None:
        period = min(1.0, self._monitor.patience / 4)
        call, waited = self._call, 0.0  # waited is no difference of times: this process may itself have been stopped
        while waited <= self._monitor.patience or self._may_be_loading():
            if self._closed.wait(period):
                return
            waited = waited + period if call is not None and call is self._call else 0.0
            call = self._call
        self.kill_workers()

    def _may_be_loading(self) -> bool:
        return math.isinf(self._monitor.limit) and not self._monitor.is_silent(0)


def supervised(
    loader: DataLoader[Any],
    monitor: WorkerMonitor,
    on_loss: Callable[[InProgress], None],
    start: Callable[[DataLoader[Any]], Iterator[Any]] = iter,
) -> Iterator[Any]:
    """Iterate over a loader, continuing after samples that end their worker; an exception stops all workers.

    The workers record their samples in ``monitor``. ``on_loss`` is called with each sample that ended its worker; it
    marks the sample in the data set, so that it is not loaded again, or raises. ``start`` starts an iteration.

    Raises:
        UserError: If the workers do not answer, and the new ones that replaced them do not answer either.
    """
    batches: Any = loader.batch_sampler
    lost: Sequence[InProgress]
    done, rest, is_answering = 0, loader, True
    while True:
        iterator = _start(rest, monitor, start)
        guard = _Guard(torch_internals.worker_processes(iterator), monitor)
        keeps_workers, lost = False, []
        try:
            while True:
                item = _next(iterator, monitor, guard)
                done, is_answering = done + 1, True
                keeps_workers = rest.persistent_workers  # the caller may leave at any item
                yield item
                keeps_workers = False
        except StopIteration:
            keeps_workers = rest.persistent_workers
            return
        except _LostWorkersError as error:
            lost = error.samples
        finally:
            guard.close()
            if not keeps_workers:
                # torch raises an error of a worker in a reference cycle with the frames that hold the iterator. The
                # garbage collector closes its queues before its destructor runs, which then cannot stop the workers.
                monitor.stop_workers(iterator, lost)
                torch_internals.forget_iterator(loader)
        del iterator
        if not lost:
            _report_silence(monitor, again=not is_answering)
            is_answering = False
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


def _start(
    loader: DataLoader[Any], monitor: WorkerMonitor, start: Callable[[DataLoader[Any]], Iterator[Any]]
) -> Iterator[Any]:
    """Start an iteration; persistent workers that do not answer are replaced."""
    kept = torch_internals.kept_iterator(loader)
    try:
        return start(loader)
    except RuntimeError as error:
        if kept is None or not _is_timeout(error):
            raise
    for process in torch_internals.worker_processes(kept):
        process.kill()
    monitor.stop_workers(kept)
    torch_internals.forget_iterator(loader)
    return start(loader)


def _report_silence(monitor: WorkerMonitor, *, again: bool) -> None:
    message = f"no data worker has answered for {monitor.patience:g} seconds, although none was loading a sample"
    if again:
        raise UserError(
            f"{message}; new workers did not answer either. Set data.num_workers=0, or raise data.sample_timeout if "
            "the machine is slow"
        )
    logger.warning("%s; they were killed, and new workers load the same batches", message)


def _next(iterator: Any, monitor: WorkerMonitor, guard: _Guard) -> Any:
    """Return the next item of a loader.

    Raises:
        _LostWorkersError: If a sample has hung or crashed its worker, or no worker answers.
        StopIteration: If there are no more items.
    """
    start = time.monotonic()
    while True:
        try:
            with guard:
                return next(iterator)
        except (RuntimeError, OSError, EOFError) as error:  # a worker may also die while it sends a batch
            if guard.has_killed:
                raise _LostWorkersError([]) from error
            if _is_timeout(error):
                lost = monitor.overdue()
                if not lost and not monitor.is_silent(start):
                    continue
                if not lost:
                    guard.kill_workers()
                raise _LostWorkersError(lost) from error
            exited = _exited(torch_internals.worker_processes(iterator))
            if lost := monitor.crashed(exited):
                raise _LostWorkersError(lost) from error
            if any(process.exitcode == errno.EMFILE for process in exited):  # see exit_without_files
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE)) from error
            if exited:
                raise RuntimeError(_exit_message(exited[0])) from error
            raise


def _is_timeout(error: Exception) -> bool:
    return str(error).startswith("DataLoader timed out")  # torch's own message, not that of a sample


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
