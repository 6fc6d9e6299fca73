"""Samples that cannot be made, where ``data.on_error=skip`` lets a run go on without them.

A worker puts another sample in the place of a bad one (training) or leaves its place empty (evaluation), and tells the
main process, which alone counts, writes ``bad_samples.jsonl`` and ends the run when there are too many.

The rule of ``data.max_bad_fraction``: a run ends as soon as more than this fraction of the samples of a split is known
to be bad, each counted once however often it is met. It depends on neither the order of the samples nor on restarts.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vexp.core.errors import UserError
from vexp.data.batch.batch import Failure

if TYPE_CHECKING:
    from vexp.data.batch.batch import Batch
    from vexp.data.loading.dataset import ClipDataset

FILE_NAME = "bad_samples.jsonl"


@dataclass(frozen=True, slots=True)
class ReplacedSample:
    """What a data set gives for a bad sample: another ``sample`` (None: nothing, its place stays empty), and all that
    were found ``bad`` on the way."""

    sample: Any
    bad: tuple[Failure, ...]


@dataclass(frozen=True, slots=True)
class SkippedSample:
    """A batch and the samples that were ``bad``; None where nothing is left of it."""

    batch: Batch | None
    bad: tuple[Failure, ...]

    def pin_memory(self) -> SkippedSample:
        """As torch's DataLoader asks for."""
        return SkippedSample(None if self.batch is None else self.batch.pin_memory(), self.bad)


class SkipFailuresCollate:
    """A collate function that also takes ``ReplacedSample``: its batch then arrives within a ``SkippedSample``."""

    def __init__(self, collate: Callable[[Sequence[Any]], Any]) -> None:
        self.collate = collate

    def __call__(self, samples: Sequence[Any]) -> Any:
        bad = [failure for sample in samples if isinstance(sample, ReplacedSample) for failure in sample.bad]
        if not bad:
            return self.collate(samples)
        made = [sample.sample if isinstance(sample, ReplacedSample) else sample for sample in samples]
        whole = [sample for sample in made if sample is not None]
        batch = self.collate(whole) if whole else None
        return batch if isinstance(batch, Failure) else SkippedSample(batch, tuple(bad))


class BadSamples:
    """The bad samples of one split of a run: counted, named, written down, held against the budget.

    A line of the file says split, epoch (0-based; 0 in evaluation), id, path, backend, error, whether the sample was
    ``deadly`` (it hung or crashed its worker), and how many epochs have met it (``count``). A kill and a resume write
    no line twice. Deadly samples are not tried again by a run that finds the file; delete their lines to have them
    tried.

    Where several processes share a run, all count what all have found, in the same order, so that they agree on the end
    of the run: in ``settle``, which they call together.
    """

    def __init__(
        self,
        dataset: ClipDataset,
        *,
        split: str,
        max_fraction: float,
        path: Path | None,
        say: Callable[[str], None],
        exchange: Callable[[list[Failure]], list[list[Failure]]] | None = None,
        writes: bool = True,
    ) -> None:
        """Args:
        dataset: whose samples they are; it is told of those that are deadly.
        split: its name, for messages.
        max_fraction: ``data.max_bad_fraction``.
        path: of the ledger; None: nothing is written.
        say: told of every bad sample, once.
        exchange: gives every process the lists of all; None: there is one process.
        writes: into the ledger, as one process does.
        """
        self.dataset = dataset
        self.split = split
        self.max_fraction = max_fraction
        self.path = path
        self.say = say
        self._exchange = exchange if self.tolerated else None  # else the first one ends the run
        self._writes = writes
        self._found: list[Failure] = []  # since the last ``settle``
        self.errors: dict[int, str] = {}  # of each bad sample
        self._met: dict[int, set[int]] = {}  # its epochs
        for row in _read(path, split) if path is not None else ():
            if row["id"] < len(dataset) and dataset.source.name(row["id"]) == row["path"]:  # else of another list
                self.errors.setdefault(row["id"], row["error"])
                self._met.setdefault(row["id"], set()).add(row["epoch"])
                if row["deadly"]:
                    dataset.fatal[row["id"]] = row["error"]

    @property
    def tolerated(self) -> bool:
        """Whether a run may go on without a sample (``data.on_error=skip``)."""
        return self.dataset.on_bad != "fail"

    @property
    def allowed(self) -> int:
        """Bad samples that the budget leaves room for."""
        return int(self.max_fraction * len(self.dataset))

    def add(self, failure: Failure) -> None:
        """Write down that a sample could not be made, at once or where there are several processes in ``settle``.

        Raises:
            UserError: the budget is spent.
        """
        if self._exchange is None:
            self._count(failure)
        else:
            self._found.append(failure)

    def settle(self) -> None:
        """Count what all processes have found by now.

        Raises:
            UserError: the budget is spent.
        """
        if self._exchange is None:
            return
        found, self._found = self._found, []
        for failure in (failure for part in self._exchange(found) for failure in part):
            if failure.fatal:
                self.dataset.fatal[failure.id] = failure.message
            self._count(failure)

    def _count(self, failure: Failure) -> None:
        epochs = self._met.setdefault(failure.id, set())
        if failure.epoch not in epochs:
            epochs.add(failure.epoch)
            self._append(failure, len(epochs))
        if failure.id in self.errors:
            return
        self.errors[failure.id] = failure.message
        if not self.tolerated:
            return
        what = "another sample takes its place" if self.dataset.on_bad == "replace" else "it is not scored"
        found = f"{len(self.errors)} bad of {len(self.dataset)} samples, {self.allowed} allowed"
        self.say(f"warning: data.{self.split}: {failure.message}; {what} ({found})")
        if len(self.errors) > self.allowed:
            raise UserError(
                f"data.max_bad_fraction={self.max_fraction:g}: {found} in data.{self.split}, the last: "
                f"{failure.message.rstrip('.')}. "
                + (f"All are in {self.path}; " if self.path is not None else "")
                + "mend them, "
                "take them out of the list, or allow for more"
            )

    def lose(self, failure: Failure) -> None:
        """A sample has ended its worker; it will not be tried again.

        Raises:
            UserError: the run must not go on without it (``data.on_error=fail``).
        """
        self.dataset.fatal[failure.id] = failure.message
        if not self.tolerated:
            self.add(failure)
            raise UserError(f"{failure.message}. Take it out of the list, or go on without it by data.on_error=skip")

    def unscored(self, scored: Iterable[int]) -> dict[int, str]:
        """The samples of an evaluation that are not among the ``scored``, by id, with their errors."""
        missing = set(range(len(self.dataset))).difference(scored)
        return {index: self.errors.get(index, "") for index in sorted(missing)}

    def _append(self, failure: Failure, count: int) -> None:
        if self.path is None or not self._writes:
            return
        source = self.dataset.source
        row = {
            "split": self.split, "epoch": failure.epoch, "id": failure.id, "path": source.name(failure.id),
            "backend": getattr(source, "backend", ""), "error": failure.message,
            "deadly": failure.fatal, "count": count,
        }  # fmt: skip
        line = (json.dumps(row) + "\n").encode()
        with self.path.open("ab", buffering=0) as file:  # one write
            if file.write(line) != len(line):  # a full disk took a part, which the next run cuts off
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))


def _read(path: Path, split: str) -> list[dict[str, Any]]:
    """The rows of a ledger, of one split. Half a line that a full disk has left at its end is cut off.

    Raises:
        UserError: a line that is no row, as an editor may leave one.
    """
    if not path.exists():
        return []
    *lines, last = path.read_bytes().split(b"\n")
    if last and _row(last) is None:
        os.truncate(path, path.stat().st_size - len(last))
    elif last:  # an editor that ends no last line
        with path.open("ab") as file:
            file.write(b"\n")
        lines.append(last)
    rows = []
    for number, line in enumerate(lines, 1):
        row = _row(line) if line.strip() else {"split": None}
        if row is None:
            raise UserError(
                f"{path}:{number}: is no row of bad samples; delete the line, or the file to forget them all"
            )
        if row["split"] == split:
            rows.append(row)
    return rows


def _row(line: bytes) -> dict[str, Any] | None:
    """What `_append` wrote; None for anything else."""
    try:
        row = json.loads(line)
        return {key: row[key] for key in ("split", "epoch", "id", "path", "error", "deadly")}
    except (ValueError, KeyError, TypeError):
        return None
