"""Lists written: vexp's table, mmaction2's text list, SlowFast's; and splits in which nothing is on both sides."""

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

#: name of a kind of list -> suffix of its file
KINDS = {"csv": ".csv", "mmaction2": ".txt", "slowfast": ".csv"}
CLASSES = "classes.txt"


def write_lists(folder: Path, splits: Mapping[str, Annotation], kind: str) -> list[Path]:
    """``train.csv`` and so on, a list a split, then ``classes.txt`` where classes have names: what was written.

    Raises:
        UserError: rows that this kind of list cannot say; nothing is written then.
    """
    texts = {folder / list_name(split, kind): _WRITERS[kind](rows) for split, rows in splits.items()}
    for path, text in texts.items():
        write_text(path, text)
    names = next(iter(splits.values())).classes
    if not _are_numbers(names):
        write_text(folder / CLASSES, "".join(f"{name}\n" for name in names))
        return [*texts, folder / CLASSES]
    return list(texts)


def list_name(split: str, kind: str) -> str:
    """Of its file."""
    return f"{split}{KINDS[kind]}"


def class_names(rows: Annotation) -> list[str] | None:
    """What a table writes as labels; None: numbers, as there are no names, or one that would be cut at a semicolon."""
    if _are_numbers(rows.classes) or any(";" in name or name != name.strip() for name in rows.classes):
        return None
    return rows.classes


def _are_numbers(names: list[str]) -> bool:
    return names == [str(number) for number in range(len(names))]


def _table(rows: Annotation) -> str:
    """vexp's own: a header, only the columns that some row has, everything that the annotation holds."""
    columns = ["path", "label"]
    columns += ["start", "end"] if rows.segments is not None else []
    columns += ["group"] if rows.groups is not None else []
    if rows.frame_ranges is not None:
        columns += ["offset"] if (rows.frame_ranges[:, 0] > 0).any() else []
        columns.append("total_frames")
    text, names = io.StringIO(), class_names(rows)
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for row in range(len(rows)):
        start, end = rows.segment(row) or (0.0, math.inf)
        offset, total = rows.frames(row) or ("", "")
        labels = (str(number) if names is None else names[number] for number in rows.labels(row))
        writer.writerow({
            "path": rows.name(row), "label": ";".join(labels), "group": rows.group(row),
            "start": f"{start:.12g}" if start else "", "end": "" if math.isinf(end) else f"{end:.12g}",
            "offset": offset, "total_frames": total,
        })  # fmt: skip
    return text.getvalue()


def _mmaction2(rows: Annotation) -> str:
    """``path label ...`` of videos, ``folder total_frames label ...`` of raw frames; with offset where one is not 0."""
    _refuse_what_words_cannot_say(rows, "mmaction2")
    with_offset = rows.frame_ranges is not None and bool((rows.frame_ranges[:, 0] > 0).any())
    lines = []
    for row in range(len(rows)):
        frames = rows.frames(row)
        if rows.frame_ranges is not None and frames is None:
            raise UserError(f"--to mmaction2: {rows.name(row)}: its number of frames is not known")
        numbers = [*(frames or ())][0 if with_offset else 1 :] + rows.labels(row).tolist()
        lines.append(" ".join([rows.name(row), *map(str, numbers)]) + "\n")
    return "".join(lines)


def _slowfast(rows: Annotation) -> str:
    """``path label`` without a header: DATA.PATH_LABEL_SEPARATOR is a blank there."""
    _refuse_what_words_cannot_say(rows, "slowfast")
    if rows.frame_ranges is not None:
        raise UserError("--to slowfast: SlowFast's list is of videos, not of raw frames; use --to csv or mmaction2")
    if rows.multi_label:
        raise UserError("--to slowfast: SlowFast's list has one label a video; use --to csv or mmaction2")
    return _mmaction2(rows)


def _refuse_what_words_cannot_say(rows: Annotation, kind: str) -> None:
    if rows.segments is not None:
        raise UserError(f"--to {kind}: it cannot say which part of a video is meant (start, end); use --to csv")
    spaced = next((name for name in rows.names if len(name.split()) > 1), None)
    if spaced is not None:
        raise UserError(f"--to {kind}: it is split at blanks, and {spaced!r} has one; rename it or use --to csv")


_WRITERS = {"csv": _table, "mmaction2": _mmaction2, "slowfast": _slowfast}


# ---- splits ----


def grouped_by_name(rows: Annotation, pattern: re.Pattern[str]) -> Annotation:
    """Groups read from the names: what the pattern's first group, or all of it, matches first in a name.

    Raises:
        UserError: it matches no name, so nothing would be kept together.
    """
    found = [pattern.search(name) for name in rows.names]
    if not any(found):
        raise UserError(f"--group {pattern.pattern}: matches no name, for example not {rows.name(0)!r}")
    words = ("" if match is None else match[1 if pattern.groups else 0] for match in found)
    return replace(rows, groups=PackedStrings.pack(words))


def grouped_by_content(rows: Annotation, facts: Mapping[str, FileInfo]) -> Annotation:
    """Groups joined, and made, so that files with the same content are in one."""
    first: dict[str, str] = {}
    group_of: dict[str, str] = {}

    def root(group: str) -> str:
        while group_of.get(group, group) != group:
            group = group_of[group]
        return group

    units = [rows.group(row) or f"video {rows.name(row)}" for row in range(len(rows))]
    for row, unit in enumerate(units):
        known = facts.get(rows.name(row))
        if known is not None and known.sha256:
            group_of[root(unit)] = root(first.setdefault(known.sha256, unit))
    joined = [root(unit) for unit in units]
    if joined == units:
        return rows
    shared = {to for unit, to in zip(units, joined, strict=True) if unit != to}
    named = (to if to in shared or not to.startswith("video ") else "" for to in joined)
    return replace(rows, groups=PackedStrings.pack(named))


def held_out(rows: Annotation, shares: Mapping[str, float], seed: int) -> dict[str, Annotation]:
    """The rows divided: whole groups, each class in its proportion, as ``data.val.hold_out`` does it."""
    parts = hold_out(VideoSource(rows), shares, seed=seed, option="--hold-out {}={}")
    return {split: rows.take(parts[split]) for split in ("train", *shares)}
