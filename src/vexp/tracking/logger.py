"""All logger backends of a run. metrics.jsonl is the record; the others are copies, whose failure never ends a run."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vexp.tracking.backends import Csv, JsonLines, LoggerBackend, Record, TensorBoard, read_records
from vexp.tracking.config import Log
from vexp.tracking.wandb import WandbBackend

logger = logging.getLogger(__name__)


class MetricLogger:
    """Write every record to every backend."""

    def __init__(self, folder: Path | None, options: Log, *, first_step: int, config: dict[str, Any]) -> None:
        """Open the backends.

        Args:
            folder: Run folder, whose metrics.jsonl ends before ``first_step``. None: every record is dropped, as
                another process writes them.
            options: The ``log`` group.
            first_step: First step that this process trains.
            config: The whole config in plain containers, for backends that display it.
        """
        self._record = JsonLines(Path(os.devnull) if folder is None else folder / "metrics.jsonl")
        self._copies: dict[str, LoggerBackend] = {}
        if folder is None:
            return
        earlier = read_records(folder / "metrics.jsonl")
        if options.tensorboard:
            self._open("tensorboard", lambda: TensorBoard(folder / "tensorboard", first_step))
        if options.csv:
            self._open("csv", lambda: Csv(folder / "metrics.csv", earlier))
        if options.wandb.mode is not None:
            self._open("wandb", lambda: WandbBackend(folder, options.wandb, config=config))

    def write(self, record: Record) -> None:
        """Write a record.

        Raises:
            OSError: If metrics.jsonl cannot be written.
        """
        self._record.write(record)
        for name, backend in list(self._copies.items()):
            self._guard(name, lambda backend=backend: backend.write(record))  # type: ignore[misc]

    def sync(self) -> None:
        """Flush metrics.jsonl to the disk."""
        self._record.sync()

    def abandon(self) -> None:
        """Close metrics.jsonl only, without waiting for any other backend."""
        self._record.close()

    def close(self) -> None:
        """Close all backends."""
        self._record.close()
        for name, backend in list(self._copies.items()):
            self._guard(name, backend.close)

    def _open(self, name: str, create: Callable[[], LoggerBackend]) -> None:
        def add() -> None:
            self._copies[name] = create()

        self._guard(name, add)

    def _guard(self, name: str, action: Callable[[], None]) -> None:
        """Run ``action``; drop the backend with a warning if it fails."""
        try:
            action()
        except Exception as error:  # third-party libraries raise anything
            self._copies.pop(name, None)
            reason = next(iter(str(error).splitlines()), "")
            logger.warning(
                f"log.{name} failed and is dropped from here on ({type(error).__name__}: {reason}); the run continues, "
                "metrics.jsonl holds every number"
            )
