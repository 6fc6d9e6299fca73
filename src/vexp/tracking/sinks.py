"""Where the numbers go. One record a log line or evaluation; every sink gets the same one.

A record is a flat dict: ``mode`` ("train", "val"), ``step`` (completed optimizer steps), ``epoch`` (1-based), then the
values under their public names. Timings are under ``time/``, so that two runs can be compared without them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol

Record = dict[str, Any]


class Sink(Protocol):
    def write(self, record: Record) -> None: ...

    def close(self) -> None: ...


class JsonLines:
    """metrics.jsonl: a record a line, numbers in full precision."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8", buffering=1)  # a line is on disk when it is written

    def write(self, record: Record) -> None:
        self._file.write(json.dumps(record) + "\n")

    def close(self) -> None:
        self._file.close()


class TensorBoard:
    """Event files: each value as MODE/NAME over the step; what an earlier part of the run wrote from ``first_step`` on
    is hidden, because a resumed run writes it again."""

    def __init__(self, folder: Path, first_step: int = 1) -> None:
        from torch.utils.tensorboard import SummaryWriter  # seconds to import: only where it is asked for

        self._writer = SummaryWriter(str(folder), purge_step=first_step)

    def write(self, record: Record) -> None:
        for name, value in record.items():
            if name not in ("mode", "step", "epoch"):
                self._writer.add_scalar(f"{record['mode']}/{name}", value, record["step"])

    def close(self) -> None:
        self._writer.close()


def read_records(path: Path) -> list[Record]:
    """The records of a metrics.jsonl; a line that a kill cut off is left out."""
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return records


def cut_after(path: Path, step: int, *, evaluated_again: bool = False) -> None:
    """Leave out the records that a run resumed after ``step`` writes again: all later ones, and the evaluation of
    ``step`` itself where it begins with one."""
    if not path.exists():
        return
    last_evaluation = step - 1 if evaluated_again else step
    kept = [r for r in read_records(path) if r["step"] <= (last_evaluation if r["mode"] == "val" else step)]
    temporary = path.with_suffix(".tmp")
    temporary.write_text("".join(json.dumps(record) + "\n" for record in kept), encoding="utf-8")
    temporary.replace(path)
