"""Reading of labeled segments of time: ground truth and results of temporal localization.

Ground truth is ActivityNet's JSON (``database``), mmaction2's version, or THUMOS14's folder of text files; results
are ActivityNet's JSON (``results``), with or without labels, or THUMOS14's text file. Times are in seconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

from vexp.core.documents import parse_json, read_text
from vexp.core.errors import MissingInputError, UserError
from vexp.data.annotations.builder import Problems

FILE_LIMIT = 1 << 30  # bytes; results of ActivityNet's validation videos have about 60 MB
_AMBIGUOUS = "Ambiguous"  # THUMOS14's segments that may show any of its classes

#: Start and end in seconds, label (empty: none), score.
Segment = tuple[float, float, str, float]


@dataclass(slots=True)
class VideoSegments:
    """The segments of a video."""

    segments: list[Segment] = field(default_factory=list)
    subset: str = ""  # such as validation; empty if the file does not name it
    duration: float = math.nan  # in seconds; NaN if unknown
    fps: float = math.nan  # frames per second; NaN if unknown
    covered: float = math.nan  # seconds from the start that features of the whole video cover; NaN if unknown


def read_segments(path: Path) -> dict[str, VideoSegments]:
    """Return the ground truth of each video by its name.

    Raises:
        UserError: If the file cannot be read; it lists the bad entries.
    """
    if path.is_dir():
        return _read_thumos_folder(path)
    content = _json(path)
    videos = content.get("database", content)
    if not isinstance(videos, dict) or not videos:
        raise UserError(f"{path}: has no videos; ground truth is ActivityNet's 'database' or mmaction2's JSON")
    problems = Problems(path)
    result = {name: _truth(name, entry, problems) for name, entry in videos.items()}
    problems.raise_any()
    return result


def read_segment_results(path: Path, classes: Sequence[str] | None = None) -> dict[str, VideoSegments]:
    """Return the predicted segments of each video by its name.

    Args:
        path: JSON with ``results``, or THUMOS14's text file: video, start, end, class number and score per line.
        classes: Names of the classes by their numbers, which the text file needs.

    Raises:
        UserError: If the file cannot be read; it lists the bad entries.
    """
    if path.suffix.lower() == ".txt":
        return _read_thumos_results(path, classes)
    content = _json(path)
    videos = content.get("results", content)
    if not isinstance(videos, dict):
        raise UserError(f"{path}: 'results' must be a mapping of video names")
    problems = Problems(path)
    result = {}
    for name, entries in videos.items():
        if not isinstance(entries, list):
            problems.add(f"video {name}", "its results must be a list of segments")
            continue
        rows = (_segment(f"video {name}: segment {i}", entry, problems, True) for i, entry in enumerate(entries))
        result[name] = VideoSegments([row for row in rows if row is not None])
    problems.raise_any()
    return result


def _json(path: Path) -> dict[str, Any]:
    try:
        content = parse_json(read_text(path, limit=FILE_LIMIT), path)
    except FileNotFoundError:
        raise MissingInputError(f"{path}: no such file") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: must be a JSON mapping of video names")
    return content


def _truth(name: str, entry: Any, problems: Problems) -> VideoSegments:
    if not isinstance(entry, dict) or not isinstance(entry.get("annotations", []), list):
        problems.add(f"video {name}", "must be a mapping with a list of annotations")
        return VideoSegments()
    duration: object = entry.get("duration_second", entry.get("duration", math.nan))
    if not _is_number(duration):
        problems.add(f"video {name}", f"its duration must be a number of seconds, got {duration!r}")
    annotations = entry.get("annotations", [])
    rows = (_segment(f"video {name}: annotation {i}", item, problems, False) for i, item in enumerate(annotations))
    segments = [row for row in rows if row is not None]
    seconds = float(duration) if _is_number(duration) else math.nan
    covered, fps = seconds, entry.get("fps", math.nan)
    used, frames = entry.get("feature_frame"), entry.get("duration_frame")
    if _is_number(used) and _is_number(frames) and used > 0 and frames > 0:  # mmaction2 extracts whole windows only
        covered = seconds * used / frames
    return VideoSegments(
        segments, str(entry.get("subset", "")), seconds, float(fps) if _is_number(fps) else math.nan, covered
    )


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _segment(place: str, entry: Any, problems: Problems, has_score: bool) -> Segment | None:
    """Return the segment of a JSON entry; None if it is bad."""
    span = entry.get("segment") if isinstance(entry, dict) else None
    if not isinstance(span, list) or len(span) != 2 or not all(map(_is_number, span)):
        problems.add(place, "must have a segment [start, end] in seconds")
        return None
    assert isinstance(entry, dict)  # it has a segment
    label: Any = entry.get("label", "")
    score: Any = entry.get("score") if has_score else 0.0
    if not isinstance(label, str | int):
        problems.add(place, f"its label must be a name, got {label!r}")
    elif not _is_number(score):
        problems.add(place, f"must have a score, got {score!r}")
    else:
        return _checked(place, (float(span[0]), float(span[1]), str(label), float(score)), problems)
    return None


def _checked(place: int | str, segment: Segment, problems: Problems, path: Path | None = None) -> Segment | None:
    start, end, _, score = segment
    if not all(map(math.isfinite, (start, end, score))):
        problems.add(place, "start, end and score must be finite numbers", path)
    elif end < start:
        problems.add(place, f"ends at {end:g} s, before its start at {start:g} s", path)
    else:
        return segment
    return None


def _read_thumos_folder(folder: Path) -> dict[str, VideoSegments]:
    """Read one file ``CLASS_val.txt`` or ``CLASS_test.txt`` per class with ``video start end`` per line."""
    files = sorted(path for path in folder.glob("*_*.txt") if not path.name.startswith(_AMBIGUOUS))
    if not files:
        raise UserError(f"{folder}: has no file CLASS_val.txt or CLASS_test.txt, as THUMOS14's annotations")
    problems = Problems(folder)
    videos: dict[str, VideoSegments] = {}
    for path in files:
        label, _, subset = path.stem.rpartition("_")
        for line, words in _lines(path):
            if len(words) != 3:
                problems.add(line, "must have a video, a start and an end", path)
                continue
            segment = _parsed(line, words[1], words[2], label, "0", problems, path)
            if segment is not None:
                videos.setdefault(words[0], VideoSegments(subset=subset)).segments.append(segment)
    problems.raise_any()
    return videos


def _read_thumos_results(path: Path, classes: Sequence[str] | None) -> dict[str, VideoSegments]:
    if classes is None:
        raise UserError(f"{path}: has class numbers; give their names with classes=FILE (THUMOS14's detclasslist.txt)")
    problems = Problems(path)
    videos: dict[str, VideoSegments] = {}
    names: Mapping[str, str] = dict(_numbered(classes))
    for line, words in _lines(path):
        if len(words) != 5:
            problems.add(line, "must have a video, a start, an end, a class number and a score")
        elif words[3] not in names:
            problems.add(line, f"has the class number {words[3]}, which classes does not list")
        else:
            segment = _parsed(line, words[1], words[2], names[words[3]], words[4], problems, path)
            if segment is not None:
                videos.setdefault(words[0], VideoSegments()).segments.append(segment)
    problems.raise_any()
    return videos


def _numbered(classes: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Return number and name of each class: ``7 BaseballPitch`` as in detclasslist.txt, or counted from 1."""
    for position, text in enumerate(classes, 1):
        number, _, name = text.partition(" ")
        yield (number, name.strip()) if number.isdecimal() and name.strip() else (str(position), text)


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Return number and words of each line that is not empty."""
    try:
        text = read_text(path, limit=FILE_LIMIT)
    except FileNotFoundError:
        raise MissingInputError(f"{path}: no such file") from None
    for number, line in enumerate(text.splitlines(), 1):
        if words := line.split():
            yield number, words


def _parsed(line: int, start: str, end: str, label: str, score: str, problems: Problems, path: Path) -> Segment | None:
    try:
        return _checked(line, (float(start), float(end), label, float(score)), problems, path)
    except ValueError:
        problems.add(line, "start, end and score must be numbers", path)
        return None
