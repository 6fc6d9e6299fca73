"""A sample that is never made (a decoder that hangs on a damaged file, a file server that does not answer).

Each worker writes down what it is at and since when, in memory that it shares with the main process. Where that waits
for a batch, it looks: a worker that has been at one sample for longer than ``data.sample_timeout`` is killed. Only the
kernel can end it (a decoder in C hears no signal), and a DataLoader does not survive it, so the rest of the order goes
to a new one.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch.utils.data import DataLoader, Sampler, get_worker_info

_LOOK = 5.0  # seconds between two looks, at most
_PID, _SINCE, _EPOCH, _INDEX = range(4)


@dataclass(frozen=True, slots=True)
class Late:
    """A sample that has taken so many ``seconds``, in worker process ``pid``."""

    pid: int
    seconds: float
    epoch: int
    index: int


class Watch:
    """What every worker of a loader is at."""

    def __init__(self, workers: int, limit: float) -> None:
        """``limit``: seconds that a sample may take."""
        self.limit = limit
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

    def at_work(self) -> list[Late]:
        """The samples that are being made."""
        now = time.monotonic()
        return [
            Late(int(cell[_PID]), now - cell[_SINCE], int(cell[_EPOCH]), int(cell[_INDEX]))
            for cell in self._cells.tolist()
            if cell[_SINCE]
        ]

    def overdue(self) -> list[Late]:
        return [late for late in self.at_work() if late.seconds > self.limit]

    def look_every(self) -> float:
        """Seconds: the ``timeout`` of a DataLoader that is watched."""
        return min(_LOOK, self.limit / 2)

    def end_workers(self, iterator: Any, overdue: list[Late]) -> None:
        """Kill the workers that are overdue, and see that no other of the same loader outlives it."""
        pids = {int(pid) for pid in self._cells[:, _PID].tolist()}
        for late in overdue:
            with suppress(RuntimeError, ProcessLookupError):  # torch's handler speaks up when a worker is killed
                os.kill(late.pid, getattr(signal, "SIGKILL", signal.SIGTERM))
                time.sleep(1.0)
        with suppress(RuntimeError):
            iterator._shutdown_workers()  # waits a few seconds for each; what its destructor does
        for process in multiprocessing.active_children():
            if process.pid in pids:
                process.kill()
        self._cells.zero_()


class Rest(Sampler[Any]):
    """The batches of an order after the first ``done``."""

    def __init__(self, batches: Any, done: int) -> None:
        self.batches = batches
        self.done = done

    def __iter__(self) -> Iterator[Any]:
        return islice(iter(self.batches), self.done, None)


def watched(loader: DataLoader[Any], watch: Watch, on_hang: Callable[[Late], None]) -> Iterator[Any]:
    """What a loader gives, also past samples that hang: those are told to ``on_hang``, which marks them in the data set
    so that they are not begun again, or raises."""
    done, part = 0, loader
    while True:
        iterator = iter(part)
        overdue: list[Late] = []
        while not overdue:
            asked = time.monotonic()
            item = None
            while item is None and not overdue:
                try:
                    item = next(iterator)
                except StopIteration:
                    return
                except RuntimeError as error:
                    if "timed out" not in str(error):
                        raise
                    overdue = watch.overdue()
                    if not watch.at_work() and time.monotonic() - asked > watch.limit:
                        raise  # nobody is making what is waited for
            if item is not None:
                done += 1
                yield item
        watch.end_workers(iterator, overdue)
        del iterator
        loader._iterator = None  # persistent workers are gone: the next pass starts new ones
        for late in overdue:
            on_hang(late)
        part = _rest(loader, done)


def _rest(loader: DataLoader[Any], done: int) -> DataLoader[Any]:
    return DataLoader(
        loader.dataset,
        batch_sampler=Rest(loader.batch_sampler, done),
        num_workers=loader.num_workers,
        pin_memory=loader.pin_memory,
        collate_fn=loader.collate_fn,
        worker_init_fn=loader.worker_init_fn,
        generator=loader.generator,
        timeout=loader.timeout,
        multiprocessing_context=loader.multiprocessing_context,
    )
