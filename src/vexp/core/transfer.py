"""Receiving data from a server that may stop answering."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

TIMEOUT = 60.0
"""Seconds within which a server must send ``MIN_BYTES``, or all the rest."""
MIN_BYTES = 16_384


class _Transfer(threading.Thread):
    """Iterates in a thread of its own: a name look-up has no time limit, and each byte of a header renews a socket's.

    The thread of a server that never answers is left behind; it does not keep the process alive. ``items`` gets what
    is iterated over, and None at the end; or an exception.
    """

    def __init__(self, iterate: Callable[[], Iterator[Any]]) -> None:
        super().__init__(name="download", daemon=True)
        self._iterate = iterate
        self.items: queue.Queue[Any] = queue.Queue(8)
        self._is_abandoned = False

    def run(self) -> None:
        try:
            for item in self._iterate():
                self.items.put(item)
                if self._is_abandoned:
                    return
            self.items.put(None)
        except Exception as error:  # HTTP clients raise many kinds
            self.items.put(error)

    def abandon(self) -> None:
        """End the iteration after the item that it is at."""
        self._is_abandoned = True
        with suppress(queue.Empty):
            while True:
                self.items.get_nowait()


def receive(iterate: Callable[[], Iterator[Any]], timeout: float) -> Iterator[Any]:
    """Yield what ``iterate`` yields in a thread of its own: pieces of content, or other values before them.

    Raises:
        TimeoutError: If fewer than ``MIN_BYTES`` of content arrive within ``timeout`` seconds.
        Exception: The one that the iteration raises.
    """
    transfer = _Transfer(iterate)
    transfer.start()
    received, deadline = 0, time.monotonic() + timeout
    try:
        while (item := transfer.items.get(timeout=max(0.0, deadline - time.monotonic()))) is not None:
            if isinstance(item, Exception):
                try:
                    raise item
                finally:
                    del item  # the error refers to this frame: a cycle would keep its connection open
            yield item
            received += len(item) if isinstance(item, bytes) else 0
            if received >= MIN_BYTES:
                received, deadline = 0, time.monotonic() + timeout
    except queue.Empty:
        reason = f"the server has sent less than {MIN_BYTES // 1024} kB in {timeout:g} seconds"
        raise TimeoutError(reason) from None
    finally:
        transfer.abandon()
