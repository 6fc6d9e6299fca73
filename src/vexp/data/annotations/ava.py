"""Reading of AVA's files: labeled boxes in key frames, the label map, and the excluded key frames."""

from __future__ import annotations

import csv
import math
import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vexp.core.documents import open_regular, read_text
from vexp.core.errors import MissingInputError, UserError
from vexp.data.annotations.builder import Problems

#: A key frame: name of the video and time in seconds.
KeyFrame = tuple[str, int]


@dataclass(frozen=True, slots=True, eq=False)
class BoxTable:
    """Labeled boxes, one row each.

    Attributes:
        key_frames: The key frames in the order of the file, with those that have no box.
        key_frame: Index of the key frame of each row, int64 (N,).
        box: x1, y1, x2, y2 as shares of width and height, float64 (N, 4).
        label: Class number of each row, from 1, int64 (N,).
        value: The last column: the score of a detection, or the person of an annotation; float64 (N,), NaN if missing.
    """

    key_frames: list[KeyFrame]
    key_frame: NDArray[np.int64]
    box: NDArray[np.float64]
    label: NDArray[np.int64]
    value: NDArray[np.float64]


def read_boxes(path: Path, *, scores: bool) -> BoxTable:
    """Read ``video,second,x1,y1,x2,y2,class[,person or score]`` per line; after ``video,second`` the rest may be empty.

    Args:
        path: CSV without a header.
        scores: Whether the last column is a score, which every line must have.

    Raises:
        UserError: If the file cannot be read; it lists the bad lines.
    """
    problems = Problems(path)
    indices: dict[KeyFrame, int] = {}
    frames, labels, numbers = array("q"), array("q"), array("d")
    for line, row in read_rows(path):
        try:
            index = indices.setdefault((row[0], parse_second(row[1])), len(indices))
            if not any(row[2:]):
                continue  # a key frame without a box
            box = tuple(map(float, row[2:6]))
            label, value = int(row[6]), float(row[7]) if len(row) > 7 and row[7] else math.nan
            if any(row[8:]):
                raise ValueError(row[8:])
        except (ValueError, IndexError):
            problems.add(line, f"must be video,second,x1,y1,x2,y2,class,{'score' if scores else 'person'}")
            continue
        if (reason := _box_problem(box, label, value, scores)) is not None:
            problems.add(line, reason)
            continue
        frames.append(index)
        labels.append(label)
        numbers.extend((*box, value))
    problems.raise_any()
    values = np.frombuffer(numbers, np.float64).reshape(-1, 5)
    labels_of_rows, frames_of_rows = np.frombuffer(labels, np.int64), np.frombuffer(frames, np.int64)
    return BoxTable(list(indices), frames_of_rows, values[:, :4], labels_of_rows, values[:, 4])


def read_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Return number and cells of each line that is not empty, as a stream."""
    try:
        with open_regular(path) as file:
            lines = (line.decode("utf-8-sig" if number == 0 else "utf-8") for number, line in enumerate(file))
            for number, row in enumerate(csv.reader(lines), 1):
                if row:
                    yield number, [cell.strip() for cell in row]
    except FileNotFoundError:
        raise MissingInputError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read as CSV: {error}") from None


def parse_second(text: str) -> int:
    """Convert ``902``, ``0902`` or ``902.0``; raise ValueError for another time."""
    value = float(text)
    if not math.isfinite(value) or value != int(value):
        raise ValueError(text)
    return int(value)


def _box_problem(box: tuple[float, ...], label: int, value: float, scores: bool) -> str | None:
    x1, y1, x2, y2 = box
    if not all(map(math.isfinite, box)):
        return "the box must consist of finite numbers"
    margin = 1.0 if scores else 1e-6  # detectors leave the frame, but not by its width
    if not all(-margin <= coordinate <= 1 + margin for coordinate in box):
        return f"the box {box} must be given as shares of width and height, 0..1"
    if not scores and (x2 < x1 or y2 < y1):
        return f"the box {box} must be x1, y1, x2, y2 with x1 <= x2 and y1 <= y2"
    if label < 1:
        return f"the class {label} must be at least 1"
    return "must end with a finite score" if scores and not math.isfinite(value) else None


def read_key_frames(path: Path) -> set[KeyFrame]:
    """Return the key frames of a file of excluded ones, ``video,second`` per line.

    Raises:
        UserError: If the file cannot be read; it lists the bad lines.
    """
    problems = Problems(path)
    result = set()
    for line, row in read_rows(path):
        try:
            name, second = row
            result.add((name, parse_second(second)))
        except ValueError:
            problems.add(line, "must be video,second")
    problems.raise_any()
    return result


_ITEM = re.compile(r"\bitem\s*\{(.*?)\}", re.DOTALL)
_FIELD = re.compile(r"""\b(name|id|label_id)\s*:\s*(?:"([^"]*)"|'([^']*)'|(\d+))""")


def read_label_map(path: Path) -> dict[int, str]:
    """Return the class names by their numbers from a label map, ``item { name: "stand" id: 12 }`` (``.pbtxt``).

    Raises:
        UserError: If the file cannot be read, or an item has no name or number, or repeats one.
    """
    try:
        text = read_text(path)
    except FileNotFoundError:
        raise MissingInputError(f"{path}: no such file (label map)") from None
    problems = Problems(path)
    names: dict[int, str] = {}
    for match in _ITEM.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        fields = {name.removeprefix("label_"): double or single or number
                  for name, double, single, number in _FIELD.findall(match[1])}  # fmt: skip
        if not fields.get("name") or not fields.get("id", "").isdecimal():
            problems.add(line, "the item must have a name and an id")
        elif int(fields["id"]) in names:
            problems.add(line, f"repeats the id {fields['id']}")
        else:
            names[int(fields["id"])] = fields["name"]
    problems.raise_any()
    if not names:
        raise UserError(f'{path}: has no item {{ name: "..." id: N }}')
    return names
