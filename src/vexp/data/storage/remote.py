"""Files on servers, read with fsspec, which is imported when the first one is opened.

Credentials come from where fsspec and its file systems look for them: ~/.netrc for http, the environment and files of
the provider (AWS_..., GOOGLE_...), FSSPEC_... and ~/.config/fsspec. Messages never repeat what a library reports about
a URL, since it may hold a password.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeVar
from urllib.parse import unquote

from vexp.core.errors import UserError, missing_package
from vexp.core.transfer import TIMEOUT, receive
from vexp.data.storage.cache import NotFoundError
from vexp.data.storage.location import address, secrets

T = TypeVar("T")
_BLOCK = 1 << 20  # bytes of a request for a part of a file
_HEADERS_BLOCK = 1 << 16  # the same, while the headers of an archive are read
ATTEMPTS = 3
PAUSE = 1.0  # seconds before the second attempt; twice as many before each further one
_NO_RANGES = "the server does not send parts of files (HTTP ranges); download the archive"
_OVERLOADED = (408, 425, 429)  # statuses after which another attempt may succeed, besides 5xx
#: What identifies the content of a file, in the terms of several file systems.
_VERSIONS = (
    "ETag", "etag", "Content-MD5", "md5Hash", "content_md5", "LastModified", "Last-Modified", "mtime", "created",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class FileStatus:
    """Size in bytes (None: unknown), and a text that changes with the content."""

    size: int | None
    version: str


@functools.lru_cache(maxsize=1 << 16)
def file_status(place: str) -> FileStatus:
    """Return the status of a file; a process asks the server once.

    Raises:
        FileNotFoundError: If there is none.
        UserError: If the server does not answer, or refuses.
    """

    def ask() -> dict[str, Any]:
        file_system, path = _file_system(place)
        found: dict[str, Any] = file_system.info(path)
        return found

    found = _attempt(place, lambda: _in_time(ask))
    if found.get("type") == "directory":
        raise NotFoundError(errno.EISDIR, "is a folder", place)
    version = ", ".join(f"{name} {found[name]}" for name in _VERSIONS if found.get(name))
    return FileStatus(found.get("size"), f"{found.get('size')} bytes, {version}")


def content(place: str, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
    """Yield the bytes of a file from ``start`` to before ``stop`` (None: to its end) in pieces.

    A transfer that breaks off is continued at the byte where it did.

    Raises:
        FileNotFoundError: If there is no such file.
        UserError: If the server does not answer, refuses, or sends next to nothing for ``TIMEOUT`` seconds.
    """
    position, attempt = start, 0
    while True:
        try:
            for piece in receive(functools.partial(_pieces, place, position, stop), TIMEOUT):
                yield piece
                position += len(piece)
            return
        except Exception as error:
            attempt += 1
            _raise_unless_transient(place, error, attempt)


@functools.lru_cache(maxsize=16)
def names(place: str) -> Sequence[str]:
    """Return the files of a folder and its subfolders, relative to it; for http, those that its pages link.

    Raises:
        UserError: If they cannot be listed.
    """

    def find() -> list[str]:
        file_system, path = _file_system(place)
        base = file_system._strip_protocol(path).rstrip("/") + "/"
        return [file[len(base) :] for file in file_system.find(base) if file.startswith(base)]

    found = _attempt(place, lambda: _in_time(find))
    return tuple(sorted(map(unquote, found) if place.startswith(("http", "$")) else found))


def matching(pattern: str) -> list[str]:
    """Return the stored paths that a pattern with * or ? in the last part of its path matches."""
    folder, _, name = pattern.rpartition("/")
    regex = re.compile("".join({"*": "[^/]*", "?": "[^/]"}.get(char, re.escape(char)) for char in name))
    return [f"{folder}/{found}" for found in names(folder) if regex.fullmatch(found)]


def open_seekable(place: str) -> BinaryIO:
    """Open a file for reading the headers of an archive in it."""
    file_system, path = _file_system(place)
    file: BinaryIO = file_system.open(path, "rb", block_size=_HEADERS_BLOCK, cache_type="readahead")
    try:
        file.seek(-1, os.SEEK_END)
        file.read(1)
        file.seek(0)
    except ValueError:
        file.close()
        raise UserError(f"{place}: {_NO_RANGES}") from None
    return file


def with_seekable(place: str, read: Callable[[BinaryIO], T]) -> T:
    """Return what ``read`` returns for the opened file; there is no time limit, since archives have many headers."""

    def opened() -> T:
        with open_seekable(place) as file:
            return read(file)

    return _attempt(place, opened)


def _pieces(place: str, start: int, stop: int | None) -> Iterator[bytes]:
    file_system, path = _file_system(place)
    options: dict[str, Any] = {"block_size": _BLOCK, "cache_type": "none"}
    if path.startswith("http"):
        options["size"] = file_status(place).size  # otherwise it asks again
        options["block_size"] = 0 if start == 0 and stop is None else _BLOCK  # 0: one request, streamed
    with file_system.open(path, "rb", **options) as file:
        if start:
            file.seek(start)
        while piece := file.read(_BLOCK if stop is None else min(_BLOCK, stop - start)):
            yield piece
            start += len(piece)


def _file_system(place: str) -> tuple[Any, str]:
    """Return the file system of a stored path, of this process, and the path in it."""
    url = address(place)
    scheme = url.partition("://")[0].lower()
    kind = _file_system_class(scheme)
    # Not fsspec.core.url_to_fs: it would take a :: in the name of a file for a chain of file systems.
    options = kind._get_kwargs_from_urls(url)
    if scheme in ("http", "https"):  # passwords of ~/.netrc, which belong to one host each; proxies of the environment
        from fsspec.config import conf

        options["client_kwargs"] = {"trust_env": True, **conf.get(scheme, {}).get("client_kwargs", {})}
    return kind(**options), kind._strip_protocol(url)


def _file_system_class(scheme: str) -> Any:
    try:
        from fsspec import get_filesystem_class
    except ImportError:
        raise UserError(missing_package("fsspec")) from None
    try:
        return get_filesystem_class(scheme)
    except (ImportError, ValueError) as error:
        raise UserError(f"{scheme}://: {error}") from None


def check_installed(place: str) -> None:
    """Check that the package of the file system is installed and the variable of the path set, without a network.

    Raises:
        UserError: If it is not.
    """
    _file_system_class(address(place).partition("://")[0].lower())


def _in_time(call: Callable[[], T]) -> T:
    result: T = next(receive(lambda: iter([(call(),)]), TIMEOUT))[0]
    return result


def _attempt(place: str, call: Callable[[], T]) -> T:
    attempt = 0
    while True:
        try:
            return call()
        except Exception as error:
            attempt += 1
            _raise_unless_transient(place, error, attempt)


def _raise_unless_transient(place: str, error: Exception, attempt: int) -> None:
    """Wait before the next attempt, or raise the error of a file in terms of its stored path."""
    if isinstance(error, UserError):
        raise error
    while isinstance(error, FileNotFoundError) and isinstance(error.__cause__, Exception):
        error = error.__cause__  # the HTTP file system reports every error of its first request so
    status = getattr(error, "status", None)
    network = isinstance(error, OSError | asyncio.TimeoutError) or type(error).__module__.startswith("aiohttp")
    denied = isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError | NotADirectoryError)
    transient = (status >= 500 or status in _OVERLOADED) if isinstance(status, int) else network and not denied
    if transient and attempt < ATTEMPTS:
        time.sleep(PAUSE * 2 ** (attempt - 1))
        return
    if isinstance(error, FileNotFoundError) or status in (404, 410):
        raise NotFoundError(errno.ENOENT, "the server has no such file", place) from None
    tried = f" ({attempt} attempts)" if transient else ""
    reason = _reason(error)
    for secret in secrets(place):
        reason = reason.replace(secret, "***")
    raise UserError(f"{place}: cannot be read: {reason}{tried}") from None


def _reason(error: Exception) -> str:
    """Describe an error of a library without the URL in its message."""
    status = getattr(error, "status", None)
    if isinstance(status, int) and status:
        message = getattr(error, "message", "")
        return f"the server answered {status}{f' {message}' if isinstance(message, str) else ''}"
    if "range requests" in str(error):
        return _NO_RANGES
    text = (getattr(error, "strerror", None) if isinstance(error, OSError) else None) or str(error)
    text = " ".join(re.sub(r"\S*(?:://|@)\S*", "(URL)", text).split())
    return text[:200] or type(error).__name__
