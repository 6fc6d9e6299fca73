"""Reading of detected persons by key frame: the boxes that a detection model classifies.

Formats, by the ending of the file:

- ``.csv``: ``video,second,x1,y1,x2,y2,[class],[score]`` per line, as AVA's and PySlowFast's lists of persons;
- ``.json``: ``{"video,second": [[x1, y1, x2, y2, score], ...]}``; the score may be missing;
- ``.npz``: the arrays ``key_frames`` (texts "video,second", one for each box), ``boxes`` (N, 4) and ``scores`` (N,);
- ``.pkl``: mmaction2's ``{"video,0902": array (N, 5)}``, read without running what a pickle may contain.

Coordinates are shares of width and height, 0..1. Boxes that leave the frame are clipped to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from vexp.core.array_pickle import read_pickle
from vexp.core.documents import open_regular, parse_json, read_text
from vexp.core.errors import MissingInputError, UserError
from vexp.data.annotations.ava import KeyFrame, parse_second, read_rows
from vexp.data.annotations.builder import Problems

SUFFIXES = (".csv", ".json", ".npz", ".pkl", ".pickle")
_LARGEST_JSON = 1 << 30  # bytes


@dataclass(frozen=True, slots=True, eq=False)
class PersonBoxes:
    """Boxes of key frames; those of a key frame are adjacent and in the order of the file."""

    key_frames: list[KeyFrame]
    ends: NDArray[np.int64]  # end of the boxes of each key frame, (K,)
    box: NDArray[np.float64]  # x1, y1, x2, y2 as shares of width and height, (N, 4)
    score: NDArray[np.float64]  # confidence of each box, (N,); 1 without scores

    def rows(self) -> dict[KeyFrame, slice]:
        """Return the rows of each key frame."""
        starts = [0, *self.ends[:-1].tolist()]
        return {
            frame: slice(start, stop)
            for frame, start, stop in zip(self.key_frames, starts, self.ends.tolist(), strict=True)
        }


def read_person_boxes(path: Path) -> PersonBoxes:
    """Read the detected persons of a file.

    Raises:
        UserError: If it cannot be read; the message lists the bad entries.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UserError(f"{path}: person boxes are read from {', '.join(SUFFIXES)}")
    problems = Problems(path)
    try:
        rows = _READERS[suffix](path, problems)
        result = _collect(rows, problems)
    except FileNotFoundError:
        raise MissingInputError(f"{path}: no such file (person boxes)") from None
    problems.raise_any()
    return result


#: Place in the file (line or name), key frame, and its boxes with scores, float64 (n, 5).
Row = tuple[int | str, KeyFrame, NDArray[np.float64]]


def _collect(rows: Iterable[Row], problems: Problems) -> PersonBoxes:
    found: dict[KeyFrame, list[NDArray[np.float64]]] = {}
    for place, frame, boxes in rows:
        if (reason := _problem(boxes)) is not None:
            problems.add(place, reason)
        else:
            found.setdefault(frame, []).append(boxes)
    counts = [sum(map(len, parts)) for parts in found.values()]
    parts = [part for parts in found.values() for part in parts]
    joined = np.concatenate(parts) if parts else np.empty((0, 5))
    return PersonBoxes(list(found), np.cumsum(counts, dtype=np.int64), joined[:, :4].clip(0, 1), joined[:, 4])


def _problem(boxes: NDArray[np.float64]) -> str | None:
    if not np.isfinite(boxes[:, :4]).all():
        return "the box must consist of finite numbers"
    if not np.isfinite(boxes[:, 4]).all():
        return "must have a finite score"
    box = boxes[:, :4]
    if np.any(box < -1) or np.any(box > 2):
        return f"the box {box[np.any((box < -1) | (box > 2), axis=1)][0]} must be given as shares of width and height"
    if np.any(box[:, 2:] < box[:, :2]):
        return "the box must be x1, y1, x2, y2 with x1 <= x2 and y1 <= y2"
    return None


def _read_csv(path: Path, problems: Problems) -> Iterator[Row]:
    for line, row in read_rows(path):
        try:
            frame = (row[0], parse_second(row[1]))
            if not any(row[2:]):
                yield line, frame, np.empty((0, 5))
                continue
            score = float(row[7]) if len(row) > 7 and row[7] else 1.0
            yield line, frame, np.array([[*map(float, row[2:6]), score]]).reshape(1, 5)
        except (ValueError, IndexError):
            problems.add(line, "must be video,second,x1,y1,x2,y2,class,score; class and score may be empty")


def _read_json(path: Path, problems: Problems) -> Iterator[Row]:
    yield from _of_mapping(path, parse_json(read_text(path, limit=_LARGEST_JSON), path, unique_keys=True), problems)


def _read_pickle(path: Path, problems: Problems) -> Iterator[Row]:
    yield from _of_mapping(path, read_pickle(path), problems)


def _of_mapping(path: Path, content: Any, problems: Problems) -> Iterator[Row]:
    if not isinstance(content, dict):
        raise UserError(f'{path}: must be a mapping {{"video,second": [[x1, y1, x2, y2, score], ...]}}')
    for name, boxes in content.items():
        try:
            values = np.asarray(boxes, np.float64)
            if values.size == 0:
                values = np.empty((0, 5))
            if values.ndim != 2 or values.shape[1] not in (4, 5):
                raise ValueError
            frame = _key_frame(str(name))
        except (ValueError, TypeError):
            problems.add(str(name), 'must be "video,second" with rows of 4 or 5 numbers: x1, y1, x2, y2, score')
            continue
        yield str(name), frame, values if values.shape[1] == 5 else np.pad(values, ((0, 0), (0, 1)), constant_values=1)


def _read_npz(path: Path, problems: Problems) -> Iterator[Row]:
    try:
        with open_regular(path) as opened, np.load(opened, allow_pickle=False) as file:
            names, boxes, scores = file["key_frames"], file["boxes"], file["scores"]
        rows = np.column_stack([boxes.astype(np.float64), scores.astype(np.float64)])
        if names.dtype.kind != "U" or rows.shape != (len(names), 5):
            raise ValueError
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError, EOFError, AttributeError, TypeError, BadZipFile):
        rule = "must be a .npz of key_frames (N,) of texts, boxes (N, 4) and scores (N,)"
        raise UserError(f"{path}: {rule}, or is damaged") from None
    for row, name in enumerate(names.tolist()):
        try:
            yield name, _key_frame(name), rows[row : row + 1]
        except ValueError:
            problems.add(f"key_frames[{row}]", f"{name!r} must be video,second")


def _key_frame(name: str) -> KeyFrame:
    video, _, second = name.rpartition(",")
    if not video:
        raise ValueError(name)
    return video, parse_second(second)


_READERS = {
    ".csv": _read_csv,
    ".json": _read_json,
    ".npz": _read_npz,
    ".pkl": _read_pickle,
    ".pickle": _read_pickle,
}
