"""All logger backends of a run. metrics.jsonl is the record; the others are copies, whose failure never ends a run."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vexp.tracking.backends import JsonLines, LoggerBackend, Record, requested_backends
from vexp.tracking.config import Log

logger = logging.getLogger(__name__)


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
        self._copies: dict[str, LoggerBackend] = {}
        self.sync = self._record.sync  # flush metrics.jsonl to the disk
        self.abandon = self._record.close  # close metrics.jsonl only, without waiting for any other backend
        if folder is not None:
            for name, create in requested_backends(folder, options, first_step=first_step, config=config).items():
                with self._dropped_on_error(name):
                    self._copies[name] = create()

    def write(self, record: Record) -> None:
        """Write a record.

        Raises:
            OSError: If metrics.jsonl cannot be written.
        """
        self._record.write(record)
        for name, backend in list(self._copies.items()):
            with self._dropped_on_error(name):
                backend.write(record)

    def close(self) -> None:
        """Close all backends."""
        self.is_intact = self._record.is_intact
        self._record.close()
        for name, backend in list(self._copies.items()):
            with self._dropped_on_error(name):
                backend.close()

    @contextmanager
    def _dropped_on_error(self, name: str) -> Iterator[None]:
        """Drop the backend with a warning if the block fails."""
        try:
            yield
        except Exception as error:  # third-party libraries raise anything
            self._copies.pop(name, None)
            reason = next(iter(str(error).splitlines()), "")
            logger.warning(
                f"log.{name} failed and is dropped from here on ({type(error).__name__}: {reason}); the run continues, "
                "metrics.jsonl holds every number"
            )
