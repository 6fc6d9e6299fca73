"""Reading of list files: detection of the format, and the formats that consist of text lines.

The formats are those in which mmaction2, SlowFast, UCF-101, HMDB-51, Kinetics and Something-Something are published,
and tables with a header and JSON records (``vexp.data.annotations.tables``). Lists are read as a stream; only the
packed rows are kept in memory.
"""

from __future__ import annotations

import csv
import functools
import glob
import os
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

from vexp.core.errors import MissingInputError, UserError
from vexp.data.annotations.annotation import Annotation
from vexp.data.annotations.builder import AnnotationBuilder
from vexp.data.annotations.class_names import read_classes
from vexp.data.annotations.folders import is_image, is_video
from vexp.data.annotations.tables import TABLES, add_parts, add_records, add_table, columns_of, separator_of

#: Descriptions of the formats; the keys are the values of ``data.format``.
FORMATS = {
    "videos": "text list of videos, 'path label' per line",
    "frames": "text list of raw frames, 'folder total_frames label' per line",
    "frames_with_offset": "text list of raw frames, 'folder offset total_frames label' per line",
    "raw_videos": "text list of videos in parts, 'folder label parts part part ...' per line",
    "slowfast": "SlowFast's list, 'path label' per line",
    "json": "JSON records",
    "csv": "table with a header",
    "kinetics": "Kinetics' table",
    "something_something": "Something-Something's JSON",
    "ucf101": "UCF-101's split list",
    "hmdb51": "HMDB-51's split files",
}

_HEAD = 1 << 16  # bytes from which a format is detected
_UCF101 = re.compile(r"(?:.*/)?(?P<label>[^/]+)/(?P<group>v_\w+_g\d+)_c\d+\.\w+$")
_HMDB51 = re.compile(r"(?P<label>.+)_test_split[123]\.txt$")
_LABEL_NAMES = {"csv": None, "json": None} | dict.fromkeys(
    ("kinetics", "something_something", "ucf101", "hmdb51"), True
)


def find_lists(ann_file: str | Path) -> list[Path]:
    """Return the file ``ann_file``, or all files that match it as a pattern (HMDB-51 has one file per class)."""
    path = Path(ann_file)
    if path.is_file() or not glob.has_magic(str(path)):
        return [path] if path.is_file() else []
    return sorted(Path(match) for match in glob.glob(str(path)))


def read_list(path: Path, *, prefix: str = "", **options: Any) -> Annotation:
    """Read one list, with the ``options`` of ``read_lists``."""
    return read_lists([(path, prefix)], **options)


def read_lists(
    lists: Sequence[tuple[Path, str]],
    *,
    format: str = "auto",
    split: str = "train",
    classes: Sequence[str] | None = None,
    multi_label: bool | None = None,
    separator: str | None = None,
    file_name: str | None = None,
    own_classes: bool = False,
    verify: bool = False,
) -> Annotation:
    """Read the lists of a split, one after the other; the names of several lists include their folder.

    Args:
        lists: Path of each list, or a pattern that the files of one split of HMDB-51 match, and the folder that its
            paths are relative to (empty: that of the list).
        format: A key of ``FORMATS``, or auto.
        split: Split whose rows are selected in a list of several (train, val or test).
        classes: Names of all classes; None: those in the lists, in alphabetical order, or numbers up to the largest.
        multi_label: Samples may have several labels; None: if any sample has.
        separator: Separator of path and label, or of columns; None: that of the format.
        file_name: Template of the file name in formats with ids, with columns of the row in braces; None: the usual.
        own_classes: The lists after the first number classes of their own. Here their numbers follow those of the
            first, whose classes are those of the annotation.
        verify: Check that every file exists.

    Raises:
        UserError: If a list cannot be read, or has bad lines.
    """
    for path, _ in lists:
        if path.suffix in (".pkl", ".pickle"):
            raise UserError(f"{path}: is a pickle, not a list of videos; lists of skeletons are read by data=skeleton")
    kinds = [_kind(path, format, separator) for path, _ in lists]
    label_names = {_LABEL_NAMES.get(kind, False) for kind in kinds}
    if label_names >= {True, False}:
        found = ", ".join(f"{path}: {FORMATS[kind]}" for (path, _), kind in zip(lists, kinds, strict=True))
        raise UserError(f"the lists do not name their classes in the same way; convert them to one format: {found}")
    indices = lists[0][0].parent / "classInd.txt"
    if kinds[0] == "ucf101" and classes is None and indices.is_file():
        classes = read_classes(indices)
    named = True if True in label_names else None if None in label_names else False
    rows = AnnotationBuilder(
        lists[0][0], classes=classes, label_names=named, multi_label=multi_label, own_classes=own_classes, verify=verify
    )
    for (path, prefix), kind in zip(lists, kinds, strict=True):
        rows.begin_list(path, prefix or str(path.parent), several=len(lists) > 1)
        try:
            if kind == "hmdb51":
                _add_hmdb51(rows, find_lists(path), split)
            elif kind in TABLES:
                add_table(rows, path, kind, split, separator, file_name)
            elif kind == "raw_videos":
                _add_raw_videos(rows, path, separator, file_name)
            elif kind in ("json", "something_something"):
                add_records(rows, path, kind, split, file_name)
            else:
                _LINES[kind](rows, path, separator)
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{path}: cannot be read as annotation list: {error}") from None
        except RecursionError:
            raise UserError(f"{path}: cannot be read as annotation list: a record is nested too deeply") from None
    return rows.finish(
        formats=kinds, descriptions=[FORMATS[kind] + (" (detected)" if format == "auto" else "") for kind in kinds]
    )


def _kind(path: Path, format: str, separator: str | None) -> str:
    """Return the format of a list that exists."""
    files = find_lists(path)
    if not files:
        raise MissingInputError(f"{path}: no such file (annotation list)")
    kind = detect(files[0], separator) if format == "auto" else format
    if len(files) > 1 and kind != "hmdb51":
        raise UserError(f"{path}: {len(files)} files match; only a split of HMDB-51 has a file for each class")
    return kind


def detect(path: Path, separator: str | None = None) -> str:
    """Detect the format of a list from its name and its first lines.

    Raises:
        UserError: If several formats are possible.
    """
    if _HMDB51.search(path.name):
        return "hmdb51"
    if re.fullmatch(r"(train|test)list0[123]\.txt", path.name):
        return "ucf101"
    try:
        with open(path, "rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        raise UserError(f"{path}: cannot be read as annotation list: {error}") from None
    text = head.decode("utf-8-sig", "replace").lstrip()
    if path.suffix.lower() in (".json", ".jsonl"):
        record = text[: text.find("}") + 1]
        return "something_something" if '"template"' in record or '"placeholders"' in record else "json"
    lines = text.splitlines()
    if len(head) == _HEAD:
        lines.pop()  # incomplete
    if lines and path.suffix.lower() in (".csv", ".tsv", ".txt"):
        delimiter = separator_of(path, lines[0], separator)
        table = columns_of(next(csv.reader(lines[:1], delimiter=delimiter))) if delimiter is not None else None
        if table is not None:
            return table
    if path.suffix.lower() == ".csv" or separator is not None:
        return "slowfast"
    return _kind_of_lines(path, [line.split() for line in lines if line.strip()])


def _kind_of_lines(path: Path, lines: Sequence[Sequence[str]]) -> str:
    """Detect the format from the number of integers after each path, and from the suffixes of the paths."""
    videos, counts = 0, set()
    for words in lines:
        numbers = len(list(takewhile(str.isdecimal, reversed(words))))
        if 0 < numbers < len(words):
            videos += is_video(words[-numbers - 1]) or is_image(words[-numbers - 1])
            counts.add(numbers)
    if videos or not counts - {1}:
        return "videos"
    if counts == {2}:
        return "frames"
    raise UserError(
        f"{path}: folders followed by {' or '.join(map(str, sorted(counts)))} numbers are ambiguous; set "
        "data.format=frames_with_offset ('folder offset total_frames label'), frames ('folder total_frames label') or "
        "videos, and data.multi_label=true if samples have several labels"
    )


def _lines(rows: AnnotationBuilder, path: Path) -> Iterator[tuple[int, str]]:
    """Yield the number and text of every line that is not blank."""
    with open(path, "rb") as file:
        for number, raw in enumerate(file, 1):
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            except UnicodeDecodeError as error:
                rows.bad(number, f"not UTF-8 ({error.reason} at byte {error.start}); save the list as UTF-8")
                continue
            if line:
                yield number, line


def _add_videos(rows: AnnotationBuilder, path: Path, separator: str | None) -> None:
    """Read ``path label`` (the path may contain spaces), or ``path label label ...``."""
    for number, line in _lines(rows, path):
        name, *labels = line.rsplit(separator, 1)
        name = name.rstrip()
        if not name or not labels:
            rows.bad(number, f"{line!r} is not 'path label'")
            continue
        if rows.multi_label or (rows.multi_label is None and name[-1].isdecimal()):
            head, more = _split_numbers(name, separator)
            if more and (rows.multi_label or is_video(head) or is_image(head)):
                name, labels = head, [*more, *labels]
        rows.add(number, name, [label.strip() for label in labels])


def _add_slowfast(rows: AnnotationBuilder, path: Path, separator: str | None) -> None:
    """Read ``path label`` without a header; the separator is a space (SlowFast's default) or a comma."""
    if separator is None:
        with open(path, encoding="utf-8-sig", errors="replace") as file:
            first = file.readline()
        separator = "," if first.rpartition(",")[2].strip().isdecimal() else None
    _add_videos(rows, path, separator)


def _add_frames(rows: AnnotationBuilder, path: Path, separator: str | None, *, with_offset: bool = False) -> None:
    """Read ``folder [offset] total_frames label [label ...]``; several labels only with ``multi_label``."""
    count = 2 + with_offset
    for number, line in _lines(rows, path):
        if rows.multi_label:
            name, words = _split_numbers(line, separator)
        else:
            name, *words = (word.strip() for word in line.rsplit(separator, count))
        if not name or len(words) < count:
            rows.bad(number, f"{line!r} is not 'folder {'offset ' if with_offset else ''}total_frames label'")
            continue
        *where, total = words[: count - 1]
        if not total.isdecimal() or len(total) > 9 or int(total) < 1:
            rows.bad(number, f"total_frames {total!r} is not an integer >= 1")
        elif where and (not where[0].isdecimal() or len(where[0]) > 9):
            rows.bad(number, f"offset {where[0]!r} is not an integer >= 0")
        else:
            rows.add(number, name, words[count - 1 :], frames=(int(where[0]) if where else 0, int(total)))


def _add_raw_videos(rows: AnnotationBuilder, path: Path, separator: str | None, file_name: str | None) -> None:
    """Read ``folder label parts part part ...``: the number of all parts, and the numbers of those that are used."""
    for number, line in _lines(rows, path):
        folder, words = _split_numbers(line, separator)
        if len(words) < 2:
            rows.bad(number, f"{line!r} is not 'folder label parts part part ...'")
        else:
            add_parts(rows, number, folder, words[0], words[2:], file_name)


def _split_numbers(line: str, separator: str | None) -> tuple[str, list[str]]:
    """Split a line into a path and the integers after it."""
    numbers: list[str] = []
    while True:
        head, *last = line.rsplit(separator, 1)
        if not last or not last[0].strip().isdecimal():
            return line, numbers[::-1]
        numbers.append(last[0].strip())
        line = head.rstrip()


def _add_ucf101(rows: AnnotationBuilder, path: Path, separator: str | None) -> None:
    """Read ``Class/v_Class_g08_c01.avi [number]``.

    The folder is the class (the number counts from 1 and is absent from test lists); the clips of a group come from one
    recording.
    """
    for number, line in _lines(rows, path):
        name, *words = line.split()
        match = _UCF101.match(name)
        if match is None or len(words) > 1:
            rows.bad(number, f"{line!r} is not 'Class/v_Class_gNN_cNN.avi' with or without a number after it")
        else:
            rows.add(number, name, [match["label"]], group=match["group"])


def _add_hmdb51(rows: AnnotationBuilder, files: Sequence[Path], split: str) -> None:
    """Read one file per class, with lines ``video.avi 1`` (training), ``2`` (testing) or ``0`` (neither)."""
    split_number = "1" if split == "train" else "2"
    for path in files:
        match = _HMDB51.search(path.name)
        if match is None:
            raise UserError(f"{path}: is not named CLASS_test_splitN.txt like the split files of HMDB-51")
        for number, line in _lines(rows, path):
            name, *words = line.rsplit(maxsplit=1)
            if words not in (["0"], ["1"], ["2"]):
                rows.bad(number, f"{line!r} is not 'video.avi' followed by 0, 1 or 2", path)
            elif words == [split_number]:
                rows.add(number, os.path.join(match["label"], name), [match["label"]])


_LINES: dict[str, Callable[[AnnotationBuilder, Path, str | None], None]] = {
    "videos": _add_videos, "slowfast": _add_slowfast, "ucf101": _add_ucf101, "frames": _add_frames,
    "frames_with_offset": functools.partial(_add_frames, with_offset=True),
}  # fmt: skip
