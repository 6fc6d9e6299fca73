"""manifest.json: name, checksum, step and size of the checkpoints of a folder, in order of writing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vexp.core.documents import read_json
from vexp.core.errors import UserError
from vexp.core.files import write_text

NAME = "manifest.json"
_SCHEMA: dict[str, Any] = {"sha256": str, "files": [{"name": str, "sha256": str, "step": int, "size": int}]}


@dataclass(frozen=True, slots=True)
class ManifestEntry:
    """A checkpoint as it was written: ``sha256`` of its content, ``size`` in bytes, ``step`` of its training state."""

    name: str
    sha256: str
    step: int
    size: int


class Manifest:
    """The entries of a folder, oldest first.

    An entry is added before its file is renamed to its name, and the entry of the replaced file is removed only
    afterwards: whenever the process is killed, the manifest lists the file that has the name. A name may therefore have
    several entries.
    """

    def __init__(self, folder: Path, entries: Sequence[ManifestEntry] = ()) -> None:
        self.folder = folder
        self.entries = list(entries)

    @staticmethod
    def read(folder: Path) -> Manifest:
        """Read the manifest of a folder; an empty one if there is no file.

        Raises:
            UserError: If it is damaged, or names files outside of the folder.
        """
        path = folder / NAME
        try:
            content = read_json(path, _SCHEMA)
        except FileNotFoundError:
            return Manifest(folder)
        entries = [ManifestEntry(**{name: entry[name] for name in _SCHEMA["files"][0]}) for entry in content["files"]]
        if content["sha256"] != _digest(entries):
            raise UserError(f"{path}: is damaged (its own checksum does not match)")
        if not all(_is_file_name(entry.name) for entry in entries):
            raise UserError(f"{path}: names a file of another folder, or one that cannot exist")
        return Manifest(folder, entries)

    @staticmethod
    def readable(folder: Path) -> Manifest:
        """Read the manifest of a folder; an empty one if there is no file or it is damaged."""
        try:
            return Manifest.read(folder)
        except UserError:
            return Manifest(folder)

    def announce(self, entries: Iterable[ManifestEntry]) -> None:
        """Add the entries of files that are about to be renamed to their names."""
        self.entries += entries
        self._write()

    def commit(self, written: Iterable[ManifestEntry]) -> None:
        """Replace all entries of the written names by these, and remove the entries of files that no longer exist."""
        new = list(written)
        names = {entry.name for entry in new}
        kept = [entry for entry in self.entries if entry.name not in names and (self.folder / entry.name).exists()]
        self.entries = kept + new
        self._write()

    def entries_of(self, name: str) -> list[ManifestEntry]:
        """Return the entries of a name, newest first."""
        return [entry for entry in reversed(self.entries) if entry.name == name]

    def names(self) -> list[str]:
        """Return the names in order of their latest writing, oldest first."""
        return list(dict.fromkeys(entry.name for entry in reversed(self.entries)))[::-1]

    def _write(self) -> None:
        content = {"sha256": _digest(self.entries), "files": [asdict(entry) for entry in self.entries]}
        write_text(self.folder / NAME, json.dumps(content, indent=1) + "\n")


def _is_file_name(name: str) -> bool:
    return Path(name).name == name not in ("", "..") and name.isprintable() and len(name.encode()) <= 255


def _digest(entries: Sequence[ManifestEntry]) -> str:
    """Checksum of the entries: a flipped bit in the manifest must not make an intact checkpoint count as damaged."""
    return hashlib.sha256(json.dumps([asdict(entry) for entry in entries], sort_keys=True).encode()).hexdigest()
