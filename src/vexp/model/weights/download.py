"""Downloading a file from a server that may stop answering."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from vexp.core.transfer import TIMEOUT, receive

_CHUNK = 1 << 17  # bytes


class DownloadError(Exception):
    """A download failed; the message is the reason."""


def download(url: str, path: Path) -> None:
    """Write the file at ``url`` to ``path``, showing the progress in a terminal.

    Raises:
        DownloadError: If it cannot be downloaded, is incomplete, or the server sends next to nothing for ``TIMEOUT``
            seconds.
        OSError: If ``path`` cannot be written.
    """
    items = _checked(receive(functools.partial(_content, url), TIMEOUT))
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    bar = Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
    with path.open("wb") as file, bar as progress:
        size = next(items)
        task = progress.add_task(f"downloading {path.name}", total=None if size < 0 else size)
        for piece in items:
            file.write(piece)
            progress.update(task, completed=file.tell())
        if file.tell() != size >= 0:
            raise DownloadError(f"the connection was closed after {file.tell()} of {size} bytes")


def _content(url: str) -> Iterator[int | bytes]:
    """Yield the size of a file (-1: unknown), and then its content in pieces."""
    request = Request(url, headers={"User-Agent": "torch.hub"})  # some hosts refuse urllib's own name
    with urlopen(request, timeout=TIMEOUT) as response:
        length = response.headers.get("Content-Length", "")
        yield int(length) if length.isdecimal() else -1
        while piece := response.read1(_CHUNK):
            yield piece


def _checked(items: Iterator[Any]) -> Iterator[Any]:
    try:
        yield from items
    except URLError as error:
        raise DownloadError(str(getattr(error, "msg", None) or error.reason)) from None
    except Exception as error:  # http.client raises many kinds
        raise DownloadError(str(error) or type(error).__name__) from None
