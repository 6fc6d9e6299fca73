"""Atomic writes of files and directories, and messages for disks that cannot be written."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from vexp.core.errors import UserError

_LEFTOVER = re.compile(r"^\..+\.\d+\.tmp$")  # the names that atomic_write gives


def ensure_writable_dir(path: Path, hint: str) -> None:
    """Make a folder and check that files can be written to it, before their content is computed.

    Raises:
        UserError: If it cannot be made or written; the message ends with ``hint``.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise UserError(f"{path}: files cannot be written there: {error.strerror}; {hint}") from None


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary file beside ``path``; it is renamed to ``path`` if the block succeeds, and removed otherwise.

    The file is fsynced before the rename, and the folder after it: neither a kill nor a power failure leaves a partial
    file under ``path``.

    Raises:
        OSError: If it cannot be written, or is a device, which a rename would remove; the previous file is intact.
    """
    if path.parent == Path("/dev") or path.is_char_device() or path.is_block_device():
        raise OSError(errno.EINVAL, "is a device, not a file", str(path))
    if not path.name or path.is_dir():  # / or ., or a folder of this name
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)  # a leftover of a killed process may be a hard link to a checkpoint
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        if os.name != "nt":  # a folder cannot be opened there; the rename itself is journaled
            handle = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
    finally:
        with suppress(OSError):  # still there after a failure, and if path already was a hard link to it
            temporary.unlink()


@contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``path``; it replaces ``path`` if the block succeeds, and is removed otherwise.

    A kill leaves no partial folder under ``path``; the previous folder is removed just before the rename, so ``path``
    may be missing then. Files are not fsynced, because there may be thousands.
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


def leaves_folder(path: str) -> bool:
    """Whether a path is absolute, begins with ``~``, or leads out of its folder by ``..``."""
    return Path(path).is_absolute() or path.startswith("~") or ".." in Path(path).parts


def folder_name_rule(name: str) -> str | None:
    """Return the rule that the name of a folder breaks; None if it names a folder below the one it is joined to."""
    inside = name.strip(" ./") and not leaves_folder(name) and "\0" not in name
    return None if inside else "must be the name of a folder: not empty, not absolute, without .."


def check_links(folder: Path, names: Iterable[str]) -> None:
    """Check that none of these files of a folder is a symbolic link out of it.

    A run folder may come from somebody else, and a program that opens a link writes to the place that it points to.

    Raises:
        UserError: If one is.
    """
    root = os.path.realpath(folder)
    for name in names:
        path = folder / name
        if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(root):
            raise UserError(
                f"{path}: is a symbolic link out of the run folder, through which files of other places would be "
                "written; replace it by what it points to"
            )


def write_text(path: Path, text: str) -> None:
    """Write a small UTF-8 file with ``atomic_write``. File names that are not UTF-8 are written as their bytes."""
    try:
        text.encode("utf-8", errors := "surrogateescape")
    except UnicodeEncodeError:  # a surrogate that stands for no byte, from JSON
        errors = "backslashreplace"
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors=errors)


def remove_temp_files(folder: Path) -> list[str]:
    """Delete what killed processes left in a folder that no other process writes to; return the names."""
    removed = []
    for path in folder.glob(".*.tmp"):
        if _LEFTOVER.match(path.name):
            with suppress(OSError):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
                removed.append(path.name)
    return sorted(removed)


def write_error_message(path: Path, error: OSError) -> str:
    """Describe why a write failed: ``No space left on device (ENOSPC); 1.2 MB are free on its disk``."""
    name = errno.errorcode.get(error.errno or 0, type(error).__name__)
    limit = ", but a quota or limit (ulimit -f) is reached" if error.errno in (errno.EDQUOT, errno.EFBIG) else ""
    return f"{error.strerror or error} ({name}); {free_space(path)}{limit}"


def is_still_at(file: IO[bytes], path: Path) -> bool:
    """Whether an open file that is being written is still the one at ``path``, not deleted, renamed or replaced.

    The sizes are compared, because the inode numbers of some network file systems are not stable.
    """
    try:
        return path.stat().st_size == os.fstat(file.fileno()).st_size
    except OSError:
        return False


def free_space(path: Path) -> str:
    """Describe the free space at ``path`` or the nearest folder above that exists: ``1.2 MB are free on its disk``."""
    for folder in (path, *path.parents):
        with suppress(OSError):
            return f"{format_bytes(shutil.disk_usage(folder).free)} are free on its disk"
    return "the free space of its disk is unknown"


def format_bytes(count: float) -> str:
    """Format a number of bytes in powers of 1000: ``1.2 MB``."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
