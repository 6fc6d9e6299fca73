"""manifest.json: what each checkpoint of a folder was when it was written, in order of writing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from vexp.core.errors import UserError
from vexp.core.files import write_text

NAME = "manifest.json"


@dataclass(frozen=True, slots=True)
class Row:
    """A file as it was written: ``sha256`` of its content, ``size`` in bytes, ``step`` of its training state."""

    name: str
    sha256: str
    step: int
    size: int


class Manifest:
    """The rows of a folder, oldest first.

    A row stands here before its file takes its name, and the row of the file that it replaces goes only afterwards: at
    every moment, also one at which the process is killed, the file under a name is one that the manifest knows. Hence
    a name may have several rows.
    """

    def __init__(self, folder: Path, rows: Sequence[Row] = ()) -> None:
        self.folder = folder
        self.rows = list(rows)

    @staticmethod
    def read(folder: Path) -> Manifest:
        """The manifest of a folder; an empty one where there is none.

        Raises:
            UserError: it is damaged.
        """
        path = folder / NAME
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            rows = [Row(**row) for row in content["files"]]
        except FileNotFoundError:
            return Manifest(folder)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path}: is damaged ({type(error).__name__})") from None
        if content["sha256"] != _digest(rows):
            raise UserError(f"{path}: is damaged (its own checksum is another)")
        return Manifest(folder, rows)

    def announce(self, rows: Iterable[Row]) -> None:
        """Add the rows of files that are about to take their names."""
        self.rows += rows
        self._write()

    def settle(self, written: Iterable[Row]) -> None:
        """Keep only these rows of the names that have been written, and no row of a file that is gone."""
        new = list(written)
        names = {row.name for row in new}
        self.rows = [row for row in self.rows if row.name not in names and (self.folder / row.name).exists()] + new
        self._write()

    def of(self, name: str) -> list[Row]:
        """The rows of a name, newest first."""
        return [row for row in reversed(self.rows) if row.name == name]

    def names(self) -> list[str]:
        """The names in order of their latest writing, oldest first."""
        return list(dict.fromkeys(row.name for row in reversed(self.rows)))[::-1]

    def _write(self) -> None:
        content = {"sha256": _digest(self.rows), "files": [asdict(row) for row in self.rows]}
        write_text(self.folder / NAME, json.dumps(content, indent=1) + "\n")


def _digest(rows: Sequence[Row]) -> str:
    """Of the rows themselves: a bit that flips in the manifest must not condemn a good checkpoint."""
    return hashlib.sha256(json.dumps([asdict(row) for row in rows], sort_keys=True).encode()).hexdigest()
