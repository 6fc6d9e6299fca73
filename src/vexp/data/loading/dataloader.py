"""Samplers and data loaders: which samples an optimizer step sees is a function of the seed and the step alone."""

from __future__ import annotations

import functools
import multiprocessing
import multiprocessing.util
import os
import signal
import sys
import time
import weakref
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import KW_ONLY, dataclass
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from vexp.core.errors import UserError
from vexp.core.malloc import configure_malloc
from vexp.data.batch.batch import Batch, Collate
from vexp.data.loading import torch_internals
from vexp.data.loading.bad_samples import BadSamples
from vexp.data.loading.class_balance import BalancedOrder, occurrence
from vexp.data.loading.dataset import ClipDataset, Key
from vexp.data.loading.outcomes import Failure, SkipFailuresCollate, SkippedSample
from vexp.data.loading.plugin_errors import PluginError
from vexp.data.loading.step_plan import StepPlan
from vexp.data.loading.system_limits import exit_without_files, limits_explained
from vexp.data.loading.watchdog import InProgress, WorkerMonitor, supervised

if TYPE_CHECKING:
    from vexp.data.sources.config import Data

#: An item of a loader.
Item = Batch | Failure | SkippedSample | PluginError


@dataclass(eq=False)
class TrainSampler(Sampler[list[Key]]):
    """Batches of keys from optimizer step ``first_step`` to before ``total_steps``, across epochs.

    A run that is resumed in the middle of an epoch starts at another ``first_step`` and reads nothing twice. A key is
    (epoch, index); with ``balanced``, where an index may repeat within an epoch, (epoch, index, earlier occurrences).

    With ``rank``, the batches are the part of one process. A process whose part is empty gets the last sample of the
    batch, which must not be counted: it has to take part in the synchronization of gradients.
    """

    plan: StepPlan
    _: KW_ONLY
    seed: int
    shuffle: bool
    first_step: int
    total_steps: int
    balanced: BalancedOrder | None = None
    rank: int | None = None

    def order(self, epoch: int) -> np.ndarray:
        """Return the sample indices of an epoch in their order, int64 (n,), section after section of the plan."""
        sections = self.plan.sections
        if not self.shuffle:
            return np.arange(sum(sections))
        # The spawn key separates it from the generators of samples: [seed, epoch] equals [seed, epoch, index 0].
        entropy = np.random.SeedSequence([self.seed, epoch], spawn_key=(0,))
        rng, starts = np.random.default_rng(entropy), np.cumsum([0, *sections])
        positions = np.concatenate([start + rng.permutation(n) for start, n in zip(starts, sections, strict=False)])
        return positions if self.balanced is None else self.balanced.draws(epoch)[positions]

    def __iter__(self) -> Iterator[list[Key]]:
        epoch, columns = -1, [np.empty(0, np.int64)]
        for step in range(self.first_step, self.total_steps):
            if step // self.plan.steps_per_epoch != epoch:
                epoch = step // self.plan.steps_per_epoch
                order = self.order(epoch)
                columns = [order] if self.balanced is None else [order, occurrence(order)]
            for batch in self.plan.batches(step):
                part = self._part(batch.start, batch.size)
                keys: list[Any] = list(zip(*(column[part].tolist() for column in columns), strict=True))
                yield [(epoch, *key) for key in keys]

    def _part(self, position: int, size: int) -> slice:
        if self.rank is None:
            return slice(position, position + size)
        part = self.plan.part(size, self.rank)
        start = min(part.start, size - 1)
        return slice(position + start, position + max(part.stop, start + 1))


@dataclass(eq=False)
class SequentialSampler(Sampler[list[Key]]):
    """Every sample once, in the order of the source, for evaluation.

    Batches are assigned to the ``world_size`` processes in turn. They are the same for any number of processes: no
    batch is padded to give each process the same number.
    """

    num_samples: int
    batch_size: int
    _: KW_ONLY
    rank: int = 0
    world_size: int = 1

    @property
    def rounds(self) -> int:
        """Number of batches of the process that has the most."""
        return -(-self.num_samples // (self.batch_size * self.world_size))

    def __iter__(self) -> Iterator[list[Key]]:
        for start in range(self.rank * self.batch_size, self.num_samples, self.batch_size * self.world_size):
            yield [(0, index) for index in range(start, min(start + self.batch_size, self.num_samples))]


@dataclass(kw_only=True, slots=True)
class WorkerOptions:
    """Options of ``make_loader`` for use without a config; they are documented in ``vexp.data.sources.config.Data``."""

    num_workers: int | None = None
    mp_context: str | None = None
    sample_timeout: float | None = None


class SampleLoader(DataLoader[Item]):
    """A DataLoader and the monitor of its workers (None: it has no workers)."""

    monitor: WorkerMonitor | None = None


def make_loader(
    dataset: ClipDataset,
    sampler: Iterable[list[Key]],
    data_config: Data | WorkerOptions,
    device: torch.device,
    *,
    persistent: bool,
) -> SampleLoader:
    """Create a DataLoader whose workers load uint8 samples into shared memory; see ``iterate_batches``.

    The loader has its own random generator: starting its workers does not advance torch's global one.

    ``sampler`` yields the keys of each batch. Batches for a GPU are pinned. With ``persistent``, the workers are kept
    for the next pass over the sampler.
    """
    workers = available_workers() if data_config.num_workers is None else data_config.num_workers
    # A spawned worker imports torch again: seconds, and half a gigabyte of memory. The default of Python 3.14 is
    # forkserver. macOS offers fork, but its system libraries crash in forked processes.
    can_fork = sys.platform != "darwin" and "fork" in multiprocessing.get_all_start_methods()
    default_context = "fork" if can_fork else "spawn"
    with limits_explained():
        monitor = WorkerMonitor(workers, data_config.sample_timeout) if workers > 0 else None
    samples: Dataset[Any] = dataset
    loader = SampleLoader(
        samples,
        batch_sampler=sampler,
        num_workers=workers,
        pin_memory=device.type == "cuda",
        persistent_workers=persistent and workers > 0,
        collate_fn=SkipFailuresCollate(Collate()),
        timeout=monitor.poll_seconds() if monitor is not None else 0,
        worker_init_fn=functools.partial(_start_worker, monitor),
        generator=torch.Generator().manual_seed(0),
        multiprocessing_context=(data_config.mp_context or default_context) if workers > 0 else None,
    )
    loader.monitor = monitor
    return loader


def iterate_batches(loader: Iterable[Item], bad: BadSamples | None = None) -> Iterator[Batch]:
    """Iterate over the batches of a loader, adding the samples that were replaced or left out to ``bad``.

    Raises:
        UserError: If a sample could not be loaded, or not in time, and was not replaced; or if there are too many.
        PluginError: If code outside of vexp failed on a sample.
    """
    with closing(_with_timeout(loader, bad)) as items:  # an error must not keep the workers alive by its traceback
        for item in items:
            if isinstance(item, PluginError):
                raise item
            if isinstance(item, Failure):
                raise UserError(item.message)
            if isinstance(item, SkippedSample):
                assert bad is not None  # a data set that skips samples is iterated with a BadSamples
                for failure in item.bad:
                    bad.add(failure)
                if item.batch is not None:
                    yield item.batch
            else:
                yield item


_EXIT_SECONDS = 5.0  # that the workers have to exit at the end of the process

#: The iterators of loaders with workers that are in use, and the worker processes.
_iterators: weakref.WeakSet[Any] = weakref.WeakSet()
_workers: weakref.WeakSet[BaseProcess] = weakref.WeakSet()


def _stop_workers() -> None:
    """Make all workers exit before the process ends; it waits for them, and they ignore its first SIGTERM.

    Workers usually exit when their iterator is freed, but a reference to it can survive (in torch.compile's caches),
    and a stopped worker ends by SIGKILL only.
    """
    for iterator in list(_iterators):
        torch_internals.ask_workers_to_exit(iterator)
    deadline = time.monotonic() + _EXIT_SECONDS
    for process in list(_workers):
        process.join(max(0.0, deadline - time.monotonic()))
        if process.is_alive():
            process.kill()


multiprocessing.util.Finalize(None, _stop_workers, exitpriority=100)  # before multiprocessing joins its children


def _prefetched(loader: Iterable[Item]) -> Iterator[Item]:
    """Start an iteration; the workers begin to load samples."""
    iterator = iter(loader)
    if torch_internals.is_worker_iterator(iterator):
        _iterators.add(iterator)
        _workers.update(torch_internals.worker_processes(iterator))
        torch_internals.disable_exit_handler(iterator)  # the watchdog handles exits
    return iterator


def _with_timeout(loader: Iterable[Item], bad: BadSamples | None) -> Generator[Item, None, None]:
    """Iterate over a loader; samples that hang or crash a worker are marked as fatal in ``bad``."""
    if not isinstance(loader, SampleLoader) or loader.monitor is None:
        yield from _prefetched(loader)
        return
    monitor, dataset = loader.monitor, loader.dataset
    assert isinstance(dataset, ClipDataset)

    def on_loss(sample: InProgress) -> None:
        reason = f"not loaded within data.sample_timeout={monitor.limit:g} seconds, its worker was killed"
        if sample.crash:
            reason = f"the decoder crashed, its worker died of {sample.crash}"
        failure = Failure(sample.index, f"{dataset.source.name(sample.index)}: {reason}", sample.epoch, fatal=True)
        if bad is None:
            raise UserError(failure.message)
        bad.mark_fatal(failure)

    with limits_explained():
        yield from supervised(loader, monitor, on_loss, _prefetched)


def available_workers() -> int:
    """Return the default number of workers: the cores available to this process, shared with its peers, at most 8."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(8, max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", 1))))


def _start_worker(monitor: WorkerMonitor | None, worker: int) -> None:
    """Initialize a worker: use one thread and ignore the signals that ask the run to stop.

    A terminal and a scheduler signal the whole process group, but the main process needs its workers until it has
    written its checkpoint; they exit with it. A second SIGTERM ends a worker.
    """
    import cv2

    configure_malloc()
    exit_without_files()
    if monitor is not None:
        monitor.attach(worker)
    cv2.setNumThreads(0)  # the workers already use all cores
    for name in ("SIGINT", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.signal(signal.SIGTERM, signal.SIG_DFL))
