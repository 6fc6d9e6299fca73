"""Downloading a file from a server that may stop answering."""

from __future__ import annotations

import queue
import sys
import threading
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

TIMEOUT = 60.0  # seconds within which the server must send _MIN_BYTES, or all the rest
_MIN_BYTES = 16_384
_CHUNK = 1 << 17  # bytes


class DownloadError(Exception):
    """A download failed; the message is the reason."""


class _Transfer(threading.Thread):
    """Receives a file in a thread of its own: a name look-up has no time limit, and each byte of a header renews it.

    ``items`` gets the size of the file (None: unknown), its content in pieces, and None at the end; or an exception.
    """

    def __init__(self, url: str) -> None:
        super().__init__(name="download", daemon=True)
        self.url = url
        self.items: queue.Queue[int | bytes | Exception | None] = queue.Queue(64)

    def run(self) -> None:
        request = Request(self.url, headers={"User-Agent": "torch.hub"})  # some hosts refuse urllib's own name
        try:
            with urlopen(request, timeout=TIMEOUT) as response:
                length = response.headers.get("Content-Length", "")
                self.items.put(int(length) if length.isdecimal() else None)
                while piece := response.read1(_CHUNK):
                    self.items.put(piece)
            self.items.put(None)
        except Exception as error:  # http.client raises many kinds
            self.items.put(error)


def download(url: str, path: Path) -> None:
    """Write the file at ``url`` to ``path``, showing the progress in a terminal.

    Raises:
        DownloadError: If it cannot be downloaded, is incomplete, or the server sends next to nothing for ``TIMEOUT``
            seconds.
        OSError: If ``path`` cannot be written.
    """
    transfer = _Transfer(url)
    transfer.start()
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    received, counted, deadline = 0, 0, time.monotonic() + TIMEOUT
    bar = Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
    with path.open("wb") as file, bar as progress:
        size = _take(transfer, deadline)
        assert size is None or isinstance(size, int)
        task = progress.add_task(f"downloading {path.name}", total=size)
        while isinstance(piece := _take(transfer, deadline), bytes):
            file.write(piece)
            received += len(piece)
            progress.update(task, completed=received)
            if received - counted >= _MIN_BYTES:
                counted, deadline = received, time.monotonic() + TIMEOUT
    if size is not None and received != size:
        raise DownloadError(f"the connection was closed after {received} of {size} bytes")


def _take(transfer: _Transfer, deadline: float) -> int | bytes | None:
    try:
        item = transfer.items.get(timeout=max(0.0, deadline - time.monotonic()))
    except queue.Empty:
        raise DownloadError(f"the server has sent less than {_MIN_BYTES // 1024} kB in {TIMEOUT:g} seconds") from None
    if isinstance(item, URLError):
        raise DownloadError(str(getattr(item, "msg", None) or item.reason))
    if isinstance(item, Exception):
        raise DownloadError(str(item) or type(item).__name__)
    return item
