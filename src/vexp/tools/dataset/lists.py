"""Write lists in the formats of vexp, mmaction2 and SlowFast, and split them without leaks."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from vexp.core.errors import UserError
from vexp.core.files import write_text
from vexp.data.annotations.annotation import Annotation
from vexp.data.annotations.packed import PackedStrings
from vexp.data.sources.base import VideoSource
from vexp.data.sources.subsets import hold_out
from vexp.tools.dataset.file_info import FileInfo

#: List formats and their file suffixes.
KINDS = {"csv": ".csv", "mmaction2": ".txt", "slowfast": ".csv"}
CLASSES = "classes.txt"


def write_lists(folder: Path, splits: Mapping[str, Annotation], kind: str) -> list[Path]:
    """Write a list per split (``train.csv``, ...), and ``classes.txt`` if classes have names; return their paths.

    Raises:
        UserError: If the format cannot represent a row; nothing is written then.
    """
    texts = {
        folder / list_name(split, kind): _table(rows) if kind == "csv" else _blank_separated(rows, kind)
        for split, rows in splits.items()
    }
    for path, text in texts.items():
        write_text(path, text)
    names = next(iter(splits.values())).classes
    if not _are_numbers(names):
        write_text(folder / CLASSES, "".join(f"{name}\n" for name in names))
        return [*texts, folder / CLASSES]
    return list(texts)


def list_name(split: str, kind: str) -> str:
    """Return the file name of a split's list."""
    return f"{split}{KINDS[kind]}"


def _are_numbers(names: list[str]) -> bool:
    return names == [str(number) for number in range(len(names))]


def _has_offsets(rows: Annotation) -> bool:
    return rows.frame_ranges is not None and bool((rows.frame_ranges[:, 0] > 0).any())


def _table(rows: Annotation) -> str:
    """Format as a table with a header, with all columns that at least one row has."""
    columns = ["path", "label"]
    columns += ["start", "end"] if rows.segments is not None else []
    columns += ["group"] if rows.groups is not None else []
    columns += ["offset"] if _has_offsets(rows) else []
    columns += ["total_frames"] if rows.frame_ranges is not None else []
    text, names = io.StringIO(), rows.classes
    # Labels are indices if there are no names, or a name contains the semicolon that separates labels.
    use_indices = _are_numbers(names) or any(";" in name or name != name.strip() for name in names)
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for row in range(len(rows)):
        start, end = rows.segment(row) or (0.0, math.inf)
        offset, total = rows.frames(row) or ("", "")
        labels = (str(number) if use_indices else names[number] for number in rows.labels(row))
        record = {"path": rows.name(row), "label": ";".join(labels), "group": rows.group(row)}
        record |= {"start": f"{start:.12g}" if start else "", "end": "" if math.isinf(end) else f"{end:.12g}"}
        writer.writerow(record | {"offset": offset, "total_frames": total})
    return text.getvalue()


def _blank_separated(rows: Annotation, kind: str) -> str:
    """Format as ``path label ...`` for videos and ``folder [offset] total_frames label ...`` for raw frames.

    SlowFast reads ``path label`` if DATA.PATH_LABEL_SEPARATOR is a blank.
    """
    if rows.segments is not None:
        raise UserError(f"--to {kind}: the format has no segments (start, end); use --to csv")
    if spaced := next((name for name in rows.names if len(name.split()) > 1), None):
        text = f"fields are separated by blanks, but {spaced!r} contains one; rename it or use --to csv"
        raise UserError(f"--to {kind}: {text}")
    if kind == "slowfast" and rows.frame_ranges is not None:
        raise UserError("--to slowfast: the format has no raw frames; use --to csv or mmaction2")
    if kind == "slowfast" and rows.multi_label:
        raise UserError("--to slowfast: the format has one label per video; use --to csv or mmaction2")
    lines, first = [], 0 if _has_offsets(rows) else 1
    for row in range(len(rows)):
        frames = rows.frames(row)
        if rows.frame_ranges is not None and frames is None:
            raise UserError(f"--to mmaction2: {rows.name(row)}: its number of frames is unknown")
        numbers = [*(frames or ())][first:] + rows.labels(row).tolist()
        lines.append(" ".join([rows.name(row), *map(str, numbers)]) + "\n")
    return "".join(lines)


def grouped_by_name(rows: Annotation, pattern: re.Pattern[str]) -> Annotation:
    """Set the group of each row to the match of ``pattern`` (of its first group if it has one) in the name.

    Raises:
        UserError: If no name matches.
    """
    matches = [pattern.search(name) for name in rows.names]
    if not any(matches):
        raise UserError(f"--group {pattern.pattern}: matches no name, such as {rows.name(0)!r}")
    groups = ("" if match is None else match[1 if pattern.groups else 0] for match in matches)
    return replace(rows, groups=PackedStrings.pack(groups))


def grouped_by_content(rows: Annotation, files: Mapping[str, FileInfo]) -> Annotation:
    """Merge groups, and create groups, so that files with the same content are in one group."""
    group_of_content: dict[str, str] = {}
    parent: dict[str, str] = {}

    def root(group: str) -> str:
        while parent.get(group, group) != group:
            group = parent[group]
        return group

    units = [rows.group(row) or f"video {rows.name(row)}" for row in range(len(rows))]
    for row, unit in enumerate(units):
        info = files.get(rows.name(row))
        if info is not None and info.sha256:
            parent[root(unit)] = root(group_of_content.setdefault(info.sha256, unit))
    merged = [root(unit) for unit in units]
    if merged == units:
        return rows
    shared = {to for unit, to in zip(units, merged, strict=True) if unit != to}
    groups = (to if to in shared or not to.startswith("video ") else "" for to in merged)
    return replace(rows, groups=PackedStrings.pack(groups))


def held_out(rows: Annotation, shares: Mapping[str, float], seed: int) -> dict[str, Annotation]:
    """Split the rows by groups, with equal class proportions, as ``data.val.hold_out`` does."""
    parts = hold_out(VideoSource(rows), shares, seed=seed, option="--hold-out {}={}")
    return {split: rows.take(parts[split]) for split in ("train", *shares)}
