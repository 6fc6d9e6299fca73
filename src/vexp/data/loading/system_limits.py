"""Messages for limits of the system that data workers reach: open files, and shared memory."""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from vexp.core.errors import UserError
from vexp.core.files import free_space
from vexp.data.loading import torch_internals

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

#: Messages of the system, and of multiprocessing if the system has dropped the file descriptor of a received batch.
_FILES = re.compile(r"Too many open files|received 0 items of ancdata")


@contextmanager
def limits_explained() -> Iterator[None]:
    """Raise an error of a limit that is reached while workers are started or send a batch as a ``UserError``.

    The traceback of any other error is not changed. Workers of an iterator that could not be created are stopped.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        torch_internals.discard_unfinished(error)
        message = _describe(error)
        if message is None:
            raise
        raise UserError(message) from error


def _describe(error: Exception) -> str | None:
    if _FILES.search(str(error)):
        return (
            f"too many open files for data workers, a process may open {_open_files_limit()} (ulimit -n); raise the "
            "limit (ulimit -n 1024), lower data.num_workers, or set data.num_workers=0"
        )
    if isinstance(error, OSError) and error.errno == errno.ENOSPC and error.filename is None:
        return (
            f"/dev/shm is too small to start the data workers ({free_space(Path('/dev/shm'))}); enlarge it (docker run "
            "--shm-size=8g), or set data.num_workers=0"
        )
    return None


def exit_without_files() -> None:
    """Make this worker exit, with the status ``errno.EMFILE``, if a thread reports that it cannot open a file.

    The thread of multiprocessing that sends batches prints the error and tries again, without end.
    """
    print_error = sys.excepthook

    def handle(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            os._exit(errno.EMFILE)
        print_error(kind, error, trace)

    sys.excepthook = handle


def _open_files_limit() -> str:
    return "few" if resource is None else str(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
