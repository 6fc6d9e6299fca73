"""Independent jobs in worker processes that end with the process that started them.

A pool of the standard library breaks as a whole when a codec crashes one of its processes, and its idle workers outlive
a killed parent. Here a crash is the fault of the one job that caused it.
"""

from __future__ import annotations

import errno
import itertools
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnContext
from multiprocessing.resource_tracker import ensure_running
from typing import Generic, TypeVar

from vexp.core.errors import UserError

Job = TypeVar("Job")
Result = TypeVar("Result")

_DISK_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""What every other job would meet too."""
_GRACE_S = 5.0
"""How long a worker may take to remove what it was writing, before it is killed."""


@dataclass(frozen=True, slots=True)
class Outcome(Generic[Job, Result]):
    """Of one job: its result, or ``error`` in words that name the job."""

    job: Job
    result: Result | None = None
    error: str = ""
    seconds: float = 0.0
    stops: bool = False


def run_jobs(jobs: Iterable[Job], work: Callable[[Job], Result], workers: int) -> Iterator[Outcome[Job, Result]]:
    """The outcome of each job as it comes, in whatever order.

    A job that raises, or whose process dies, is an outcome with an error. When the iterator is closed, by Ctrl-C too,
    the workers are told to end, remove what is unfinished, and are waited for.

    Args:
        jobs: anything that pickles; ``str`` of one names it in messages. Drawn from as workers come free.
        work: pickles, too.
        workers: processes; 0: in this one.

    Raises:
        UserError: the disk takes no more, so that no other job could succeed.
    """
    outcomes = (_attempt(work, job) for job in jobs) if workers == 0 else _from_workers(iter(jobs), work, workers)
    for outcome in outcomes:
        if outcome.stops:
            raise UserError(f"{outcome.error}; make room and run it again to go on")
        yield outcome


def _attempt(work: Callable[[Job], Result], job: Job) -> Outcome[Job, Result]:
    began = time.perf_counter()
    try:
        return Outcome(job, work(job), seconds=time.perf_counter() - began)
    except Exception as error:  # whatever it is, the other jobs go on
        message = " ".join(str(error).split()) or type(error).__name__
        message = message if str(job) in message else f"{job}: {message}"
        return Outcome(job, error=message, stops=getattr(error, "errno", None) in _DISK_FAULTS)


class _Worker(Generic[Job, Result]):
    def __init__(self, context: SpawnContext, work: Callable[[Job], Result]) -> None:
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, work), daemon=True)
        with _without_ctrl_c():
            self.process.start()
        theirs.close()  # so that its end is seen here as the end of the pipe
        self.job: Job | None = None

    def give(self, job: Job) -> None:
        self.job = job
        with suppress(BrokenPipeError):  # it died while idle: seen when its outcome is fetched
            self.pipe.send(job)

    def outcome(self) -> tuple[Outcome[Job, Result], bool]:
        """Of the job it was given, and whether it lives to take another."""
        assert self.job is not None
        try:
            return self.pipe.recv(), True
        except (EOFError, ConnectionError):
            self.process.join()
            code = self.process.exitcode or 0
            why = signal.Signals(-code).name if code < 0 else f"exit status {code}"
            return Outcome(self.job, error=f"{self.job}: the process that worked on it died ({why})"), False

    def end(self) -> None:
        self.process.terminate()
        self.process.join(_GRACE_S)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.pipe.close()


@contextmanager
def _without_ctrl_c() -> Iterator[None]:
    """Ctrl-C waits until the end of the block, and never reaches a process that is started within: it reaches the whole
    group, and a worker that is still importing would end in a traceback of its own."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    ensure_running()  # with the first process it would start, and hear Ctrl-C again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _from_workers(jobs: Iterator[Job], work: Callable[[Job], Result], workers: int) -> Iterator[Outcome[Job, Result]]:
    context = multiprocessing.get_context("spawn")  # a fork would copy the libraries' locks as they happen to stand
    pool: dict[object, _Worker[Job, Result]] = {}  # by pipe

    def start() -> None:
        for job in itertools.islice(jobs, 1):
            worker: _Worker[Job, Result] = _Worker(context, work)
            pool[worker.pipe] = worker
            worker.give(job)

    try:
        for _ in range(workers):
            start()
        while pool:
            for pipe in wait([worker.pipe for worker in pool.values()]):
                worker = pool[pipe]
                outcome, alive = worker.outcome()
                job = next(jobs, None) if alive else None
                if job is not None:
                    worker.give(job)
                else:
                    pool.pop(pipe).end()
                    start()  # in the place of one that died; nothing where no job is left
                yield outcome
    finally:
        for worker in pool.values():  # all at once: they clean up side by side
            worker.process.terminate()
        for worker in pool.values():
            worker.end()


def _serve(pipe: Connection, work: Callable[[Job], Result]) -> None:
    """In the worker: until the pipe ends, or the parent does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to decide on, on Windows, too
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # unwinds, so that unfinished files are removed
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with suppress(EOFError, ConnectionError):
        while True:
            pipe.send(_attempt(work, pipe.recv()))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)  # the job is left as a kill would leave it
