"""One checkpoint file: written whole under all of its names, read without trust."""

from __future__ import annotations

import hashlib
import io
import pickle
import re
import shutil
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vexp.checkpoint.manifest import Manifest, Row
from vexp.checkpoint.retention import prune
from vexp.core.checksum import sha256
from vexp.core.errors import UserError
from vexp.core.files import atomic_write, write_error_message

_BEGINNINGS = (b"PK", b"\x80")  # torch's zip archive; a pickle, its format before 1.6
_FOREIGN_TYPE = re.compile(r"GLOBAL ([\w.]+)")  # how torch's unpickler names what it refuses


def save(path: Path, state: dict[str, Any], *, also: Sequence[str] = (), keep: int = -1) -> None:
    """Write a checkpoint whole or not at all, and enter its checksum into the folder's manifest.

    Args:
        path: the file.
        state: tensors and plain containers; its ``step`` is noted in the manifest.
        also: further names in the same folder: hard links, or copies where the file system has none.
        keep: how many periodic checkpoints stay; -1: all.

    Raises:
        UserError: the disk is full or the folder cannot be written; what was there before is intact.
    """
    with _told(path):
        manifest = _manifest_to_extend(path.parent)
        with atomic_write(path) as temporary:
            digest, size = _serialise(state, temporary)
            rows = [Row(name, digest, int(state.get("step", 0)), size) for name in (path.name, *also)]
            manifest.announce(rows)
        for name in also:
            _link(path, name)
        prune(path.parent, keep)
        manifest.settle(rows)


def complete(path: Path, *, keep: int = -1) -> None:
    """Finish the save of a checkpoint that a kill or a full disk cut short: the names that it was to have besides, and
    what was to be deleted.

    Raises:
        UserError: as ``save``.
    """
    row, manifest = check(path), _manifest_to_extend(path.parent)
    digest = row.sha256 if row is not None else None  # None: the manifest is damaged, or does not know the file
    rows = [other for other in manifest.rows if other.sha256 == digest and other == manifest.of(other.name)[0]]
    with _told(path):
        for other in rows:
            there = path.with_name(other.name)
            if not there.is_file() or sha256(there) != digest:
                _link(path, other.name)
        prune(path.parent, keep)
        manifest.settle(row for row in rows if path.with_name(row.name).exists())


def load(path: Path) -> dict[str, Any]:
    """A checkpoint's content, on the CPU.

    Raises:
        UserError: no such file, not a checkpoint, damaged (by the manifest beside it, or to torch), or holding more
            than tensors and plain containers.
    """
    import torch

    check(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's guesses at what a foreign file may be
            state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{path}: no such checkpoint") from None
    except OSError as error:
        raise UserError(f"{path}: the checkpoint cannot be read: {error.strerror}") from None
    except Exception as error:  # a damaged pickle fails in any way: IndexError, struct.error, TypeError ...
        raise UserError(f"{path}: {_why_refused(path, error)}") from None
    if not isinstance(state, dict):
        raise UserError(f"{path}: holds a {type(state).__name__}, not a checkpoint")
    return state


def looks_right(path: Path) -> bool:
    """Whether a file begins as checkpoints do. A web page, an archive of another kind, an empty file do not."""
    with path.open("rb") as file:
        return file.read(2).startswith(_BEGINNINGS)


def check(path: Path) -> Row | None:
    """The manifest's row that a file agrees with; None where the manifest does not know it (or is damaged itself).

    torch.load alone does not notice a flipped bit in a tensor.

    Raises:
        UserError: the file is not what was written.
    """
    try:
        rows = Manifest.read(path.parent).of(path.name)
    except UserError:
        return None
    if not rows or not path.is_file():
        return None
    try:
        size = path.stat().st_size
        digest = sha256(path) if any(row.size == size for row in rows) else ""
    except OSError as error:
        raise UserError(f"{path}: the checkpoint cannot be read: {error.strerror}") from None
    for row in rows:
        if row.sha256 == digest:
            return row
    what = f"it has {size} bytes, {rows[0].size} were written" if not digest else "its checksum is another"
    raise UserError(f"{path}: is damaged, or not the file that was saved: by manifest.json {what}")


def _manifest_to_extend(folder: Path) -> Manifest:
    """A damaged manifest is begun anew: what it knew cannot be told."""
    try:
        return Manifest.read(folder)
    except UserError:
        return Manifest(folder)


class _Hashing(io.RawIOBase):
    """A file that keeps the checksum of what is written to it, and the error of a write that failed."""

    def __init__(self, path: Path) -> None:
        self.file = path.open("wb", buffering=0)
        self.sha256 = hashlib.sha256()
        self.size = 0
        self.error: OSError | None = None

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        try:
            written = self.file.write(data)
        except OSError as error:  # torch would report a RuntimeError that says nothing of the disk
            self.error = error
            raise
        self.sha256.update(memoryview(data)[:written])
        self.size += written
        return written

    def close(self) -> None:
        self.file.close()
        io.RawIOBase.close(self)


def _serialise(state: dict[str, Any], path: Path) -> tuple[str, int]:
    """Write ``state``; (sha256, bytes). Into a file object: by name, torch would write the name into the archive."""
    import torch

    hashing = _Hashing(path)
    try:
        with io.BufferedWriter(hashing, 1 << 20) as file:  # torch writes in crumbs
            torch.save(state, file)
    except RuntimeError:
        if hashing.error is not None:
            raise hashing.error from None
        raise
    return hashing.sha256.hexdigest(), hashing.size


def _link(source: Path, name: str) -> None:
    with atomic_write(source.with_name(name)) as temporary:
        try:
            temporary.hardlink_to(source)
        except OSError:
            shutil.copyfile(source, temporary)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{path}: the checkpoint cannot be written: {write_error_message(path.parent, error)}. Earlier checkpoints are "
            "intact: make room or set checkpoint.out_dir=FOLDER, then go on with --resume RUN"
        ) from error
    except RuntimeError as error:  # torch's word for what its own writer met
        raise UserError(f"{path}: the checkpoint cannot be written: {error}; earlier checkpoints are intact") from error


def _why_refused(path: Path, error: Exception) -> str:
    """Not in torch's words: they advise to load the file with weights_only=False, which runs whatever it holds."""
    with path.open("rb") as file:
        beginning = file.read(40)
    if not beginning.startswith(_BEGINNINGS):
        return f"is no checkpoint, it begins with {beginning.decode('latin-1')!r}" if beginning else "is an empty file"
    foreign = _FOREIGN_TYPE.search(str(error)) if isinstance(error, pickle.UnpicklingError) else None
    if foreign is not None:
        return f"refused, it holds more than tensors and plain containers: {foreign[1]}"
    return "is no checkpoint that torch.load(weights_only=True) can read, or it is damaged"
