"""A loopback server of a folder with HTTP ranges, a password, and faults."""

from __future__ import annotations

import base64
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

pytest.importorskip("fsspec")
pytest.importorskip("aiohttp")


class FileServer(ThreadingHTTPServer):
    """Serves ``root``; ``requests`` are method, path and range of each request that was answered with a file.

    ``faults`` are answers in place of the next requests: a status, "close" (no answer), "cut" (half of the content),
    "hang" (no answer until the server ends).
    """

    daemon_threads = True

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.root, self.requests, self.ranges = root, list[tuple[str, str, str | None]](), True
        self.faults: list[int | str] = []
        self.password, self.query = "", ""  # required of each request, unless empty
        self.ended = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_: object) -> None:
        """Print nothing about connections that a client closes."""


class _Handler(BaseHTTPRequestHandler):
    server: FileServer
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, body: bool) -> None:
        server, parts = self.server, urlsplit(self.path)
        fault = server.faults.pop(0) if server.faults else None
        if fault == "hang":
            server.ended.wait()
        if fault in ("hang", "close"):
            self.close_connection = True
            return None
        wanted = f"Basic {base64.b64encode(server.password.encode()).decode()}" if server.password else None
        if wanted is not None and self.headers.get("Authorization") != wanted:
            fault = 401
        if server.query and parts.query != server.query:
            fault = 403
        path = server.root / unquote(parts.path, errors="surrogateescape").strip("/")
        if isinstance(fault, int) or not path.exists():
            return self._send(fault if isinstance(fault, int) else 404, b"", body)
        if path.is_dir():
            names = sorted(f"{entry.name}/" if entry.is_dir() else entry.name for entry in os.scandir(path))
            page = "".join(f'<a href="{name}">{name}</a>\n' for name in names).encode()
            return self._send(200, page, body, {"Content-Type": "text/html"})
        wanted_range, size = self.headers.get("Range"), path.stat().st_size
        server.requests.append((self.command, parts.path, wanted_range))
        headers = {"ETag": f'"{path.stat().st_mtime_ns:x}"'} | ({"Accept-Ranges": "bytes"} if server.ranges else {})
        status, start, stop = 200, 0, size
        if wanted_range and server.ranges:
            first, last = wanted_range.removeprefix("bytes=").split("-")
            status, start, stop = 206, int(first), min(int(last) + 1, size) if last else size
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        with path.open("rb") as file:
            file.seek(start)
            content = file.read(stop - start)
        return self._send(status, content, body, headers, cut=fault == "cut")

    def _send(
        self, status: int, content: bytes, body: bool, headers: dict[str, str] | None = None, cut: bool = False
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        with suppress(OSError):
            if body:
                self.wfile.write(content[: len(content) // 2] if cut else content)
        if cut:
            self.close_connection = True


@contextmanager
def serving(root: Path) -> Iterator[FileServer]:
    """Serve a folder until the block is left."""
    with FileServer(root) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:  # otherwise a test that fails would wait for the thread for ever
            server.ended.set()
            server.shutdown()
            thread.join()
