"""Samples that end their worker: a decoder that hangs on a damaged file, a file server that does not answer, a crash.

Each worker writes down what it is at and since when, in memory that it shares with the main process. Where that waits
for a batch, it looks: a worker that has been at one sample for longer than ``data.sample_timeout`` is killed. Only the
kernel can end it (a decoder in C hears no signal), and a DataLoader does not survive it, so the rest of the order goes
to a new one.

That a worker has ended is noticed there, too, and nowhere else: torch would raise it from a signal handler, in the
middle of whatever the process is at (it writes a checkpoint, it closes a socket).
"""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import torch
from torch.utils.data import DataLoader, Sampler, get_worker_info

_LOOK = 1.0  # seconds between two looks, at most
_PID, _SINCE, _EPOCH, _INDEX = range(4)
#: What a decoder that writes where it must not dies of. (Of SIGKILL and SIGBUS a worker dies where memory is short.)
_CRASHES = [getattr(signal, name) for name in ("SIGSEGV", "SIGABRT", "SIGFPE", "SIGILL") if hasattr(signal, name)]


@dataclass(frozen=True, slots=True)
class InProgress:
    """A sample that worker process ``pid`` has been making for so many ``seconds``; ``crash``: what that died of."""

    pid: int
    seconds: float
    epoch: int
    index: int
    crash: str = ""


class WorkerMonitor:
    """What every worker of a loader is at."""

    def __init__(self, workers: int, limit: float | None) -> None:
        """``limit``: seconds that a sample may take; None: any."""
        self.limit = math.inf if limit is None else limit
        self._cells = torch.zeros(workers, 4, dtype=torch.float64)
        self._cells.share_memory_()  # type: ignore[no-untyped-call]

    def begin(self, epoch: int, index: int) -> None:
        """In a worker: a sample is begun."""
        info = get_worker_info()
        if info is not None:
            cell = self._cells[info.id]
            cell[_PID], cell[_EPOCH], cell[_INDEX] = os.getpid(), epoch, index
            cell[_SINCE] = time.monotonic()  # one clock for all processes of a machine

    def end(self) -> None:
        """In a worker: it is made, or has failed."""
        info = get_worker_info()
        if info is not None:
            self._cells[info.id, _SINCE] = 0

    def in_progress(self) -> list[InProgress]:
        """The samples that are being made."""
        now = time.monotonic()
        return [
            InProgress(int(cell[_PID]), now - cell[_SINCE], int(cell[_EPOCH]), int(cell[_INDEX]))
            for cell in self._cells.tolist()
            if cell[_SINCE]
        ]

    def overdue(self) -> list[InProgress]:
        return [sample for sample in self.in_progress() if sample.seconds > self.limit]

    def crashed(self, ended: list[Any]) -> list[InProgress]:
        """The samples in which a worker of these ``ended`` processes has died, and of nothing else."""
        died = {
            process.pid: signal.Signals(-process.exitcode).name for process in ended if -process.exitcode in _CRASHES
        }
        return [replace(sample, crash=died[sample.pid]) for sample in self.in_progress() if sample.pid in died]

    def look_every(self) -> float:
        """Seconds: the ``timeout`` of a DataLoader that is watched; 0, which is none, where a sample may take any time:
        torch itself sees that a worker has ended."""
        return 0 if math.isinf(self.limit) else min(_LOOK, self.limit / 2)

    def end_workers(self, iterator: Any, lost: list[InProgress]) -> None:
        """Kill the workers that are ``lost``, and see that no other of the same loader outlives it."""
        pids = {int(pid) for pid in self._cells[:, _PID].tolist()}
        for process in iterator._workers:
            if process.pid in {sample.pid for sample in lost}:
                process.kill()
        iterator._shutdown_workers()  # waits a few seconds for each; what its destructor does
        for process in multiprocessing.active_children():
            if process.pid in pids:
                process.kill()
        self._cells.zero_()


class RemainingBatches(Sampler[Any]):
    """The batches of an order after the first ``done``."""

    def __init__(self, batches: Any, done: int) -> None:
        self.batches = batches
        self.done = done

    def __iter__(self) -> Iterator[Any]:
        return islice(iter(self.batches), self.done, None)


def watched(
    loader: DataLoader[Any],
    watch: WorkerMonitor,
    on_loss: Callable[[InProgress], None],
    begin: Callable[[DataLoader[Any]], Iterator[Any]] = iter,
) -> Iterator[Any]:
    """What a loader gives, also past samples that end their worker: those are told to ``on_loss``, which marks them in
    the data set so that they are not begun again, or raises. ``begin`` starts a pass."""
    done, part = 0, loader
    while True:
        iterator = begin(part)
        lost: list[InProgress] = []
        while not lost:
            try:
                item, lost = _next(iterator, watch)
            except StopIteration:
                return
            if not lost:
                done += 1
                yield item
        watch.end_workers(iterator, lost)
        del iterator
        loader._iterator = None  # persistent workers are gone: the next pass starts new ones
        for sample in lost:
            on_loss(sample)
        part = _rest(loader, done)


def _next(iterator: Any, watch: WorkerMonitor) -> tuple[Any, list[InProgress]]:
    """The next item of a loader, or the samples that it will never come past."""
    asked = time.monotonic()
    while True:
        try:
            return next(iterator), []
        except (RuntimeError, OSError, EOFError) as error:  # a dying worker may also break off in the middle of a word
            timed_out = str(error).startswith("DataLoader timed out")  # torch's own, not what a worker's sample says
            ended = [] if timed_out else _ended(iterator._workers)
            lost = watch.overdue() if timed_out else watch.crashed(ended)
            if lost:
                return None, lost
            if ended:
                raise RuntimeError(_end_of(ended[0])) from error
            stuck = not watch.in_progress() and time.monotonic() - asked > watch.limit
            if not timed_out or stuck:  # stuck: nobody is making what is waited for
                raise


def _ended(workers: list[Any]) -> list[Any]:
    """The workers that have ended and should not have. It shows in their pipes some time before they are gone."""
    for _ in range(20):
        ended = [process for process in workers if process.exitcode]
        if ended:
            return ended
        time.sleep(0.05)
    return []


def _end_of(process: Any) -> str:
    """In torch's words."""
    code = process.exitcode
    how = f"is killed by signal: {signal.strsignal(-code)}" if code < 0 else f"exited with status {code}"
    return f"DataLoader worker (pid {process.pid}) {how}"


def _rest(loader: DataLoader[Any], done: int) -> DataLoader[Any]:
    return DataLoader(
        loader.dataset,
        batch_sampler=RemainingBatches(loader.batch_sampler, done),
        num_workers=loader.num_workers,
        pin_memory=loader.pin_memory,
        collate_fn=loader.collate_fn,
        worker_init_fn=loader.worker_init_fn,
        generator=loader.generator,
        timeout=loader.timeout,
        multiprocessing_context=loader.multiprocessing_context,
    )
