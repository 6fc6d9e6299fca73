"""Batches in a fixed order: which samples each optimizer step sees is a function of (seed, epoch), nothing else."""

from __future__ import annotations

import multiprocessing
import multiprocessing.util
import os
import signal
import weakref
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler
from torch.utils.data._utils import signal_handling
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from vexp.core.errors import UserError
from vexp.core.malloc import configure_malloc
from vexp.data.batch.batch import Batch, Collate, Failure
from vexp.data.loading.bad_samples import BadSamples, SkipFailuresCollate, SkippedSample
from vexp.data.loading.class_balance import BalancedOrder, occurrence
from vexp.data.loading.dataset import ClipDataset, Key
from vexp.data.loading.step_plan import StepPlan
from vexp.data.loading.watchdog import InProgress, WorkerMonitor, watched

#: what a loader gives
Item = Batch | Failure | SkippedSample


class TrainSampler(Sampler[list[Key]]):
    """Batches of keys from optimizer step ``first_step`` to ``total_steps``, across epochs without a stop.

    Resuming in the middle of an epoch is starting at another ``first_step``: nothing is read again. A key is
    (epoch, index); with ``balanced``, where an index may come again within an epoch, (epoch, index, times before).

    With ``rank`` they are that process's parts of the batches. A process without a part gets the batch's last sample,
    which must not count: it takes part in the exchange of gradients all the same.
    """

    def __init__(
        self,
        plan: StepPlan,
        *,
        seed: int,
        shuffle: bool,
        first_step: int,
        total_steps: int,
        balanced: BalancedOrder | None = None,
        rank: int | None = None,
    ) -> None:
        self.plan = plan
        self.rank = rank
        self.balanced = balanced
        self.seed = seed
        self.shuffle = shuffle
        self.first_step = first_step
        self.total_steps = total_steps

    def order(self, epoch: int) -> np.ndarray:
        """Indices of an epoch, int64 (num_samples,)."""
        if not self.shuffle:
            return np.arange(self.plan.num_samples)
        # The spawn key keeps it apart from the samples' generators: [seed, epoch] alone equals [seed, epoch, index 0].
        entropy = np.random.SeedSequence([self.seed, epoch], spawn_key=(0,))
        places = np.random.default_rng(entropy).permutation(self.plan.num_samples)
        return places if self.balanced is None else self.balanced.draws(epoch)[places]

    def __iter__(self) -> Iterator[list[Key]]:
        epoch, order, before = -1, np.empty(0, np.int64), np.empty(0, np.int64)
        for step in range(self.first_step, self.total_steps):
            if step // self.plan.steps_per_epoch != epoch:
                epoch = step // self.plan.steps_per_epoch
                order = self.order(epoch)
                before = occurrence(order) if self.balanced is not None else before
            position = step % self.plan.steps_per_epoch * self.plan.samples_per_step
            for size in self.plan.batch_sizes(step):
                part = self._part(position, size)
                if self.balanced is None:
                    yield [(epoch, int(index)) for index in order[part]]
                else:
                    yield [(epoch, int(index), int(n)) for index, n in zip(order[part], before[part], strict=True)]
                position += size

    def _part(self, position: int, size: int) -> slice:
        if self.rank is None:
            return slice(position, position + size)
        part = self.plan.part(size, self.rank)
        start = min(part.start, size - 1)
        return slice(position + start, position + max(part.stop, start + 1))


class SequentialSampler(Sampler[list[Key]]):
    """Every sample once, in the order of its source, for evaluation.

    The batches are dealt out to the ``processes`` in turn: none is made longer to even them out, and each is the same
    whatever their number.
    """

    def __init__(self, num_samples: int, batch_size: int, *, rank: int = 0, processes: int = 1) -> None:
        self.num_samples = num_samples
        self.batch_size = batch_size
        self.rank = rank
        self.processes = processes

    @property
    def rounds(self) -> int:
        """Batches of the process that has the most."""
        return -(-self.num_samples // (self.batch_size * self.processes))

    def __iter__(self) -> Iterator[list[Key]]:
        for start in range(self.rank * self.batch_size, self.num_samples, self.batch_size * self.processes):
            yield [(0, index) for index in range(start, min(start + self.batch_size, self.num_samples))]


def make_loader(
    dataset: ClipDataset,
    batches: Sampler[list[Key]],
    *,
    num_workers: int | None,
    device: torch.device,
    persistent: bool,
    mp_context: str | None = None,
    sample_timeout: float | None = None,
) -> DataLoader[Item]:
    """A DataLoader whose workers make uint8 samples in shared memory.

    ``persistent`` keeps the workers for the next pass; ``mp_context`` is how they are started, "fork", "spawn",
    "forkserver" or None for fork where there is one; ``sample_timeout`` (seconds, None: any) is for ``batches_of``, and
    needs workers. The loader draws from a generator of its own, so that starting one never moves the random numbers of
    the model.
    """
    workers = available_workers() if num_workers is None else num_workers
    if mp_context is None and "fork" in multiprocessing.get_all_start_methods():
        mp_context = "fork"  # a spawned worker imports torch again: seconds, and half a gigabyte
    dataset.watch = WorkerMonitor(workers, sample_timeout) if workers > 0 else None
    samples: Dataset[Any] = dataset  # torch takes what a data set gives for what its loader gives
    return DataLoader(
        samples,
        batch_sampler=batches,
        num_workers=workers,
        pin_memory=device.type == "cuda",
        persistent_workers=persistent and workers > 0,
        collate_fn=Collate() if dataset.on_bad == "fail" else SkipFailuresCollate(Collate()),
        timeout=dataset.watch.look_every() if dataset.watch is not None else 0,
        worker_init_fn=_start_worker,
        generator=torch.Generator().manual_seed(0),
        multiprocessing_context=mp_context if workers > 0 else None,
    )


def iterate_batches(loader: Iterable[Item], bad: BadSamples | None = None) -> Iterator[Batch]:
    """The batches of a loader; ``bad`` is told of the samples that it goes on without.

    Raises:
        UserError: a sample that could not be made, or not in time, with the name of its video; or too many of them.
    """
    for item in _with_timeout(loader, bad):
        if isinstance(item, Failure):
            raise UserError(item.message)
        if isinstance(item, SkippedSample):
            assert bad is not None  # a data set that goes on without samples needs somebody who counts them
            for failure in item.bad:
                bad.add(failure)
            if item.batch is not None:
                yield item.batch
        else:
            yield item


_passes: weakref.WeakSet[Any] = weakref.WeakSet()
"""The iterators of loaders in use, with the workers that they have."""


def _stop_workers() -> None:
    """Before the process ends: it waits for workers that nobody has told, and they are deaf to its SIGTERM.

    As a rule they end with their iterator, but what keeps frames (torch.compile) keeps that, too.
    """
    for iterator in list(_passes):
        if not iterator._shutdown:
            iterator._workers_done_event.set()
            for queue in iterator._index_queues:
                queue.put(None)


multiprocessing.util.Finalize(None, _stop_workers, exitpriority=100)  # before multiprocessing ends its children


def _prefetched(loader: Iterable[Item]) -> Iterator[Item]:
    iterator = iter(loader)
    if isinstance(iterator, _MultiProcessingDataLoaderIter):
        _passes.add(iterator)
        if iterator._worker_pids_set:  # by torch's handler of SIGCHLD, which is to leave them to the watch
            signal_handling._remove_worker_pids(id(iterator))  # type: ignore[attr-defined]
            iterator._worker_pids_set = False
    return iterator


def _with_timeout(loader: Iterable[Item], bad: BadSamples | None) -> Iterator[Item]:
    dataset = getattr(loader, "dataset", None)
    if not isinstance(loader, DataLoader) or not isinstance(dataset, ClipDataset) or dataset.watch is None:
        return _prefetched(loader)
    limit = dataset.watch.limit

    def on_loss(sample: InProgress) -> None:
        text = f"is not made within data.sample_timeout={limit:g} seconds, the worker that was at it has been killed"
        if sample.crash:
            text = f"the decoder crashes on it, the worker that was at it died of {sample.crash}"
        failure = Failure(sample.index, f"{dataset.source.name(sample.index)}: {text}", sample.epoch, fatal=True)
        if bad is None:
            raise UserError(failure.message)
        bad.lose(failure)

    return watched(loader, dataset.watch, on_loss, _prefetched)


def available_workers() -> int:
    """One worker a core that this process may use, at most 8. Processes that torchrun has started share the cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(8, max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", 1))))


def _start_worker(_: int) -> None:
    """In each new worker: one thread, and deaf to the signals that ask the run to stop.

    A terminal and a scheduler signal the whole process group, but the main process needs its workers until it has
    written its checkpoint; they end with it. A SIGTERM of its own (the second) ends a worker.
    """
    import cv2

    configure_malloc()
    cv2.setNumThreads(0)  # the workers are the parallelism; OpenCV's own threads would fight them for cores
    for name in ("SIGINT", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.signal(signal.SIGTERM, signal.SIG_DFL))
