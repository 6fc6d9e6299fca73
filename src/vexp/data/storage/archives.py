"""Random access to the files of .zip and .tar archives, on this machine or on a server, one archive or many shards."""

from __future__ import annotations

import errno
import functools
import glob
import hashlib
import logging
import os
import struct
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from vexp.core.errors import UserError
from vexp.data.annotations.packed import digest
from vexp.data.storage import remote
from vexp.data.storage.archive_index import (
    DEFLATED,
    ENCRYPTED_METHOD,
    STORED,
    ArchiveIndex,
    build_index,
    load_index,
    save_index,
)
from vexp.data.storage.cache import NotFoundError, cache_folder, local_copy
from vexp.data.storage.location import address, expand_braces, is_remote, public
from vexp.data.storage.stored_file import StoredFile

logger = logging.getLogger(__name__)
_ZIP_HEADER = struct.Struct("<4s22xHH")  # of a file: signature, lengths of the name and of the extra field
_BLOCK = 1 << 20  # bytes
_THREADS = 8  # that index archives


@dataclass(frozen=True, slots=True, eq=False)
class Archive:
    """One archive; ``path`` is its file, None if it is on a server."""

    place: str
    kind: str  # "zip" or "tar"
    path: Path | None
    size: int | None
    version: str  # changes with the content
    index: ArchiveIndex

    def check(self) -> None:
        """Raise UserError if the archive is no longer the one that was indexed."""
        if self.path is not None and _local_version(self.place, self.path) != (self.size, self.version):
            raise UserError(f"{self.place}: has changed since its index was read; start again")

    def open(self, row: int) -> StoredFile:
        """Return a file of the archive: a part of it, or a local copy."""
        start, stop = self._span(row)
        size, name, method = int(self.index.places[row, 1]), f"{self.place}/{self.index.names[row]}", self._method(row)
        version = f"{self.version}, at {start}"
        if self.path is not None and method == STORED:
            return StoredFile(name, self.path, start, size, version)
        identity = str(self.path) if self.path is not None else public(address(self.place))
        copy = local_copy(
            name, f"{identity}, {version}, {self.index.names[row]}", size, lambda: self._content(row, start, stop)
        )
        return StoredFile(name, copy.path, 0, size, version, copy)

    def read(self, row: int) -> bytes:
        """Return the content of a file of the archive."""
        if self.path is None:
            return self.open(row).read()
        return b"".join(self._content(row, *self._span(row)))

    def version_of(self, row: int) -> str:
        """Return a text that changes with the content of a file."""
        return f"{self.version}, at {self.index.places[row, 0]}"

    def _method(self, row: int) -> int:
        method = int(self.index.places[row, 3])
        if method not in (STORED, DEFLATED):
            how = "is encrypted" if method == ENCRYPTED_METHOD else f"is compressed by method {method}"
            raise UserError(f"{self.place}/{self.index.names[row]}: {how}; store it with zip -0")
        return method

    def _span(self, row: int) -> tuple[int, int]:
        """Return the first byte of a file in the archive, and the one after its last."""
        start, size, stored, method, _ = (int(number) for number in self.index.places[row])
        damaged = method == STORED and size != stored
        if self.kind == "zip":
            header = b"".join(self._bytes(start, start + _ZIP_HEADER.size))
            if len(header) == _ZIP_HEADER.size:
                signature, name, extra = _ZIP_HEADER.unpack(header)
                start += _ZIP_HEADER.size + name + extra
            damaged = damaged or len(header) < _ZIP_HEADER.size or signature != b"PK\3\4"
        if damaged or start < 0 or stored < 0 or (self.size is not None and start + stored > self.size):
            raise UserError(f"{self.place}/{self.index.names[row]}: the archive is damaged or truncated")
        return start, start + stored

    def _content(self, row: int, start: int, stop: int) -> Iterator[bytes]:
        """Yield the content of a file, decompressed; never more than the archive states.

        Raises:
            UserError: If it is not the content that the archive states.
        """
        pieces = self._bytes(start, stop)
        if self._method(row) == STORED:
            yield from pieces
            return
        size, crc, count, check = int(self.index.places[row, 1]), int(self.index.places[row, 4]), 0, 0
        try:
            for piece in _inflated(pieces):
                count, check = count + len(piece), zlib.crc32(piece, check)
                if count > size:
                    break
                yield piece
        except zlib.error as error:
            raise UserError(f"{self.place}/{self.index.names[row]}: cannot be decompressed: {error}") from None
        if (count, check) != (size, crc):
            raise UserError(f"{self.place}/{self.index.names[row]}: is damaged: its size or checksum is not as stated")

    def _bytes(self, start: int, stop: int) -> Iterator[bytes]:
        if self.path is None:
            yield from remote.content(self.place, start, stop)
            return
        with self.path.open("rb", buffering=0) as file:  # opened anew: a worker shares no position with another
            file.seek(start)
            while start < stop and (piece := file.read(min(_BLOCK, stop - start))):
                yield piece
                start += len(piece)


class Archives:
    """The files of one archive, or of several that are read as one folder."""

    def __init__(self, place: str, archives: list[Archive]) -> None:
        self.place, self.archives = place, archives
        counts = [len(archive.index.names) for archive in archives]
        digests = np.concatenate([archive.index.digests for archive in archives])
        order = np.argsort(digests, kind="stable")
        self._digests = digests[order]
        self._archive = np.repeat(np.arange(len(archives), dtype=np.int32), counts)[order]
        self._row = np.concatenate([np.arange(count, dtype=np.int64) for count in counts])[order]

    def find(self, name: str) -> tuple[Archive, int]:
        """Return the archive of a file and its row in it.

        Raises:
            FileNotFoundError: If no archive has it.
            UserError: If several have it, or one has it several times, so that it is uncertain which is meant.
        """
        key = np.uint64(digest(name.encode("utf-8", "surrogateescape")))
        first, stop = (int(np.searchsorted(self._digests, key, side)) for side in ("left", "right"))
        places = [(self.archives[self._archive[i]], int(self._row[i])) for i in range(first, stop)]
        found = [(archive, row) for archive, row in places if archive.index.names[row] == name]
        if not found:
            left_out = sum(archive.index.left_out for archive in self.archives)
            hint = f" ({left_out} links and names outside of it are not read)" if left_out else ""
            text = f"{self.place} has no file of this name{hint}"
            raise NotFoundError(errno.ENOENT, text, f"{self.place}/{name}")
        if len(found) > 1:
            places_ = " and ".join(dict.fromkeys(archive.place for archive, _ in found))
            raise UserError(f"{self.place}/{name}: occurs {len(found)} times, in {places_}; keep one of them")
        found[0][0].check()
        return found[0]

    def names(self, folder: str) -> list[str]:
        """Return the files in a folder and its subfolders, relative to it, sorted."""
        start = f"{folder}/" if folder else ""
        every = (name for archive in self.archives for name in archive.index.names)
        return sorted(name[len(start) :] for name in every if name.startswith(start))


@functools.lru_cache(maxsize=64)
def open_archives(place: str) -> Archives:
    """Read or build the indexes of an archive, or of all that a pattern stands for; kept for the next call.

    Raises:
        UserError: If there is none, or one cannot be read.
    """
    places = _expand(place)
    with ThreadPoolExecutor(min(_THREADS, len(places))) as pool:
        return Archives(place, list(pool.map(_open_archive, places)))


def _expand(place: str) -> list[str]:
    if not is_remote(place) and os.path.exists(place):
        return [place]
    found = []
    for name in expand_braces(place):
        if is_remote(place):
            matches = remote.matching(name) if glob.has_magic(name) else [name]
        else:
            matches = sorted(glob.glob(name)) if glob.has_magic(name) else [name] if os.path.isfile(name) else []
        if not matches:
            raise UserError(f"{name}: no such archive")
        found += matches
    return found


def _open_archive(place: str) -> Archive:
    if is_remote(place):
        path, url = None, address(place)
        status = remote.file_status(place)
        size, version, identity, kind = status.size, status.version, public(url), urlsplit(url).path
    else:
        path = Path(place)
        (size, version), identity, kind = _local_version(place, path), place, place
    kind = kind[-3:].lower()
    name = hashlib.sha256(identity.encode(errors="surrogateescape")).hexdigest()[:40]
    saved = cache_folder() / "archives" / f"{name}.npz"
    identity = f"{kind} {size} {version}"
    if (index := load_index(saved, identity)) is None:
        logger.info("%s: reading the headers of the archive, once", place)
        if path is None:
            index = remote.with_seekable(place, lambda file: build_index(file, place, kind))
        else:
            with path.open("rb") as file:
                index = build_index(file, place, kind)
        save_index(saved, identity, index)
    return Archive(place, kind, path, size, version, index)


def _local_version(place: str, path: Path) -> tuple[int, str]:
    try:
        status = path.stat()
    except OSError as error:
        raise UserError(f"{place}: cannot be read as an archive: {error.strerror}") from None
    return status.st_size, str(status.st_mtime_ns)


def _inflated(pieces: Iterator[bytes]) -> Iterator[bytes]:
    engine = zlib.decompressobj(-zlib.MAX_WBITS)
    for piece in pieces:
        while piece and not engine.eof:
            yield engine.decompress(piece, _BLOCK)
            piece = engine.unconsumed_tail
    yield engine.flush()
