"""List files -> annotation: which format a list has, and the formats that are text lines.

The formats are those of mmaction2, SlowFast, UCF-101, HMDB-51, Kinetics and Something-Something as they are published,
and tables with a header. Every reader streams: a list of a million rows costs its packed rows, nothing beside.
"""

from __future__ import annotations

import csv
import glob
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from vexp.core.errors import MissingInputError, UserError
from vexp.data.annotations.annotation import Annotation
from vexp.data.annotations.builder import AnnotationBuilder
from vexp.data.annotations.class_names import read_classes
from vexp.data.annotations.folders import is_video
from vexp.data.annotations.tables import TABLES, add_records, add_table, columns_of, separator_of

#: format -> what it is, in words; the keys are the values of ``data.format``
FORMATS = {
    "videos": "text list of videos, 'path label' a line",
    "frames": "text list of raw frames, 'folder total_frames label' a line",
    "frames_with_offset": "text list of raw frames, 'folder offset total_frames label' a line",
    "slowfast": "SlowFast's list, 'path label' a line",
    "json": "JSON records",
    "csv": "table with a header",
    "kinetics": "Kinetics' table",
    "something_something": "Something-Something's JSON",
    "ucf101": "UCF-101's split list",
    "hmdb51": "HMDB-51's split files",
}

_HEAD = 1 << 16  # bytes that a format is recognised by
_UCF101 = re.compile(r"(?:.*/)?(?P<label>[^/]+)/(?P<group>v_\w+_g\d+)_c\d+\.\w+$")
_HMDB51 = re.compile(r"(?P<label>.+)_test_split[123]\.txt$")
_LABEL_NAMES = {
    "csv": None,
    "json": None,
    "kinetics": True,
    "something_something": True,
    "ucf101": True,
    "hmdb51": True,
}


def find_lists(ann_file: str | Path) -> list[Path]:
    """The files that ``ann_file`` names: one, or all that a pattern matches (HMDB-51 has a file a class)."""
    path = Path(ann_file)
    if path.is_file() or not glob.has_magic(str(path)):
        return [path] if path.is_file() else []
    return sorted(Path(found) for found in glob.glob(str(path)))


def read_list(
    path: Path,
    *,
    format: str = "auto",
    prefix: str = "",
    split: str = "train",
    classes: Sequence[str] | None = None,
    multi_label: bool | None = None,
    separator: str | None = None,
    file_name: str | None = None,
    verify: bool = False,
) -> Annotation:
    """The samples of a list.

    Args:
        path: the list file, or a pattern that HMDB-51's files of one split match.
        format: a key of ``FORMATS``, or auto.
        prefix: folder that the paths are relative to; empty: the folder of the list.
        split: train, val or test: whose rows are wanted of a list that holds those of several.
        classes: names of all classes; None: as the list has them, in alphabetical order, or numbers 0 to the largest.
        multi_label: samples may have several labels; None: they may if one has.
        separator: of path and label, or of columns; None: the format's own.
        file_name: of a sample in formats that give ids, with the row's columns in braces; None: the format's own.
        verify: look whether every file is there.

    Raises:
        UserError: the list cannot be read, or has bad lines.
    """
    files = find_lists(path)
    if not files:
        raise MissingInputError(f"{path}: no such file (annotation list)")
    kind = detect(files[0], separator) if format == "auto" else format
    if len(files) > 1 and kind != "hmdb51":
        raise UserError(f"{path}: {len(files)} files match; only HMDB-51's split has a file for each class")
    if kind == "ucf101" and classes is None and (path.parent / "classInd.txt").is_file():
        classes = read_classes(path.parent / "classInd.txt")
    rows = AnnotationBuilder(
        path, prefix=prefix or str(path.parent), classes=classes, label_names=_LABEL_NAMES.get(kind, False),
        multi_label=multi_label, verify=verify,
    )  # fmt: skip
    try:
        if kind == "hmdb51":
            _add_hmdb51(rows, files, split)
        elif kind in TABLES:
            add_table(rows, path, kind, split, separator, file_name)
        elif kind in ("json", "something_something"):
            add_records(rows, path, kind, split, file_name)
        else:
            _LINES[kind](rows, path, separator)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as annotation list: {error}") from None
    what = FORMATS[kind] + (" (detected)" if format == "auto" else "")
    return rows.finish(format=kind, what=what, hint=f"expected: {FORMATS[kind]}")


def detect(path: Path, separator: str | None = None) -> str:
    """The format of a list, from its name and its first lines.

    Raises:
        UserError: it could be several.
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
        lines.pop()  # cut in two
    if lines and path.suffix.lower() in (".csv", ".tsv", ".txt"):
        delimiter = separator_of(path, lines[0], separator)
        table = columns_of(next(csv.reader(lines[:1], delimiter=delimiter))) if delimiter is not None else None
        if table is not None:
            return table
    if path.suffix.lower() == ".csv" or separator is not None:
        return "slowfast"
    return _kind_of_lines(path, [line.split() for line in lines if line.strip()])


def _kind_of_lines(path: Path, lines: Sequence[Sequence[str]]) -> str:
    """By how many whole numbers stand behind the paths, which a video's suffix tells from folders."""
    videos, counts = 0, set()
    for words in lines:
        tail = len(words) - next((i for i, word in enumerate(reversed(words)) if not word.isdecimal()), len(words))
        if 0 < tail < len(words):
            videos += is_video(words[tail - 1])
            counts.add(len(words) - tail)
    if videos or not counts - {1}:
        return "videos"
    if counts == {2}:
        return "frames"
    raise UserError(
        f"{path}: folders followed by {' or '.join(map(str, sorted(counts)))} numbers can be read in several ways; set "
        "data.format=frames_with_offset ('folder offset total_frames label'), frames ('folder total_frames label') or "
        "videos, and data.multi_label=true where labels follow one another"
    )


def _lines(rows: AnnotationBuilder, path: Path) -> Iterator[tuple[int, str]]:
    """Number and text of every line that is not blank."""
    with open(path, "rb") as file:
        for number, raw in enumerate(file, 1):
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            except UnicodeDecodeError as error:
                rows.bad(number, f"is no UTF-8 text ({error.reason} at byte {error.start}); save the list as UTF-8")
                continue
            if line:
                yield number, line


def _add_videos(rows: AnnotationBuilder, path: Path, separator: str | None) -> None:
    """``path label`` (the path may hold spaces, the label is the last word), or ``path label label ...``."""
    for number, line in _lines(rows, path):
        name, *labels = line.rsplit(separator, 1)
        name = name.rstrip()
        if not labels:
            rows.bad(number, f"{line!r} is not 'path label'")
            continue
        if rows.multi_label or (rows.multi_label is None and name[-1].isdecimal()):
            head, more = _split_numbers(name, separator)
            if more and (rows.multi_label or is_video(head)):
                name, labels = head, [*more, *labels]
        rows.add(number, name, [label.strip() for label in labels])


def _add_slowfast(rows: AnnotationBuilder, path: Path, separator: str | None) -> None:
    """``path label`` without a header; DATA.PATH_LABEL_SEPARATOR is a space there, many write a comma."""
    if separator is None:
        with open(path, encoding="utf-8-sig", errors="replace") as file:
            first = file.readline()
        separator = "," if first.rpartition(",")[2].strip().isdecimal() else None
    _add_videos(rows, path, separator)


def _add_frames(rows: AnnotationBuilder, path: Path, separator: str | None, *, with_offset: bool = False) -> None:
    """``folder [offset] total_frames label [label ...]``; several labels only where ``multi_label`` says so."""
    count = 2 + with_offset
    for number, line in _lines(rows, path):
        if rows.multi_label:
            name, words = _split_numbers(line, separator)
        else:
            name, *words = (word.strip() for word in line.rsplit(separator, count))
        if not name or len(words) < count:
            order = "folder offset total_frames label" if with_offset else "folder total_frames label"
            rows.bad(number, f"{line!r} is not '{order}'")
            continue
        *where, total = words[: count - 1]
        if not total.isdecimal() or int(total) < 1 or len(total) > 9:
            rows.bad(number, f"total_frames {total!r} is not a whole number from 1")
        elif where and (not where[0].isdecimal() or len(where[0]) > 9):
            rows.bad(number, f"offset {where[0]!r} is not a whole number from 0")
        else:
            rows.add(number, name, words[count - 1 :], frames=(int(where[0]) if where else 0, int(total)))


def _add_frames_with_offset(rows: AnnotationBuilder, path: Path, separator: str | None) -> None:
    _add_frames(rows, path, separator, with_offset=True)


def _split_numbers(line: str, separator: str | None) -> tuple[str, list[str]]:
    """A path, and the whole numbers behind it."""
    numbers: list[str] = []
    while True:
        head, *last = line.rsplit(separator, 1)
        if not last or not last[0].strip().isdecimal():
            return line, numbers[::-1]
        numbers.append(last[0].strip())
        line = head.rstrip()


def _add_ucf101(rows: AnnotationBuilder, path: Path, separator: str | None) -> None:
    """``Class/v_Class_g08_c01.avi [number]``. The folder names the class (the number counts from 1, and test lists
    have none); clips of a group are cut from one recording."""
    for number, line in _lines(rows, path):
        name, *words = line.split()
        found = _UCF101.match(name)
        if found is None or len(words) > 1:
            rows.bad(number, f"{line!r} is not 'Class/v_Class_gNN_cNN.avi' with or without a number behind it")
        else:
            rows.add(number, name, [found["label"]], group=found["group"])


def _add_hmdb51(rows: AnnotationBuilder, files: Sequence[Path], split: str) -> None:
    """A file a class, ``video.avi 1`` (training), ``2`` (testing) or ``0`` (neither) a line."""
    wanted = "1" if split == "train" else "2"
    for path in files:
        found = _HMDB51.search(path.name)
        if found is None:
            raise UserError(f"{path}: is not called CLASS_test_splitN.txt, as HMDB-51's split files are")
        for number, line in _lines(rows, path):
            name, *words = line.rsplit(maxsplit=1)
            if words not in (["0"], ["1"], ["2"]):
                rows.bad(number, f"{line!r} is not 'video.avi' with 0, 1 or 2 behind it", path)
            elif words == [wanted]:
                rows.add(number, os.path.join(found["label"], name), [found["label"]])


_LINES = {
    "videos": _add_videos,
    "slowfast": _add_slowfast,
    "frames": _add_frames,
    "frames_with_offset": _add_frames_with_offset,
    "ucf101": _add_ucf101,
}
