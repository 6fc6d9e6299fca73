"""Run independent jobs in worker processes that exit together with their parent.

The standard library's pools break when a codec crashes one of their processes, and their idle workers survive a killed
parent. Here a crash fails only the job that caused it.
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
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.resource_tracker import ensure_running
from typing import Generic, TypeVar

from vexp.core.errors import UserError

Job = TypeVar("Job")
Result = TypeVar("Result")

#: Errors that every other job would raise, too.
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
#: Time, in seconds, for a worker to remove its temporary files before it is killed.
_GRACE_PERIOD = 5.0


@dataclass(frozen=True, slots=True)
class Outcome(Generic[Job, Result]):
    """Outcome of one job: its result, or an error message that names the job; ``is_fatal`` if it affects all jobs."""

    job: Job
    result: Result | None = None
    error: str = ""
    seconds: float = 0.0
    is_fatal: bool = False


def run_jobs(jobs: Iterable[Job], work: Callable[[Job], Result], workers: int) -> Generator[Outcome[Job, Result]]:
    """Run jobs and yield their outcomes in the order of completion.

    A job that raises, or whose process dies, has an outcome with an error. When the iterator is closed, also by
    Ctrl-C, the workers are terminated and remove their temporary files.

    Args:
        jobs: Picklable jobs, taken as workers become free; ``str`` of a job names it in messages.
        work: Picklable function of a job.
        workers: Number of processes; 0 runs the jobs in this process.

    Raises:
        UserError: If the disk is full or read-only, so that no other job can succeed.
    """
    outcomes = (_attempt(work, job) for job in jobs) if workers == 0 else _from_workers(iter(jobs), work, workers)
    for outcome in outcomes:
        if outcome.is_fatal:
            raise UserError(f"{outcome.error}; free disk space and rerun the command to resume")
        yield outcome


def _attempt(work: Callable[[Job], Result], job: Job) -> Outcome[Job, Result]:
    start_time = time.perf_counter()
    try:
        return Outcome(job, work(job), seconds=time.perf_counter() - start_time)
    except Exception as error:  # the other jobs continue
        message = " ".join(str(error).split()) or type(error).__name__
        message = message if str(job) in message else f"{job}: {message}"
        return Outcome(job, error=message, is_fatal=getattr(error, "errno", None) in _DISK_ERRORS)


class _Worker(Generic[Job, Result]):
    def __init__(self, work: Callable[[Job], Result], job: Job) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would copy locks in an arbitrary state
        self.pipe, worker_pipe = context.Pipe()
        self.process = context.Process(target=_serve, args=(worker_pipe, work), daemon=True)
        with _blocked_sigint():
            self.process.start()
        worker_pipe.close()  # so that the exit of the worker closes the pipe
        self.assign(job)

    def assign(self, job: Job) -> None:
        self.job = job
        with suppress(BrokenPipeError):  # the worker died while idle, which ``outcome`` reports
            self.pipe.send(job)

    def outcome(self) -> Outcome[Job, Result]:
        """Receive the outcome of the assigned job; that of a worker that died is an error."""
        try:
            return self.pipe.recv()  # type: ignore[no-any-return]
        except (EOFError, ConnectionError):
            self.process.join()
            code = self.process.exitcode or 0
            reason = signal.Signals(-code).name if code < 0 else f"exit status {code}"
            return Outcome(self.job, error=f"{self.job}: the process that worked on it died ({reason})")

    def stop(self) -> None:
        self.process.terminate()
        self.process.join(_GRACE_PERIOD)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.pipe.close()


@contextmanager
def _blocked_sigint() -> Iterator[None]:
    """Delay Ctrl-C until the end of the block, and block it in the processes that are started within.

    The terminal sends it to the whole process group, and a worker that is still importing would print a traceback.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    ensure_running()  # otherwise the first process starts it and unblocks SIGINT
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _from_workers(jobs: Iterator[Job], work: Callable[[Job], Result], workers: int) -> Iterator[Outcome[Job, Result]]:
    pool: dict[object, _Worker[Job, Result]] = {}  # by pipe

    def start(count: int) -> None:
        for job in itertools.islice(jobs, count):
            worker = _Worker(work, job)
            pool[worker.pipe] = worker

    try:
        start(workers)
        while pool:
            for pipe in wait(list(pool)):  # type: ignore[arg-type]
                worker = pool[pipe]
                outcome = worker.outcome()
                job = next(jobs, None) if worker.process.exitcode is None else None
                if job is not None:
                    worker.assign(job)
                else:
                    pool.pop(pipe).stop()
                    start(1)  # replace a worker that died, if there are jobs left
                yield outcome
    finally:
        for worker in pool.values():  # terminate all before waiting, so that they clean up in parallel
            worker.process.terminate()
        for worker in pool.values():
            worker.stop()


def _serve(pipe: Connection, work: Callable[[Job], Result]) -> None:
    """Run jobs in a worker until the pipe is closed or the parent exits."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C; needed on Windows
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # raises SystemExit, so that temporary files are removed
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    with suppress(EOFError, ConnectionError):
        while True:
            pipe.send(_attempt(work, pipe.recv()))


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)  # without cleanup, as if it had been killed
