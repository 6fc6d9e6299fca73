"""The index of a collection: a table of file properties as CSV or JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from vexp.core.errors import UserError
from vexp.core.files import write_text
from vexp.core.worker_pool import run_jobs
from vexp.tools.dataset.file_info import UNREADABLE, FileInfo, Inspect, identify
from vexp.tools.dataset.journal import Journal

COLUMNS = {field.name: str(field.type) for field in fields(FileInfo)}  # name -> type
_TYPES = {"str": str, "int": int, "int | None": int, "float | None": float}


def inspect_all(
    names: list[str], inspect: Inspect, journal: Journal, known: Mapping[str, FileInfo], workers: int
) -> Iterator[FileInfo]:
    """Inspect files, except those in ``known`` or the journal whose size and time have not changed.

    Yields:
        The properties of each file, after they were written to the journal.
    """
    in_journal = {record["path"]: FileInfo(**record) for record in journal.known}
    entries, remaining = {**known, **in_journal}, []
    for name in names:
        info = entries.get(name)
        if info is not None and info.fault != "missing" and info.identity == identify(inspect.root, name).identity:
            if name not in in_journal:
                journal.add(asdict(info))
            yield info
        else:
            remaining.append(name)
    for outcome in run_jobs(remaining, inspect, workers):
        info = outcome.result
        if info is None:  # its worker died
            info = identify(inspect.root, outcome.job)
            info.fault, info.error = info.fault or UNREADABLE, info.error or outcome.error
        journal.add(asdict(info))
        yield info


def check_suffix(path: Path) -> None:
    """Raise UserError unless the name of an index file ends in .csv or .json."""
    if path.suffix.lower() not in (".csv", ".json"):
        raise UserError(f"{path}: an index must be named .csv or .json")


def write_index(path: Path, rows: Iterable[FileInfo]) -> None:
    """Write an index, sorted by path, atomically."""
    check_suffix(path)
    records = [asdict(info) for info in sorted(rows, key=lambda info: info.path)]
    if path.suffix.lower() == ".json":
        write_text(path, "[\n" + ",\n".join(map(json.dumps, records)) + "\n]\n")
        return
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    write_text(path, text.getvalue())


def read_index(path: Path) -> dict[str, FileInfo]:
    """Read an index and return its entries by path.

    Raises:
        UserError: If it does not exist or is not an index.
    """
    check_suffix(path)
    try:
        text = path.read_text(encoding="utf-8")
        records = json.loads(text) if path.suffix.lower() == ".json" else _table(text)
        infos = [FileInfo(**{name: _value(kind, record[name]) for name, kind in COLUMNS.items()}) for record in records]
        return {info.path: info for info in infos}
    except FileNotFoundError:
        raise UserError(f"{path}: no such index; create it with: vexp dataset index VIDEOS {path}") from None
    except (OSError, ValueError, TypeError, KeyError) as error:
        text = f"is not a valid index ({error!r}); create it again with: vexp dataset index"
        raise UserError(f"{path}: {text}") from error


def _table(text: str) -> list[dict[str, str]]:
    reader = csv.DictReader(io.StringIO(text))
    if list(reader.fieldnames or ()) != list(COLUMNS):
        raise ValueError("unexpected header")
    return list(reader)


def _value(kind: str, cell: Any) -> Any:
    return None if cell is None or (cell == "" and kind != "str") else _TYPES[kind](cell)
