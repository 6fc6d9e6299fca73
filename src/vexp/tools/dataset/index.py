"""The index of a collection: a table with a row of facts for each file, as CSV or JSON."""

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
from vexp.tools.dataset.file_info import UNREADABLE, FileInfo, Inspect, identify
from vexp.tools.dataset.journal import Journal
from vexp.tools.dataset.worker_pool import Outcome, run_jobs

COLUMNS = tuple(field.name for field in fields(FileInfo))
_TYPES = {
    field.name: float if "float" in str(field.type) else int if "int" in str(field.type) else str
    for field in fields(FileInfo)
}
SUFFIXES = (".csv", ".json")


def inspect_all(
    names: list[str], inspect: Inspect, journal: Journal, known: Mapping[str, FileInfo], workers: int
) -> Iterator[FileInfo]:
    """The facts of every file, those that are known already first; each is in the journal when it is given.

    ``known``: by path; taken over where size and time of the file are still the same.
    """
    before = {**known, **{record["path"]: FileInfo(**record) for record in journal.known}}
    noted = {record["path"] for record in journal.known}
    left = []
    for name in names:
        facts = before.get(name)
        if facts is not None and facts.fault != "missing" and facts.identity == identify(inspect.root, name).identity:
            if name not in noted:
                journal.add(asdict(facts))
            yield facts
        else:
            left.append(name)
    outcomes: Iterator[Outcome[str, FileInfo]] = run_jobs(left, inspect, workers)
    for outcome in outcomes:
        facts = outcome.result or _without_result(inspect.root, outcome)
        journal.add(asdict(facts))
        yield facts


def _without_result(root: Path, outcome: Outcome[str, FileInfo]) -> FileInfo:
    """A file that killed the process that looked at it."""
    facts = identify(root, outcome.job)
    facts.fault, facts.error = facts.fault or UNREADABLE, facts.error or outcome.error
    return facts


def check_suffix(path: Path) -> None:
    """Raises:
    UserError: it is neither CSV nor JSON by its name.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"{path}: the index is a table, named .csv or .json")


def write_index(path: Path, rows: Iterable[FileInfo]) -> None:
    """In alphabetical order of the paths; whole or not at all."""
    check_suffix(path)
    records = [asdict(facts) for facts in sorted(rows, key=lambda facts: facts.path)]
    if path.suffix.lower() == ".json":
        write_text(path, "[\n" + ",\n".join(map(json.dumps, records)) + "\n]\n")
        return
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    write_text(path, text.getvalue())


def read_index(path: Path) -> dict[str, FileInfo]:
    """By path.

    Raises:
        UserError: it is no index, or a damaged one.
    """
    check_suffix(path)
    try:
        text = path.read_text(encoding="utf-8")
        records = json.loads(text) if path.suffix.lower() == ".json" else _table(text)
        return {
            record["path"]: FileInfo(**{name: _value(name, record[name]) for name in COLUMNS}) for record in records
        }
    except FileNotFoundError:
        raise UserError(f"{path}: no such index; make it with: scripts/dataset.py index VIDEOS {path}") from None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path}: is no index of this tool, or a damaged one ({error!r}); make it anew") from error


def _table(text: str) -> list[dict[str, str]]:
    reader = csv.DictReader(io.StringIO(text))
    if tuple(reader.fieldnames or ()) != COLUMNS:
        raise ValueError("its header is another")
    return list(reader)


def _value(name: str, cell: Any) -> Any:
    if cell is None or (cell == "" and _TYPES[name] is not str):
        return None
    return _TYPES[name](cell)
