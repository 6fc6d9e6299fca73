"""The cache of proxies (``data.cache=proxy``): copies of videos that decode faster, shared by processes and runs.

A proxy is named after the path of its original and has a record (``.json``) with the size, time and checksum of the
original and the checksum of the proxy. The record is written last, so that a killed process leaves no proxy that is
taken for complete.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from vexp.core.checksum import sha256
from vexp.core.errors import UserError
from vexp.core.files import write_text
from vexp.core.lazy import np
from vexp.data.decoding.proxy_encoding import MJPEG, times_path

if TYPE_CHECKING:
    from numpy.typing import NDArray

_RESERVE = 1 << 30  # bytes of the disk that are left to other files, such as the checkpoints of the run
_HEX_OF_KEY = 16  # digits of a name that are its key


def proxy_root() -> Path:
    """Return the folder of all proxies: proxies/ in $VEXP_CACHE or ~/.cache/vexp."""
    return Path(os.environ.get("VEXP_CACHE") or "~/.cache/vexp").expanduser().absolute() / "proxies"


@dataclass(frozen=True, slots=True)
class Record:
    """What a proxy was made of, and its size and checksum."""

    original: str  # absolute path
    original_size: int
    original_mtime_ns: int
    original_sha256: str
    size: int  # bytes of all files of the proxy
    sha256: str  # of these files


@dataclass(frozen=True, slots=True)
class ProxyCache:
    """The MJPEG proxies with one short side (pixels, never enlarged) below ``root``."""

    root: Path
    short_side: int

    @property
    def folder(self) -> Path:
        return self.root / f"mjpeg-{self.short_side}"

    def path(self, video: str) -> Path:
        """Return the path of the proxy of a video, which may not exist."""
        name = _name(video)
        return self.folder / name[:2] / f"{name}{MJPEG.suffix}"

    def ensure(self, video: str) -> tuple[Record, bool]:
        """Write the proxy of a video unless there is one of the video as it is now, whose checksum is right.

        Returns:
            Its record, and whether it was written.

        Raises:
            UserError: If the video cannot be read.
            OSError: If the cache cannot be written; EROFS and ENOSPC hold for all videos.
        """
        from vexp.data.decoding.container import file_status  # imports PyAV

        path, status = self.path(video), file_status(Path(video))
        with self._lock(video):
            record = _read_record(path)
            if record is not None and _is_of(record, video, status) and _is_intact(record, path):
                if record.original_mtime_ns != status.st_mtime_ns:  # copied or touched
                    self._check_writable()
                    record = replace(record, original_mtime_ns=status.st_mtime_ns)
                    _write_record(path, record)
                return record, False
            return self._write(video, path, status), True

    def remove(self, video: str) -> None:
        """Delete the proxy of a video."""
        for path in _files(self.path(video)):
            path.unlink(missing_ok=True)

    def _write(self, video: str, path: Path, status: os.stat_result) -> Record:
        from vexp.data.decoding.proxy_reader import save_times
        from vexp.data.decoding.pyav import VideoReader

        self._check_writable()
        self.remove(video)
        for leftover in path.parent.glob(f".{path.stem}*.tmp"):  # of a killed process: this one holds the lock
            leftover.unlink(missing_ok=True)
        replace(MJPEG, short_side=self.short_side).write(Path(video), path)
        with VideoReader(video) as original:
            save_times(original, path)
        after = os.stat(video)
        if (after.st_size, after.st_mtime_ns) != (status.st_size, status.st_mtime_ns):
            self.remove(video)
            raise UserError(f"{video}: was changed while its proxy was written")
        record = Record(
            original=os.path.abspath(video),
            original_size=status.st_size,
            original_mtime_ns=status.st_mtime_ns,
            original_sha256=sha256(Path(video)),
            size=sum(file.stat().st_size for file in _files(path)[1:]),
            sha256=_checksum(path),
        )
        _write_record(path, record)
        return record

    def _check_writable(self) -> None:
        """Raise OSError if the folder is read-only or its disk almost full."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = f"cannot be made ({error.strerror}); set VEXP_CACHE=FOLDER"
            raise OSError(errno.EROFS, reason, str(self.folder)) from None
        if not os.access(self.folder, os.W_OK | os.X_OK):
            raise OSError(errno.EROFS, "cannot be written; set VEXP_CACHE=FOLDER", str(self.folder))
        if shutil.disk_usage(self.folder).free < _RESERVE:
            raise OSError(errno.ENOSPC, "less than 1 GB is free on its disk", str(self.folder))

    @contextmanager
    def _lock(self, video: str) -> Iterator[None]:
        """Let one process at a time write the proxy of a video; the others wait and find it.

        The lock is one byte of a file of locks. It ends with its process.
        """
        try:
            import fcntl

            self.folder.mkdir(parents=True, exist_ok=True)
            file = (self.folder / ".lock").open("ab")
        except (ImportError, OSError):  # Windows, or a folder that is only read
            yield
            return
        with file:
            with suppress(OSError):  # the file system does not support locks
                fcntl.lockf(file, fcntl.LOCK_EX, 1, int(_name(video)[: _HEX_OF_KEY - 1], 16))
            yield


@dataclass(frozen=True, slots=True, eq=False)
class Proxies:
    """The proxies of a data set."""

    cache: ProxyCache
    keys: NDArray[np.uint64]  # of the videos that have one, ascending
    size: int  # bytes
    digest: str  # of all of their pixels and times, and of which videos have one

    @classmethod
    def of(cls, cache: ProxyCache, videos: Sequence[str], records: Sequence[Record | None]) -> Proxies:
        """Create the proxies of ``videos``; the record of a video that has none is None."""
        keys = [_key(video) for video, record in zip(videos, records, strict=True) if record is not None]
        lines = "\n".join("-" if record is None else record.sha256 for record in records)
        size = sum(record.size for record in records if record is not None)
        return cls(cache, np.sort(np.array(keys, np.uint64)), size, hashlib.sha256(lines.encode()).hexdigest())

    def __len__(self) -> int:
        return len(self.keys)

    def find(self, video: str) -> Path | None:
        """Return the proxy of a video; None if it has none."""
        key = np.uint64(_key(video))
        place = int(np.searchsorted(self.keys, key))
        return self.cache.path(video) if place < len(self.keys) and self.keys[place] == key else None


def _name(video: str) -> str:
    path = os.path.abspath(video).encode(errors="surrogateescape")
    return hashlib.sha256(path).hexdigest()[:40]


def _key(video: str) -> int:
    return int(_name(video)[:_HEX_OF_KEY], 16)


def _files(proxy: Path) -> list[Path]:
    """Return the files of a proxy: its record, which is removed first, the proxy, its index and its times."""
    from vexp.data.decoding.index_file import index_path  # imports PyAV

    return [proxy.with_suffix(".json"), proxy, index_path(proxy), times_path(proxy)]


def _checksum(proxy: Path) -> str:
    return sha256(*_files(proxy)[1:])


def _is_of(record: Record, video: str, status: os.stat_result) -> bool:
    """Return whether a record is of a video as it is now, whose times may be new."""
    if (record.original, record.original_size) != (os.path.abspath(video), status.st_size):
        return False
    return record.original_mtime_ns == status.st_mtime_ns or record.original_sha256 == sha256(Path(video))


def _is_intact(record: Record, proxy: Path) -> bool:
    try:
        return record.sha256 == _checksum(proxy)
    except OSError:
        return False


def _read_record(proxy: Path) -> Record | None:
    """Read the record of a proxy; None if there is none or it is damaged."""
    try:
        return Record(**json.loads(proxy.with_suffix(".json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _write_record(proxy: Path, record: Record) -> None:
    write_text(proxy.with_suffix(".json"), json.dumps(asdict(record)) + "\n")
