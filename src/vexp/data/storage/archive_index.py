"""The places of the files in a .zip or .tar archive, found in one pass over its headers and saved for the next time.

Only regular files with a name inside the archive are listed: no links, devices and folders, no absolute names and none
with ``..``. Nothing is ever written under a name of an archive.
"""

from __future__ import annotations

import struct
import tarfile
import zipfile
import zlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISLNK
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from vexp.core.errors import UserError
from vexp.core.files import atomic_write
from vexp.data.annotations.packed import PackedStrings, TextPacker

STORED, DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED
_ENCRYPTED = 1  # bit of ZipInfo.flag_bits
ENCRYPTED_METHOD = -1
_VERSION = 2  # of the saved index

_DAMAGE = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, ValueError, EOFError, NotImplementedError, OverflowError,
    struct.error,
)  # fmt: skip

#: Name, position of the content (zip: of the file's own header), size, size in the archive, method, CRC-32.
_Entry = tuple[str, int, int, int, int, int]


@dataclass(frozen=True, slots=True, eq=False)
class ArchiveIndex:
    """The files of an archive in its order; ``places`` has the columns of ``_Entry``, int64 (n, 5)."""

    names: PackedStrings
    places: NDArray[np.int64]
    digests: NDArray[np.uint64]  # of the names; to compute a million of them takes seconds
    left_out: int  # entries that are links, or have a name outside of the archive


def build_index(file: BinaryIO, place: str, kind: str) -> ArchiveIndex:
    """Read the headers of an archive.

    Raises:
        UserError: If it is no archive of this kind, or is damaged.
    """
    names, places, left_out = TextPacker(), array("q"), 0
    try:
        for name, *numbers in _zip_entries(file) if kind == "zip" else _tar_entries(file):
            inside = _inside(name)
            if inside is None or not numbers:
                left_out += 1
                continue
            names.add(inside)
            places.extend(numbers)
    except _DAMAGE as error:
        raise UserError(f"{place}: cannot be read as a .{kind} archive: {error}") from None
    packed = names.finish()
    return ArchiveIndex(packed, np.array(places, np.int64).reshape(-1, 5), packed.digests(), left_out)


def _zip_entries(file: BinaryIO) -> Iterator[_Entry | tuple[str]]:
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            if S_ISLNK(info.external_attr >> 16):
                yield (info.filename,)
            elif not info.is_dir():
                method = ENCRYPTED_METHOD if info.flag_bits & _ENCRYPTED else info.compress_type
                yield info.filename, info.header_offset, info.file_size, info.compress_size, method, info.CRC


def _tar_entries(file: BinaryIO) -> Iterator[_Entry | tuple[str]]:
    with tarfile.open(fileobj=file, mode="r:") as archive:
        end = -1
        while (info := archive.next()) is not None:
            archive.members = []  # type: ignore[attr-defined]  # otherwise it keeps every header, a gigabyte for 10^6
            if archive.offset <= end:
                raise ValueError(f"the header of {info.name!r} leads backwards")
            end = archive.offset
            if info.isreg() and not info.issparse():
                yield info.name, info.offset_data, info.size, info.size, STORED, 0
            elif not info.isdir():
                yield (info.name,)


def _inside(name: str) -> str | None:
    """Return a name without ``./`` and ``//``; None if it is absolute or leads out of the archive."""
    if name.startswith("/") or "\0" in name:
        return None
    parts = name.split("/")
    if ".." in parts:
        return None
    return "/".join(part for part in parts if part not in ("", ".")) if "" in parts or "." in parts else name


def load_index(path: Path, identity: str) -> ArchiveIndex | None:
    """Read a saved index; None if there is none, it is damaged, or it is that of another content of the archive."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as saved:
            if saved["identity"].item() != f"{_VERSION} {identity}":
                return None
            names = PackedStrings(saved["text"], saved["ends"])
            index = ArchiveIndex(names, saved["places"], saved["digests"], int(saved["left_out"]))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    shapes = (index.places.shape, index.digests.shape) == ((len(names), 5), (len(names),))
    types = [index.places.dtype, index.digests.dtype, names.data.dtype] == list(map(np.dtype, ("i8", "u8", "u1")))
    return index if shapes and types and (np.diff(names.ends, prepend=0) >= 0).all() else None


def save_index(path: Path, identity: str, index: ArchiveIndex) -> None:
    """Write an index, atomically: several processes may do it at once.

    Raises:
        UserError: If it cannot be written.
    """
    try:
        with atomic_write(path) as temporary, temporary.open("wb") as file:
            np.savez(
                file, identity=np.array(f"{_VERSION} {identity}"), text=index.names.data, ends=index.names.ends,
                places=index.places, digests=index.digests, left_out=np.array(index.left_out),
            )  # fmt: skip
    except OSError as error:
        reason = f"the index of an archive cannot be written: {error.strerror}"
        raise UserError(f"{path}: {reason}; set VEXP_CACHE") from None
