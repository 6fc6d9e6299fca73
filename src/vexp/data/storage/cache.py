"""Local copies of files on servers and of compressed files of archives, in a folder of limited size.

Several processes and runs use the folder at the same time. A copy is written under another name, checked, flushed to
the disk and renamed: one that is incomplete is never read. A process that reads a copy holds a lock on it; of the
others, those not used for the longest time are deleted when there is no room.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from vexp.core.errors import UserError
from vexp.core.files import format_bytes, write_error_message

try:
    import fcntl
except ImportError:  # Windows, which deletes no file that is open
    fcntl = None  # type: ignore[assignment]

DEFAULT_GB = 20.0
_SLACK = 20  # 1 / the part of the limit that is left free when copies are deleted
_UNCOUNTED = 1000  # 1 / the part of the limit that a process writes before it counts the folder again
_ABANDONED = 3600.0  # seconds without a write after which an incomplete file is that of a killed process
_ATTEMPTS = 3  # at reading a copy that other processes delete at once


class NotFoundError(FileNotFoundError):
    """The file of a stored path does not exist."""


class LocalCopy:
    """A copy that is not deleted while this object exists."""

    def __init__(self, path: Path, handle: int) -> None:
        self.path = path
        self.size = os.fstat(handle).st_size
        weakref.finalize(self, os.close, handle)


def cache_folder() -> Path:
    """Return the folder of the copies and of the indexes of archives: storage/ in $VEXP_CACHE or ~/.cache/vexp."""
    return Path(os.environ.get("VEXP_CACHE") or "~/.cache/vexp").expanduser().absolute() / "storage"


def cache_limit() -> int:
    """Return the size limit of the copies in bytes: $VEXP_CACHE_SIZE, in GB.

    Raises:
        UserError: If the variable is not a positive number.
    """
    text = os.environ.get("VEXP_CACHE_SIZE") or str(DEFAULT_GB)
    with suppress(ValueError, OverflowError):
        if (limit := int(float(text) * 1e9)) > 0:
            return limit
    raise UserError(f"VEXP_CACHE_SIZE={text}: must be a positive number, the size of the cache in GB")


def local_copy(name: str, key: str, size: int | None, pieces: Callable[[], Iterator[bytes]]) -> LocalCopy:
    """Return the copy of a file, writing it if there is none.

    Args:
        name: The stored path, for messages; the copy has its ending.
        key: Text that identifies the file and its version, without passwords: the name of the copy is its hash.
        size: Size of the file in bytes; None: unknown.
        pieces: Yields the content.

    Raises:
        UserError: If the content is incomplete, or the disk or the cache has no room for it.
        FileNotFoundError: If the file does not exist.
    """
    digest = hashlib.sha256(key.encode(errors="surrogateescape")).hexdigest()
    ending = re.search(r"\.\w{1,8}$", name)
    path = cache_folder() / "files" / digest[:2] / f"{digest[:40]}{ending[0] if ending else ''}"
    for _ in range(_ATTEMPTS):
        if (copy := _open_copy(path)) is not None:
            return copy
        _write(path, name, size, pieces)
    raise UserError(f"{name}: other processes delete its local copy at once; set VEXP_CACHE_SIZE (GB) higher")


def _write(path: Path, name: str, size: int | None, pieces: Callable[[], Iterator[bytes]]) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            _make_room(path.parents[1], size or 0, name, file)
            for piece in pieces():
                file.write(piece)
                if size is None:
                    _make_room(path.parents[1], len(piece), name, file)
            if size is not None and file.tell() != size:
                raise UserError(f"{name}: is incomplete: {file.tell()} of {size} bytes")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except NotFoundError:
        raise
    except OSError as error:
        reason = write_error_message(path, error)
        raise UserError(f"{name}: no local copy can be written to {path.parent}: {reason}; set VEXP_CACHE") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def _open_copy(path: Path) -> LocalCopy | None:
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0))
    except FileNotFoundError:
        return None
    copy = LocalCopy(path, handle)
    if fcntl is not None:
        with suppress(OSError):  # the file system has no locks
            fcntl.flock(handle, fcntl.LOCK_SH)
    if not os.fstat(handle).st_nlink:  # deleted in between
        return None
    with suppress(OSError):
        os.utime(path)  # the time of its last use
    return copy


_uncounted = 0  # bytes that this process may still write before it counts the folder again


def _make_room(folder: Path, size: int, name: str, file: BinaryIO) -> None:
    """Delete copies until ``size`` bytes can be added to ``file``, one process after the other."""
    global _uncounted
    limit = cache_limit()
    if size > limit:
        raise UserError(
            f"{name}: has {format_bytes(size)}, more than the cache may hold; set VEXP_CACHE_SIZE (GB) higher than "
            f"{limit / 1e9:g}"
        )
    if size <= _uncounted:
        _uncounted -= size
        return
    with _locked(folder / ".lock"):
        files = sorted(_files(folder))
        total = sum(size for _, size, _ in files)
        if total + size > limit:
            for _, bytes_, path in files:
                if _delete(path):
                    total -= bytes_
                if total + size <= limit - min(limit // _SLACK, limit - size):
                    break
        if total + size > limit:
            raise UserError(f"{name}: all files of the cache are in use; set VEXP_CACHE_SIZE (GB) higher")
        file.truncate(file.tell() + size)  # the next process counts it
    _uncounted = limit // _UNCOUNTED


def _files(folder: Path) -> Iterator[tuple[float, int, str]]:
    """Yield the time of last use, size and path of each file of the cache."""
    for part in os.scandir(folder):
        if not part.is_dir():
            continue
        for entry in os.scandir(part.path):
            with suppress(FileNotFoundError):
                status = entry.stat()
                yield status.st_mtime, status.st_size, entry.path


def _delete(path: str) -> bool:
    """Delete a copy that no process reads, or the remains of a killed process; return whether it was deleted."""
    with suppress(OSError):
        if path.endswith(".tmp"):
            if time.time() - os.stat(path).st_mtime < _ABANDONED:
                return False
            os.unlink(path)
            return True
        if fcntl is None:
            os.unlink(path)
            return True
        handle = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(path)
            return True
        finally:
            os.close(handle)
    return False


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("ab") as file:
        if fcntl is not None:
            with suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX)
        yield
