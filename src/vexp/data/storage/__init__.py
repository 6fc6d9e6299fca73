"""Files of samples wherever they are: on this machine, in archives, on servers.

All functions take paths as text, also those of ordinary files, which they open as Python does, without fsspec. The
forms of paths are described in ``vexp.data.storage.location``.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from glob import has_magic

from vexp.core.errors import UserError
from vexp.data.storage.location import is_remote, is_stored, prefix, prefix_rule, split
from vexp.data.storage.stored_file import StoredFile

__all__ = [
    "StoredFile", "exists", "identity", "is_remote", "is_stored", "names", "open_file", "prefix", "prefix_rule",
    "problem", "read",
]  # fmt: skip


def problem(text: str) -> str | None:
    """Return why a prefix that a user wrote cannot be read, without a network; None if nothing is known against it.

    Folders of this machine are left to those who read them.
    """
    path = prefix(text)
    if is_remote(path):
        from vexp.data.storage import remote

        try:
            remote.check_installed(path)
        except UserError as error:
            return str(error)
    elif (archive := split(path)[0]) and not has_magic(archive) and "{" not in archive and not os.path.exists(archive):
        return "no such archive"
    return None


def open_file(path: str) -> StoredFile:
    """Return the file of a stored path (``is_stored``), after its transfer if it is on a server.

    Raises:
        FileNotFoundError: If there is none.
        UserError: If it cannot be read.
    """
    archive, name = split(path)
    if archive:
        from vexp.data.storage.archives import open_archives

        found, row = open_archives(archive).find(name)
        return found.open(row)
    from vexp.data.storage import remote
    from vexp.data.storage.cache import local_copy
    from vexp.data.storage.location import address, public

    status = remote.file_status(path)
    key = f"{public(address(path))}, {status.version}"
    copy = local_copy(path, key, status.size, lambda: remote.content(path))
    return StoredFile(path, copy.path, 0, copy.size, status.version, copy)


def read(path: str) -> bytes:
    """Return the content of a file.

    Raises:
        OSError: If there is none or it cannot be read.
        UserError: If it is in an archive or on a server and cannot be read.
    """
    if is_stored(path):
        archive, name = split(path)
        if not archive:
            return open_file(path).read()
        from vexp.data.storage.archives import open_archives

        found, row = open_archives(archive).find(name)
        return found.read(row)
    with open(path, "rb", buffering=0) as file:
        return file.read()


def exists(path: str) -> bool:
    """Return whether there is a file (on this machine: or a folder) at a path.

    Raises:
        UserError: If a server does not answer, or refuses.
    """
    return identity(path) is not None if is_stored(path) else os.path.exists(path)


def identity(path: str) -> tuple[int, int | str] | None:
    """Return the size and the time of a file, or another value that changes with it; None if there is no file."""
    try:
        if not is_stored(path):
            status = os.stat(path)
            return status.st_size, status.st_mtime_ns
        archive, name = split(path)
        if archive:
            from vexp.data.storage.archives import open_archives

            found, row = open_archives(archive).find(name)
            return int(found.index.places[row, 1]), found.version_of(row)
        from vexp.data.storage import remote

        status_ = remote.file_status(path)
        return status_.size or 0, status_.version
    except OSError:
        return None


def names(path: str) -> Sequence[str]:
    """Return the files of a stored folder and its subfolders, relative to it, sorted.

    Raises:
        UserError: If they cannot be listed.
    """
    archive, folder = split(path)
    if archive:
        from vexp.data.storage.archives import open_archives

        return open_archives(archive).names(folder)
    from vexp.data.storage import remote

    return remote.names(path)
