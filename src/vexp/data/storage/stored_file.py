"""A file of an archive or of a server, as a part of a file of this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vexp.data.storage.cache import LocalCopy


@dataclass(frozen=True, slots=True, eq=False)
class StoredFile:
    """The bytes from ``start`` of ``path``, ``size`` of them. As text it is the stored path, for messages."""

    name: str
    path: Path
    start: int
    size: int
    version: str  # changes with the content
    copy: LocalCopy | None = None  # the local copy that ``path`` is, which is not deleted meanwhile

    def __str__(self) -> str:
        return self.name

    @property
    def ffmpeg_url(self) -> str:
        """Address by which FFmpeg, in any of its bindings, reads the file at the speed of any other."""
        if self.copy is not None:
            return f"file:{self.path}"
        return f"subfile,,start,{self.start},end,{self.start + self.size},,:file:{self.path}"

    def read(self) -> bytes:
        """Return the content."""
        with self.path.open("rb", buffering=0) as file:
            file.seek(self.start)
            return file.read(self.size)
