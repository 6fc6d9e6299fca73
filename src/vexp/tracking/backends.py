"""Logger backends that write files of the run folder: metrics.jsonl, metrics.csv, TensorBoard.

A record is a flat dict: ``mode`` ("train", "val"), ``step`` (completed optimizer steps), ``epoch`` (1-based), then the
values under their public names. Timings and memory, which depend on the machine, are under ``time/``, so that two runs
can be compared without them.

A new backend is a class (that of a service in ``vexp.tracking.services``), a row of ``requested_backends`` in
``vexp.tracking.logger``, a key in ``vexp.tracking.config`` and a file in conf/log.
"""

from __future__ import annotations

import csv
import errno
import json
import logging
import os
import time
from pathlib import Path
from typing import Any, Protocol

from vexp.core.documents import parse_json, read_text
from vexp.core.errors import UserError
from vexp.core.files import atomic_write, is_still_at, write_text

logger = logging.getLogger(__name__)

Record = dict[str, Any]
INDEX_FIELDS = ("mode", "step", "epoch")  # all other names of a record are values
METRICS_LIMIT = 256 << 20  # bytes of a metrics.jsonl, a million records
_INDEX_TYPES = (str, int, int)
_VALUES = (int, float, str, type(None))


class LoggerBackend(Protocol):
    """Anything that records can be written to. It is created and used in a thread of its own (``MetricLogger``)."""

    def write(self, record: Record) -> None: ...

    def close(self) -> None: ...


def values_of(record: Record) -> dict[str, Any]:
    """Return the values of a record with the mode as prefix of their names: ``val/top1_acc``."""
    return {f"{record['mode']}/{name}": value for name, value in record.items() if name not in INDEX_FIELDS}


class JsonLines:
    """metrics.jsonl: one record per line, numbers in full precision."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("ab", buffering=0)  # unbuffered: a killed process loses no line

    def write(self, record: Record) -> None:
        line = (json.dumps(record) + "\n").encode()
        if self._file.write(line) != len(line):  # the disk is full; a resumed run cuts the part off
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self._file.name)

    @property
    def is_intact(self) -> bool:
        """Whether the file is still in its folder."""
        return is_still_at(self._file, self._path)

    def sync(self) -> None:
        """Flush to the disk, so that a power failure cannot remove records that a checkpoint builds on."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


class Csv:
    """metrics.csv: one row per record, one column per name; missing values are empty.

    A new name adds a column. A resumed run rewrites the file from the ``earlier`` records.
    """

    def __init__(self, path: Path, earlier: list[Record]) -> None:
        self._path = path
        self._columns = list(INDEX_FIELDS)
        self._rewrite(earlier)

    def write(self, record: Record) -> None:
        if not record.keys() <= set(self._columns):
            with self._path.open(encoding="utf-8", newline="") as file:
                self._rewrite([*csv.DictReader(file), record])
            return
        with self._path.open("a", encoding="utf-8", newline="") as file:
            csv.DictWriter(file, self._columns).writerow(record)

    def close(self) -> None:
        """Do nothing: the file is closed after every row."""

    def _rewrite(self, records: list[Record]) -> None:
        self._columns = list(dict.fromkeys([*self._columns, *(name for record in records for name in record)]))
        with atomic_write(self._path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, self._columns)
            writer.writeheader()
            writer.writerows(records)


class TensorBoard:
    """Event files: each value as MODE/NAME over the step.

    Values of an earlier part of the run from ``first_step`` on are hidden, because a resumed run writes them again.
    """

    def __init__(self, folder: Path, first_step: int = 1) -> None:
        from torch.utils.tensorboard import SummaryWriter  # its import takes seconds

        stamps = [int(path.name.split(".")[3]) for path in folder.glob("events.out.tfevents.[0-9]*.*")]
        if stamps:  # TensorBoard orders files by the second in their name; a resume within that second would come first
            time.sleep(min(1.0, max(0.0, max(stamps) + 1 - time.time())))
        self._writer = SummaryWriter(str(folder), purge_step=first_step)

    def write(self, record: Record) -> None:
        for name, value in values_of(record).items():
            self._writer.add_scalar(name, value, record["step"])

    def close(self) -> None:
        self._writer.close()


def read_records(path: Path, damaged: list[int] | None = None) -> list[Record]:
    """Read the records of a metrics.jsonl; the number (from 1) of each damaged line is appended to ``damaged``.

    Raises:
        UserError: If the file cannot be read.
    """
    records: list[Record] = []
    try:
        lines = read_text(path, errors="replace", limit=METRICS_LIMIT).splitlines()
    except FileNotFoundError:
        return records
    for number, line in enumerate(lines, 1):
        if (record := parse_record(line, path)) is not None:
            records.append(record)
        elif damaged is not None:
            damaged.append(number)
    return records


def parse_record(line: str, place: object) -> Record | None:
    """Return the record in a line of a metrics.jsonl; None if the line is damaged."""
    try:
        record = parse_json(line, place)
    except UserError:
        return None
    if not isinstance(record, dict) or not all(isinstance(value, _VALUES) for value in record.values()):
        return None
    has_index = all(type(record.get(name)) is kind for name, kind in zip(INDEX_FIELDS, _INDEX_TYPES, strict=True))
    return record if has_index else None


def truncate_after_step(path: Path, step: int, *, evaluated_again: bool = False) -> None:
    """Remove the records that a run resumed after ``step`` writes again.

    These are all later ones, and with ``evaluated_again`` the evaluation of ``step`` itself.
    """
    if path.exists():
        last = {"val": step - 1 if evaluated_again else step}
        damaged: list[int] = []
        kept = [record for record in read_records(path, damaged) if record["step"] <= last.get(record["mode"], step)]
        if damaged:
            logger.warning("%s: line %s is no record and is removed", path, ", ".join(map(str, damaged[:9])))
        write_text(path, "".join(json.dumps(record) + "\n" for record in kept))
