"""Reading of lists whose rows have named values: JSON records and tables with a header."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from vexp.core.errors import UserError
from vexp.data.annotations.builder import AnnotationBuilder

TABLES = ("csv", "kinetics")

#: Accepted names of the columns or keys for each value of a row, including mmaction2's.
NAMES = {
    "path": ("path", "filename", "frame_dir", "video", "video_path", "file"),
    "label": ("label", "labels", "label_name", "class", "class_name"),
    "start": ("start", "start_time", "time_start"),
    "end": ("end", "end_time", "time_end"),
    "group": ("group",),
    "offset": ("offset",),
    "total_frames": ("total_frames", "num_frames"),
    "split": ("split", "subset"),
}
_MEANING = {name: meaning for meaning, names in NAMES.items() for name in names}
_KINETICS = {"label", "youtube_id", "time_start", "time_end"}
_SPLIT_NAMES = {
    "train": "train", "training": "train", "val": "val", "validate": "val", "valid": "val", "validation": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
_CHUNK = 1 << 16  # characters of JSON read at once


def columns_of(header: Sequence[str]) -> str | None:
    """Return the format of a table with this header; None if the header is unknown."""
    names = {name.strip().lower() for name in header}
    if names >= _KINETICS:
        return "kinetics"
    return "csv" if {"path", "label"} <= {_MEANING.get(name) for name in names} else None


def separator_of(path: Path, header: str, separator: str | None) -> str | None:
    """Return the character between the columns of a table; None if ``separator`` is not a single character."""
    if separator is not None:
        character = separator.strip(" ") or " "  # spaces around a cell are ignored
        return character if len(character) == 1 else None
    return "\t" if path.suffix.lower() == ".tsv" else max(",\t;", key=header.count)


def _split_filter(path: Path, split: str, values: Iterable[str]) -> Callable[[str], bool]:
    """Return which rows belong to a split in a list that may contain several; ``values`` are those of all rows.

    If all rows name the same split, all of them are selected: Kinetics' validate.csv may be used as the test list.
    """
    names = {value.strip().lower() for value in values}
    unknown = sorted(names - _SPLIT_NAMES.keys())
    if len(names) > 1 and unknown:
        raise UserError(f"{path}: split {unknown[0]!r} is not one of {', '.join(sorted(_SPLIT_NAMES))}")
    if len({_SPLIT_NAMES.get(name) for name in names}) <= 1:
        return lambda value: True
    return lambda value: _SPLIT_NAMES[value.strip().lower()] == split


# ---- tables ----


def add_table(
    rows: AnnotationBuilder, path: Path, kind: str, split: str, separator: str | None, file_name: str | None
) -> None:
    """Read a table whose header has the columns in ``NAMES`` (others are ignored), or those of Kinetics."""
    with open(path, newline="", encoding="utf-8-sig") as file:
        first = file.readline()
    delimiter = separator_of(path, first, separator)
    if delimiter is None:
        raise UserError(f"data.separator={separator}: the columns of a table ({path}) are separated by one character")
    lines = _table_lines(rows, path, delimiter)
    header = [name.strip().lower() for name in next(lines, (0, []))[1]]
    if kind == "kinetics" and not set(header) >= _KINETICS:
        raise UserError(f"{path}:1: the header of Kinetics' tables is label,youtube_id,time_start,time_end,split")
    names = header if kind == "kinetics" else [_MEANING.get(name, "") for name in header]
    for needed in ("path", "label"):
        if kind == "csv" and needed not in names:
            raise UserError(f"{path}:1: no column {needed!r} in the header {delimiter.join(header)!r}")
    doubled = sorted({name for name in names if name and names.count(name) > 1})
    if doubled:
        raise UserError(f"{path}:1: two columns give the {doubled[0]}: {', '.join(NAMES.get(doubled[0], doubled))}")
    if "split" in names:
        column = names.index("split")
        again = islice(_table_lines(AnnotationBuilder(path), path, delimiter), 1, None)
        is_selected = _split_filter(path, split, (row[column] for _, row in again if len(row) == len(header)))
    for line, row in lines:
        if len(row) != len(header):
            rows.bad(line, f"has {len(row)} columns, the header has {len(header)}")
            continue
        values = dict(zip(names, map(str.strip, row), strict=True))
        if "split" in names and not is_selected(values["split"]):
            continue
        if kind == "kinetics":
            _add_kinetics(rows, line, values, file_name)
        else:
            _add_values(rows, line, values)


def _table_lines(rows: AnnotationBuilder, path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file, delimiter=delimiter)
        try:
            for row in reader:
                if row and any(cell.strip() for cell in row):
                    yield reader.line_num, row
        except csv.Error as error:
            rows.bad(reader.line_num, f"is no row of a table: {error}")


def _add_kinetics(rows: AnnotationBuilder, line: int, values: Mapping[str, str], file_name: str | None) -> None:
    """The files of Kinetics are cut already, ``ID_000010_000020.mp4``: the times are part of the name, no segment."""
    try:
        times = {key: int(float(values[key])) for key in ("time_start", "time_end")}
    except (ValueError, OverflowError):
        rows.bad(line, f"time_start {values['time_start']!r}, time_end {values['time_end']!r} are not both numbers")
    else:
        template = file_name or "{youtube_id}_{time_start:06d}_{time_end:06d}.mp4"
        rows.add(line, _filled(template, {**values, **times}), [values["label"]])


def _filled(file_name: str, values: Mapping[str, Any]) -> str:
    """Return the file name of a row."""
    try:
        return file_name.format_map(values)
    except KeyError as error:
        raise UserError(f"data.file_name={file_name}: {error} is not a column; columns: {', '.join(values)}") from None
    except (ValueError, LookupError, AttributeError, TypeError, OverflowError) as error:
        raise UserError(f"data.file_name={file_name}: is not a valid template: {error}") from None


# ---- JSON ----


def add_records(rows: AnnotationBuilder, path: Path, kind: str, split: str, file_name: str | None) -> None:
    """Read a JSON list of records, or one record per line, with keys in ``NAMES`` or those of Something-Something."""
    if kind == "json":
        dicts = (record for _, record in _records(path) if isinstance(record, dict))
        is_selected = _split_filter(path, split, (str(record["split"]) for record in dicts if "split" in record))
    for line, record in _records(path):
        if not isinstance(record, dict):
            rows.bad(line, f"{json.dumps(record)[:60]} is not a record {{...}}")
        elif kind == "something_something":
            _add_something(rows, line, record, file_name)
        elif isinstance(parts := record.get("positive_clip_inds"), list):
            add_parts(rows, line, str(record.get("video_dir", "")), record.get("label"), parts, file_name)
        elif "split" not in record or is_selected(str(record["split"])):
            values = {_MEANING[key]: value for key, value in record.items() if key in _MEANING}
            _add_values(rows, line, values)


def _add_something(rows: AnnotationBuilder, line: int, record: Mapping[str, Any], file_name: str | None) -> None:
    """Add a record; ``template`` without brackets is the class. The test list has none."""
    for key in ("id", "template"):
        if key not in record:
            return rows.bad(line, f"the record has no {key!r}; test lists have no labels")
    label = str(record["template"]).replace("[", "").replace("]", "")
    return rows.add(line, _filled(file_name or "{id}.webm", record), [label])


def add_parts(
    rows: AnnotationBuilder, line: int, folder: str, label: Any, parts: Sequence[Any], file_name: str | None
) -> None:
    """Add a row for each part of a raw video, all in one group (mmaction2's RawVideoDataset)."""
    for part in parts:
        name = _filled(file_name or "{folder}/part_{part}.mp4", {"folder": folder, "part": part})
        rows.add(line, name, [str(label)], group=folder)


def _records(path: Path) -> Iterator[tuple[int, Any]]:
    """Yield the line number and content of each record; only part of the file is in memory."""
    decoder = json.JSONDecoder()
    with open(path, encoding="utf-8-sig") as file:
        text, at, line, ended = "", 0, 1, False
        while True:
            start = at
            while at < len(text) and text[at] in " \t\r\n,[]":
                at += 1
            line += text.count("\n", start, at)
            if at < len(text):
                try:
                    record, end = decoder.raw_decode(text, at)
                except json.JSONDecodeError as error:
                    if ended:
                        where = line + text.count("\n", at, error.pos)
                        raise UserError(f"{path}:{where}: invalid JSON: {error.msg}") from None
                except ValueError as error:  # a number of more digits than Python reads
                    raise UserError(f"{path}:{line}: invalid JSON: {str(error).partition(';')[0]}") from None
                else:
                    yield line, record
                    line += text.count("\n", at, end)
                    at = end
                    continue
            elif ended:
                return
            more = file.read(max(_CHUNK, len(text) - at))  # doubled for a record longer than a chunk
            text, at, ended = text[at:] + more, 0, not more


# ---- values of a row ----


def _add_values(rows: AnnotationBuilder, line: int, values: Mapping[str, Any]) -> None:
    """Add a row of named values, text from a table or typed values from JSON."""
    name = values.get("path")
    if not isinstance(name, str) or not name:
        return rows.bad(line, f"has no path (any of {', '.join(NAMES['path'])})")
    try:
        labels, segment, frames = _labels(values.get("label")), _segment(values), _frames(values)
    except ValueError as error:
        return rows.bad(line, str(error))
    return rows.add(line, name, labels, group=str(values.get("group") or ""), segment=segment, frames=frames)


def _labels(value: Any) -> list[str]:
    """Parse labels: one, a JSON list, or several separated by semicolons in a table."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(";")] if value else []
    labels = value if isinstance(value, list) else [] if value is None else [value]
    for label in labels:
        if isinstance(label, bool) or not isinstance(label, int | str):
            raise ValueError(f"the label {label!r} is neither an integer nor a name")
    return [str(label) for label in labels]


def _segment(values: Mapping[str, Any]) -> tuple[float, float] | None:
    """Return start and end in seconds (NaN: not given); None if neither is given."""
    start, end = (_seconds(key, values.get(key)) for key in ("start", "end"))
    if math.isnan(start) and math.isnan(end):
        return None
    if end <= (0 if math.isnan(start) else start):
        raise ValueError(f"the segment ends at {end:g} s, before it starts")
    return start, end


def _seconds(key: str, value: Any) -> float:
    if value is None or value == "":
        return math.nan
    try:
        seconds = float(value)
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ValueError(f"{key} {value!r} is not a time in seconds")
    return seconds


def _frames(values: Mapping[str, Any]) -> tuple[int, int] | None:
    offset, total = (_integer(key, values.get(key)) for key in ("offset", "total_frames"))
    if total is None and offset is not None:
        raise ValueError("offset is given without total_frames")
    if total is None:
        return None
    if total < 1:
        raise ValueError(f"total_frames {total} is not an integer >= 1")
    return offset or 0, total


def _integer(key: str, value: Any) -> int | None:
    if value is None or value == "":
        return None
    text = str(value)
    if not text.isdecimal() or len(text) > 9:
        raise ValueError(f"{key} {value!r} is not an integer >= 0")
    return int(text)
