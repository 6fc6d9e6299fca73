"""Results of finished jobs, kept on disk so that an interrupted command can resume."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from vexp.core.errors import UserError


class Journal(AbstractContextManager["Journal"]):
    """A file of JSON lines that grows by one record per job and is removed by ``finish``.

    The first line holds the settings; a journal with other settings is discarded, and so is an incomplete last line.
    """

    def __init__(self, target: Path, settings: dict[str, Any]) -> None:
        """Open the journal beside ``target``, the file that the records will be written to.

        Raises:
            UserError: If it cannot be written or is damaged.
        """
        self.path = target.with_name(f".{target.name}.journal")
        self.known: list[dict[str, Any]] = []  # records of the interrupted command
        header = json.dumps(settings).encode() + b"\n"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("a+b")
            self._file.seek(0)
            content = self._file.read()
            complete = content[: content.rfind(b"\n") + 1]
            if complete.startswith(header):
                self._file.truncate(len(complete))
                self.known = [json.loads(line) for line in complete[len(header) :].splitlines()]
            else:
                self._file.truncate(0)
                self._file.write(header)
                self._file.flush()
        except OSError as error:
            raise UserError(f"{self.path}: cannot be written: {error.strerror}") from error
        except json.JSONDecodeError as error:
            raise UserError(f"{self.path}: is damaged ({error}); remove it to start again") from error

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, record: dict[str, Any]) -> None:
        """Append a record; it survives if this process is killed."""
        self._file.write(json.dumps(record).encode() + b"\n")
        self._file.flush()

    def finish(self) -> None:
        """Remove the journal, once the target has been written."""
        self._file.close()
        self.path.unlink(missing_ok=True)
