"""What is known already of each file of a collection, kept while the work goes on: a kill costs the files in work."""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Any

from vexp.core.errors import UserError


class Journal:
    """Records appended to a file, a line of JSON each, until ``finish`` removes it.

    The first line says what the records were made with: those of other settings are not taken over. A last line that
    a kill cut short is cut off.
    """

    def __init__(self, target: Path, settings: dict[str, Any]) -> None:
        """``target``: the file that will be made from the records; the journal lies beside it.

        Raises:
            UserError: it cannot be written.
        """
        self.path = target.with_name(f".{target.name}.journal")
        self.known: list[dict[str, Any]] = []
        head = json.dumps(settings).encode() + b"\n"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("a+b")
            self._file.seek(0)
            content = self._file.read()
            whole = content[: content.rfind(b"\n") + 1]
            if not whole.startswith(head):
                whole = b""
            self._file.truncate(len(whole))
            if whole:
                self.known = [json.loads(line) for line in whole[len(head) :].splitlines()]
            else:
                self._write(head)
        except OSError as error:
            raise UserError(f"{self.path}: cannot be written: {error.strerror}") from error
        except json.JSONDecodeError as error:
            raise UserError(f"{self.path}: is damaged ({error}); remove it to begin anew") from error

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, record: dict[str, Any]) -> None:
        """On the disk, as far as a kill of this process goes, when it returns."""
        self._write(json.dumps(record).encode() + b"\n")

    def finish(self) -> None:
        """The target is written: nothing is to be taken over any more."""
        self._file.close()
        self.path.unlink(missing_ok=True)

    def _write(self, line: bytes) -> None:
        self._file.write(line)
        self._file.flush()
