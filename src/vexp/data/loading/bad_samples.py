"""Bookkeeping of bad samples: the file ``bad_samples.jsonl``, warnings, and the limit ``data.max_bad_fraction``.

With ``data.on_error=skip``, a worker replaces a sample that cannot be loaded by another one (training) or leaves it out
(evaluation) and reports it to the main process, which counts it, records it and ends the run if there are too many.

A run ends as soon as more than ``data.max_bad_fraction`` of the samples of a split are known to be bad. Each sample is
counted once, so that the limit depends neither on the order of the samples nor on restarts.
"""

from __future__ import annotations

import errno
import json
import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any

from vexp.core.documents import check_schema, open_regular, parse_json
from vexp.core.errors import UserError
from vexp.data.loading.dataset import ClipDataset
from vexp.data.loading.outcomes import Failure

FILE_NAME = "bad_samples.jsonl"
_ROW = {"split": str, "epoch": int, "id": int, "path": str, "error": str, "deadly": bool}
logger = logging.getLogger(__name__)


@dataclass(eq=False, repr=False)
class BadSamples:
    """The bad samples of one split in a run.

    A row of the file contains the split, the epoch (0-based; 0 in evaluation), id, path, backend and error of a sample,
    whether it hung or crashed its worker (``deadly``), and in how many epochs it has been met (``count``). Rows are not
    repeated after a restart. Samples recorded as ``deadly`` are not loaded again; to retry one, delete its rows. If bad
    samples are not tolerated, they are loaded again: the run would otherwise never get past a sound video whose worker
    crashed for another reason.

    In a distributed run, ``sync`` makes every process count the failures of all processes in the same order, so that
    all of them end at the same step.
    """

    dataset: ClipDataset  # samples that hang or crash a worker are excluded from it (``mark_fatal``)
    _: KW_ONLY
    split: str
    max_fraction: float  # largest fraction of bad samples, ``data.max_bad_fraction``
    path: Path | None = None  # file of the rows; None: they are not recorded
    #: Gathers the failures of all processes of the run; None: there is one process.
    all_gather: Callable[[list[Failure]], list[list[Failure]]] | None = None
    writes: bool = True  # whether this process writes the file
    warns: bool = True  # whether each bad sample is logged

    def __post_init__(self) -> None:
        self.tolerated = self.dataset.on_bad != "fail"  # whether the run continues after one (data.on_error=skip)
        self.allowed = int(self.max_fraction * len(self.dataset))  # the largest number of bad samples
        self.errors: dict[int, str] = {}  # by id of the sample
        if not self.tolerated:
            self.all_gather = None  # the first failure ends the run
        self._pending: list[Failure] = []  # since the last sync
        self._epochs: dict[int, set[int]] = {}  # in which a sample was met, by its id

    def load(self) -> None:
        """Read the rows written by an earlier part of the run and exclude the fatal samples among them.

        Rows of samples that are no longer in the data set are ignored.

        Raises:
            UserError: If the file contains a line that is not a row.
        """
        retried: set[int] = set()
        for row in _read(self.path, self.split) if self.path is not None else ():
            index = row["id"]
            if index >= len(self.dataset) or self.dataset.source.name(index) != row["path"]:
                continue
            self.errors.setdefault(index, row["error"])
            self._epochs.setdefault(index, set()).add(row["epoch"])
            if row["deadly"] and self.tolerated:
                self.dataset.mark_fatal(index, row["error"])
            elif row["deadly"] and self.warns and index not in retried:
                retried.add(index)
                logger.warning(
                    "data.%s: %s (in an earlier part of the run); it is loaded again", self.split, row["error"]
                )

    def add(self, failure: Failure) -> None:
        """Count a bad sample: immediately, or in a distributed run at the next ``sync``.

        Raises:
            UserError: If there are more bad samples than allowed.
        """
        if self.all_gather is None:
            self._count(failure)
        else:
            self._pending.append(failure)

    def sync(self) -> None:
        """Count the failures that all processes have added since the last call; every process must call it.

        Raises:
            UserError: If there are more bad samples than allowed.
        """
        if self.all_gather is None:
            return
        pending, self._pending = self._pending, []
        for failure in (failure for failures in self.all_gather(pending) for failure in failures):
            if failure.fatal:
                self.dataset.mark_fatal(failure.id, failure.message)
            self._count(failure)

    def mark_fatal(self, failure: Failure) -> None:
        """Exclude a sample that hung or crashed its worker from the data set.

        Raises:
            UserError: If bad samples are not tolerated (``data.on_error=fail``).
        """
        self.dataset.mark_fatal(failure.id, failure.message)
        if not self.tolerated:
            self.add(failure)
            raise UserError(f"{failure.message}. Remove it from the annotation, or set data.on_error=skip")

    def unscored(self, scored: Iterable[int]) -> dict[int, str]:
        """Return the errors of the samples of an evaluation that are not among the ``scored`` ones, by id."""
        missing = set(range(len(self.dataset))).difference(scored)
        return {index: self.errors.get(index, "") for index in sorted(missing)}

    def _count(self, failure: Failure) -> None:
        epochs = self._epochs.setdefault(failure.id, set())
        if failure.epoch not in epochs:
            epochs.add(failure.epoch)
            self._append(failure, len(epochs))
        if failure.id in self.errors:
            return
        self.errors[failure.id] = failure.message
        if not self.tolerated:
            return
        total = f"{len(self.errors)} of {len(self.dataset)} samples are bad, {self.allowed} are allowed"
        if self.warns:
            action = "it is replaced by another sample" if self.dataset.on_bad == "replace" else "it is not evaluated"
            logger.warning("data.%s: %s; %s (%s)", self.split, failure.message, action, total)
        if len(self.errors) > self.allowed:
            raise UserError(
                f"data.max_bad_fraction={self.max_fraction:g}: {total} in data.{self.split}, the last one: "
                f"{failure.message.rstrip('.')}. {f'{self.path} lists all of them. ' if self.path is not None else ''}"
                "Repair them, remove them from the annotation, or raise data.max_bad_fraction"
            )

    def _append(self, failure: Failure, count: int) -> None:
        if self.path is None or not self.writes:
            return
        source = self.dataset.source
        row = {
            "split": self.split, "epoch": failure.epoch, "id": failure.id, "path": source.name(failure.id),
            "backend": source.backend, "error": failure.message, "deadly": failure.fatal, "count": count,
        }  # fmt: skip
        line = (json.dumps(row) + "\n").encode()
        with self.path.open("ab", buffering=0) as file:  # a single write
            if file.write(line) != len(line):  # the disk is full; the next run removes the partial line
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))


def _read(path: Path, split: str) -> list[dict[str, Any]]:
    """Read the rows of one split, after removing a partial line that a full disk has left at the end of the file.

    Raises:
        UserError: If a line is not a row, for example after the file was edited.
    """
    try:
        with open_regular(path) as file:
            *lines, last = file.read().split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}; remove it") from None
    if last and _parse_row(last) is None:
        os.truncate(path, path.stat().st_size - len(last))
    elif last:  # an editor left out the final newline
        with path.open("ab") as file:
            file.write(b"\n")
        lines.append(last)
    rows = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        row = _parse_row(line)
        if row is None:
            raise UserError(f"{path}:{number}: not a row of bad samples; delete the line, or the whole file")
        if row["split"] == split:
            rows.append(row)
    return rows


def _parse_row(line: bytes) -> dict[str, Any] | None:
    """Parse a line written by ``BadSamples``; return None for any other line."""
    try:
        row: dict[str, Any] = check_schema(parse_json(line.decode(), FILE_NAME), _ROW, FILE_NAME)
    except (UnicodeDecodeError, UserError):
        return None
    return row if row["id"] >= 0 else None
