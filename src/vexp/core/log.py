"""Console output of vexp's logger: plain text for information, ``warning: `` or ``error: `` before anything worse."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager


class ConsoleFormatter(logging.Formatter):
    """Format a record as its message, prefixed by the level in lower case from WARNING on."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return text if record.levelno < logging.WARNING else f"{record.levelname.lower()}: {text}"


@contextmanager
def log_to(handler: logging.Handler) -> Iterator[None]:
    """Send the records of vexp, from INFO on, to ``handler`` alone for the duration of the block."""
    logger = logging.getLogger("vexp")
    before = logger.level, logger.propagate, logger.handlers
    logger.setLevel(logging.INFO)
    logger.propagate, logger.handlers = False, [handler]  # a run within a command logs to its own handler only
    try:
        yield
    finally:
        logger.setLevel(before[0])
        logger.propagate, logger.handlers = before[1:]
        handler.close()


@contextmanager
def log_to_console() -> Iterator[None]:
    """Print vexp's log records to stdout for the duration of the block; commands run inside of it."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(ConsoleFormatter())
    with log_to(handler):
        yield
