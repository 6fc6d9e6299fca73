"""All logger backends of a run. metrics.jsonl is the record; the others are copies that never stop a run.

Each copy is written in a thread of its own. The run waits for it only while it opens and closes, and for no longer than
``log.timeout`` seconds: a service that hangs, fails or is slow costs its own copy and nothing else.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from vexp.tracking.backends import Csv, JsonLines, LoggerBackend, Record, TensorBoard, read_records
from vexp.tracking.config import Log
from vexp.tracking.services import MlflowBackend, TrackioBackend, WandbBackend

logger = logging.getLogger(__name__)

_MOST_WAITING = 100_000  # records that a copy may be behind, some 100 MB
_REST = "the run continues, metrics.jsonl holds every number"


def requested_backends(
    folder: Path, options: Log, *, first_step: int, config: dict[str, Any]
) -> dict[str, Callable[[], LoggerBackend]]:
    """Return what opens each backend that the ``log`` group requests, by name; metrics.jsonl is not among them."""
    earlier = read_records(folder / "metrics.jsonl")
    backends: dict[str, tuple[bool, Callable[[], LoggerBackend]]] = {
        "tensorboard": (options.tensorboard, lambda: TensorBoard(folder / "tensorboard", first_step)),
        "csv": (options.csv, lambda: Csv(folder / "metrics.csv", earlier)),
        "wandb": (options.wandb.mode is not None, lambda: WandbBackend(folder, options.wandb, config, earlier)),
        "mlflow": (
            options.mlflow.experiment is not None, lambda: MlflowBackend(folder, options.mlflow, config, earlier)
        ),
        "trackio": (
            options.trackio.project is not None, lambda: TrackioBackend(folder, options.trackio, config, earlier)
        ),
    }  # fmt: skip
    return {name: create for name, (requested, create) in backends.items() if requested}


class MetricLogger:
    """Write every record to every backend.

    Args:
        folder: Run folder, whose metrics.jsonl ends before ``first_step``. None: every record is dropped, as another
            process writes them.
        options: The ``log`` group.
        first_step: First step that this process trains.
        config: The whole config in plain containers, for backends that display it.

    Attributes:
        is_intact: Whether metrics.jsonl was still in its folder when it was closed.
    """

    def __init__(self, folder: Path | None, options: Log, *, first_step: int, config: dict[str, Any]) -> None:
        self._record = JsonLines(Path(os.devnull) if folder is None else folder / "metrics.jsonl")
        self.is_intact = True
        self._timeout = options.timeout
        self._copies: list[_Copy] = []
        self.sync = self._record.sync  # flush metrics.jsonl to the disk
        self.abandon = self._record.close  # close metrics.jsonl only, without waiting for any other backend
        if folder is not None:
            requested = requested_backends(folder, options, first_step=first_step, config=config)
            self._copies = [_Copy(name, create) for name, create in requested.items()]
            for copy in self._late(lambda copy, seconds: copy.opened.wait(seconds)):
                logger.warning(
                    f"log.{copy.name} has not opened within log.timeout={self._timeout:g} seconds; the run begins, and "
                    "its records follow"
                )

    def write(self, record: Record) -> None:
        """Write a record.

        Raises:
            OSError: If metrics.jsonl cannot be written.
        """
        self._record.write(record)
        for copy in self._copies:
            copy.write(record)

    def close(self) -> None:
        """Close all backends."""
        self.is_intact = self._record.is_intact
        self._record.close()
        for copy in self._copies:
            copy.end()
        for copy in self._late(lambda copy, seconds: copy.closed.wait(seconds)):
            copy.drop(f"has not closed within log.timeout={self._timeout:g} seconds and is left as it is")

    def _late(self, wait: Callable[[_Copy, float], bool]) -> list[_Copy]:
        """Wait for all copies, ``log.timeout`` seconds in total; return those that are late."""
        deadline = time.monotonic() + self._timeout
        return [copy for copy in self._copies if not wait(copy, max(0.0, deadline - time.monotonic()))]


class _Copy:
    """A backend and its thread. The thread is a daemon: a process does not wait for it to exit."""

    def __init__(self, name: str, create: Callable[[], LoggerBackend]) -> None:
        self.name = name
        self.opened, self.closed = threading.Event(), threading.Event()
        self._is_dropped = False
        self._records: SimpleQueue[Record | None] = SimpleQueue()
        threading.Thread(target=self._run, args=(create,), name=f"log.{name}", daemon=True).start()

    def write(self, record: Record) -> None:
        """Hand a record to the thread."""
        if self._is_dropped:
            return
        if self._records.qsize() >= _MOST_WAITING:
            self.drop(f"is {_MOST_WAITING} records behind and is dropped from here on")
        self._records.put(record)

    def end(self) -> None:
        """Let the thread close the backend once it has written all records."""
        self._records.put(None)

    def drop(self, reason: str) -> None:
        """Write no further records, with one warning."""
        if not self._is_dropped:
            self._is_dropped = True
            logger.warning(f"log.{self.name} {reason}; {_REST}")

    def _run(self, create: Callable[[], LoggerBackend]) -> None:
        try:
            backend = create()
            self.opened.set()
            for record in iter(self._records.get, None):
                backend.write(record)
            backend.close()
        except BaseException as error:  # third-party libraries raise anything
            reason = next(iter(str(error).splitlines()), "")
            self.drop(f"failed and is dropped from here on ({type(error).__name__}: {reason})")
        finally:
            self.opened.set()
            self.closed.set()
