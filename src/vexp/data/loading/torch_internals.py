"""The private parts of ``torch.utils.data.DataLoader`` on which the supervision of worker processes depends.

torch does not report which worker failed, and a DataLoader cannot outlive one of its workers. ``watchdog`` therefore
needs the worker processes themselves. Everything that it takes from torch's private interface is in this file;
``tests/data/loading/test_torch_internals.py`` checks each attribute against the installed version.
"""

from __future__ import annotations

import traceback
from multiprocessing.process import BaseProcess
from typing import Any

import torch
from torch.utils.data import DataLoader
from torch.utils.data._utils import signal_handling
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from vexp.core.errors import UserError

#: Oldest and newest version of torch whose DataLoader has been checked.
CHECKED_VERSIONS = ("2.6", "2.15")
#: Private attributes of the iterator of a DataLoader with workers.
ATTRIBUTES = ("_workers", "_shutdown_workers", "_shutdown", "_workers_done_event", "_index_queues", "_worker_pids_set")


def is_worker_iterator(iterator: Any) -> bool:
    """Return whether ``iterator`` is that of a DataLoader with worker processes.

    Raises:
        UserError: If the installed torch has changed the private attributes used here.
    """
    if not isinstance(iterator, _MultiProcessingDataLoaderIter):
        return False
    missing = [name for name in ATTRIBUTES if not hasattr(iterator, name)]
    if missing or not hasattr(signal_handling, "_remove_worker_pids"):
        oldest, newest = CHECKED_VERSIONS
        raise UserError(
            f"torch {torch.__version__}: data workers cannot be supervised, the DataLoader lacks "
            f"{', '.join(missing or ['_remove_worker_pids'])}; install torch {oldest} to {newest}, or set "
            "data.num_workers=0"
        )
    return True


def worker_processes(iterator: Any) -> list[BaseProcess]:
    """Return the worker processes of an iterator."""
    return list(iterator._workers)


def shut_down(iterator: Any) -> None:
    """Stop the workers of an iterator as its destructor does, waiting a few seconds for each."""
    iterator._shutdown_workers()


def ask_workers_to_exit(iterator: Any) -> None:
    """Ask the workers of an iterator to exit, without waiting for them."""
    if not iterator._shutdown:
        iterator._workers_done_event.set()
        for queue in iterator._index_queues:
            queue.put(None)


def disable_exit_handler(iterator: Any) -> None:
    """Prevent torch's SIGCHLD handler from raising when a worker of this iterator exits."""
    if iterator._worker_pids_set:
        signal_handling._remove_worker_pids(id(iterator))  # type: ignore[attr-defined]
        iterator._worker_pids_set = False


def kept_iterator(loader: DataLoader[Any]) -> Any:
    """Return the iterator of a loader whose persistent workers have made a pass; None if there is none."""
    return loader._iterator


def forget_iterator(loader: DataLoader[Any]) -> None:
    """Make a loader with persistent workers start new ones in its next pass."""
    loader._iterator = None


def discard_unfinished(error: BaseException) -> None:
    """Stop the workers of an iterator whose creation has raised ``error``; its destructor would fail.

    The iterator is not returned by the DataLoader and can be reached through the traceback only.
    """
    for frame, _ in traceback.walk_tb(error.__traceback__):
        iterator = frame.f_locals.get("self")
        if isinstance(iterator, _MultiProcessingDataLoaderIter) and not hasattr(iterator, "_task_info"):
            for process in getattr(iterator, "_workers", ()):
                process.kill()
            iterator._shutdown = True
