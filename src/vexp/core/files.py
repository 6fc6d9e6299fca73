"""Files written whole or not at all, and what a disk that does not take them has to say."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vexp.core.errors import UserError

_LEFTOVER = re.compile(r"^\..+\.\d+\.tmp$")  # as ``whole`` names them


def ensure_writable_dir(path: Path, mending: str) -> None:
    """A folder that is there and takes files, before what they will hold is paid for.

    Raises:
        UserError: it cannot be made or written, and ``mending``.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise UserError(f"{path}: files cannot be written there: {error.strerror}; {mending}") from None


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A temporary file beside ``path`` that takes its place when the block ends well, and is removed when it does not.

    The content is on the disk before the name points to it, and the name before the block is left: neither a kill nor
    a power failure leaves half a file under ``path``.

    Raises:
        OSError: it cannot be written; what was there before is intact.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)  # what a killed process left may be a link to a checkpoint
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    finally:
        with suppress(OSError):  # it is there after a failure, and where path was a link to the same file already
            temporary.unlink()


@contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """A temporary folder beside ``path`` that takes its place when the block ends well, and is removed otherwise.

    A kill leaves no half folder under ``path``. What was there is removed first: it may then be missing. Files are not
    forced to the disk, there may be thousands.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        yield temporary
        if path.is_dir():
            shutil.rmtree(path)
        temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write a small file whole or not at all.

    Raises:
        OSError: as ``whole``.
    """
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def remove_temp_files(folder: Path) -> list[str]:
    """Delete what ``whole`` and ``whole_folder`` of killed processes left; the names. Only for a folder that nobody
    else writes to."""
    removed = []
    for path in folder.glob(".*.tmp"):
        if _LEFTOVER.match(path.name):
            with suppress(OSError):
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink()
                removed.append(path.name)
    return sorted(removed)


def write_error_message(path: Path, error: OSError) -> str:
    """``No space left on device (ENOSPC); 1.2 MB are free on its disk``."""
    name = errno.errorcode.get(error.errno or 0, type(error).__name__)
    limit = ", but a quota or limit (ulimit -f) is reached" if error.errno in (errno.EDQUOT, errno.EFBIG) else ""
    return f"{error.strerror or error} ({name}); {free_space(path)}{limit}"


def free_space(path: Path) -> str:
    """``1.2 MB are free on its disk``, of the nearest folder that exists."""
    for folder in (path, *path.parents):
        with suppress(OSError):
            return f"{format_bytes(shutil.disk_usage(folder).free)} are free on its disk"
    return "its disk cannot be asked for its free space"


def format_bytes(count: float) -> str:
    """``1.2 MB``, in powers of 1000 as disks are sold."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":
        return  # a folder cannot be opened there; the rename itself is journaled
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
