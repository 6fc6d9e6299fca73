"""The metrics of a run, read from a metrics.jsonl that may still grow."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vexp.core.documents import open_regular
from vexp.core.errors import UserError
from vexp.tracking.backends import INDEX_FIELDS, METRICS_LIMIT, Record, parse_record

_END = 64  # bytes before the read position, which are compared to detect a file that was written anew
_LARGEST = 2**53  # larger whole numbers are damaged: float64 does not hold all of them


@dataclass(frozen=True, slots=True)
class Series:
    """Values of a metric, float64 (n,), after ``steps`` optimizer steps in ``epochs``, both int64 (n,)."""

    steps: NDArray[np.int64]
    values: NDArray[np.float64]
    epochs: NDArray[np.int64] | None = None


Signature = tuple[int, int, int, int]


def signature(path: Path) -> Signature | None:
    """Return what changes when a file is written or replaced: device, inode, size and time; None if there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


class MetricsFile:
    """A metrics.jsonl: ``read`` parses the lines that were appended since its last call.

    A run that is resumed replaces the file by a shorter one, which is then read from its beginning.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._clear()

    def _clear(self) -> None:
        self.series: dict[str, Series] = {}  # by mode and name, such as "val/top1_acc"
        self.damaged: list[int] = []  # numbers of damaged lines, from 1
        self.steps_per_epoch: float | None = None
        self._signature: Signature | None = None
        self._position, self._end = 0, b""  # of the bytes that have been read, and the last of them
        self._lines = 0  # that have been read
        self._is_partial = False  # the line after them is listed in ``damaged``, but not read
        self._is_unterminated = False  # the last line that was read has no newline yet
        self._has_evaluation = False

    def read(self) -> bool:
        """Read what is new; return whether the file has changed.

        Raises:
            UserError: If the file cannot be read.
        """
        now, before = signature(self._path), self._signature
        if now == before:
            return False
        if now is None or (before is not None and (now[:2] != before[:2] or now[2] < self._position)):
            self._clear()
        if now is not None:
            try:
                content = self._new_bytes()
            except FileNotFoundError:
                return True
            except OSError as error:
                raise UserError(f"{self._path}: cannot be read: {error.strerror or error}") from None
            self._parse(content)
            self._signature = now
        return True

    def _new_bytes(self) -> bytes:
        with open_regular(self._path) as file:
            file.seek(self._position - len(self._end))
            if file.read(len(self._end)) != self._end:
                self._clear()
                file.seek(0)
            content = file.read(METRICS_LIMIT + 1)
        if self._position + len(content) > METRICS_LIMIT:
            raise UserError(f"{self._path}: has more than {METRICS_LIMIT >> 20} MB")
        return content

    def _parse(self, content: bytes) -> None:
        if self._is_partial:
            self._is_partial = False
            self.damaged.pop()
        *lines, rest = content.split(b"\n")
        read = len(content) - len(rest)
        if self._is_unterminated and lines and not lines[0]:
            del lines[0]  # only the end of a line that has been read
        self._is_unterminated = bool(rest) and _record(rest, self._path) is not None
        if self._is_unterminated:
            lines.append(rest)
            read = len(content)
        elif rest:  # being written, or cut off
            self._is_partial = True
        records: list[Record] = []
        for line in lines:
            self._lines += 1
            if (record := _record(line, self._path)) is None:
                self.damaged.append(self._lines)
            else:
                records.append(record)
        if self._is_partial:
            self.damaged.append(self._lines + 1)
        self._position += read
        self._end = (self._end + content[:read])[-_END:]
        self._append(records)

    def _append(self, records: list[Record]) -> None:
        points: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
        for record in records:
            mode, step, epoch = (record[name] for name in INDEX_FIELDS)
            if epoch and (mode == "val" or not self._has_evaluation):  # evaluations, usually at the end of an epoch
                ratio, is_first = step / epoch, self.steps_per_epoch is None or mode == "val"
                self.steps_per_epoch = ratio if is_first else max(self.steps_per_epoch or 0.0, ratio)
                self._has_evaluation |= mode == "val"
            for name, value in record.items():
                if (key := _series_name(mode, name)) is not None and isinstance(value, int | float):
                    points[key].append((step, epoch, value))
        for name, rows in points.items():
            steps, epochs, values = np.array(rows, np.float64).T
            new = Series(steps.astype(np.int64), values.copy(), epochs.astype(np.int64))
            self.series[name] = _joined(self.series[name], new) if name in self.series else new


def _record(line: bytes, path: Path) -> Record | None:
    """Return the record in a line; None if it is damaged, also by a number that a float64 does not hold."""
    record = parse_record(line.decode("utf-8", "replace"), path)
    if record is None or record["step"] < 0 or record["epoch"] < 0:
        return None
    is_huge = any(isinstance(value, int) and not -_LARGEST < value < _LARGEST for value in record.values())
    return None if is_huge else record


@lru_cache(maxsize=4096)
def _series_name(mode: str, name: str) -> str | None:
    """Return ``val/top1_acc``; None for timings and rates of parameter groups, whose names contain a slash."""
    return None if name in INDEX_FIELDS or "/" in name else f"{mode}/{name}"


def _joined(first: Series, second: Series) -> Series:
    assert first.epochs is not None
    assert second.epochs is not None
    return Series(
        np.concatenate([first.steps, second.steps]),
        np.concatenate([first.values, second.values]),
        np.concatenate([first.epochs, second.epochs]),
    )
