"""Console output of vexp's logger: plain text for information, ``warning: `` or ``error: `` before anything worse.

Names of classes and videos may come from somebody else. Control characters in them, which could set the title of a
terminal or write to its clipboard, are printed as their escapes.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

#: Control characters but tab, newline and carriage return, those that change the direction of text, and surrogates,
#: which stand for bytes of a file name that are not UTF-8.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
#: Colors, and what moves the cursor for a progress bar.
_STYLE = re.compile(r"(\x1b\[(?:[0-9;]*m|[0-9]*[AK]|\?25[hl]))")


def escape_controls(text: str) -> str:
    r"""Replace control characters by their escapes: ``\x1b``."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class EscapedStream:
    """A text stream that writes control characters as their escapes; on a terminal, colors are kept."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write text and return the number of its characters."""
        if _CONTROL.search(text):
            parts = _STYLE.split(text) if self._stream.isatty() else [text]  # every second part is a style
            shown = "".join(part if number % 2 else escape_controls(part) for number, part in enumerate(parts))
            self._stream.write(shown)
        else:
            self._stream.write(text)
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def escaped_output() -> Iterator[None]:
    """Print through an ``EscapedStream`` for the duration of the block."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = EscapedStream(sys.stdout), EscapedStream(sys.stderr)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


class ConsoleFormatter(logging.Formatter):
    """Format a record as its message, prefixed by the level in lower case from WARNING on."""

    def format(self, record: logging.LogRecord) -> str:
        text = escape_controls(super().format(record))
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


def format_operations(count: float) -> str:
    """Format a number of floating-point operations: ``484 GFLOP``, ``1.94 TFLOP``."""
    return f"{count / 1e12:.3g} TFLOP" if count >= 1e12 else f"{count / 1e9:.3g} GFLOP"


def plural(count: int, noun: str) -> str:
    """Format a count with its noun: ``1 step``, ``2 steps``, ``2 processes``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}{'es' if noun.endswith('s') else 's'}"
