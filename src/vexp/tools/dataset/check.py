"""Find problems of a collection: in its files, in its lists, and between its splits."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vexp.data.annotations.annotation import Annotation
from vexp.data.annotations.packed import PackedLabels
from vexp.data.sources.base import VideoSource
from vexp.data.sources.subsets import shared_groups
from vexp.tools.dataset.file_info import DAMAGED, MISSING, UNREADABLE, FileInfo
from vexp.tools.dataset.video_collection import Collection

#: Kind of finding and its meaning, in the order of the report.
KINDS = {
    MISSING: "listed or in the index, but the file does not exist",
    UNREADABLE: "cannot be opened as a video or a folder of frames",
    DAMAGED: "opens, but a frame cannot be decoded",
    "changed": "content differs from the index",
    "not_in_index": "the file exists but is not in the index",
    "out_of_range": "the list names frames or times beyond the end of the video",
    "listed_twice": "a row occurs several times in one list",
    "duplicates": "files of one split have the same content",
    "labels_conflict": "files with the same content have different labels",
    "leak_by_file": "a video is in two splits",
    "leak_by_content": "files of two splits have the same content",
    "leak_by_group": "a group is in two splits",
    "class_without_samples": "a class has no training samples or no evaluation samples",
    "not_listed": "a video in the folder is in no list (not a fault)",
}
NO_FAULT = ("not_listed",)
Finding = tuple[str, str]  # kind and message


@dataclass(slots=True)
class Report:
    """Result of a check: messages by kind, number of samples by split and class, and statistics of the files."""

    findings: dict[str, list[str]]
    class_counts: dict[str, dict[str, int]]
    summary: dict[str, Any]

    @property
    def faults(self) -> int:
        return sum(len(messages) for kind, messages in self.findings.items() if kind not in NO_FAULT)


def report(
    collection: Collection, files: Mapping[str, FileInfo], indexed: Mapping[str, FileInfo] | None, unlisted: list[str]
) -> Report:
    """Check a collection.

    Args:
        collection: The files and lists.
        files: Inspected files by name.
        indexed: Entries of an index that was written earlier, by name.
        unlisted: Videos that exist but are in no list.
    """
    findings: dict[str, list[str]] = {kind: [] for kind in KINDS}
    splits, copies = collection.splits, _copies(files)
    members = {split: set(rows.names) for split, rows in splits.items()}
    counts = {split: _class_counts(rows) for split, rows in splits.items()}
    for kind, message in itertools.chain(
        ((file.fault, file.error or file.path) for file in files.values() if file.fault),
        _compare_with_index(indexed, files, set(unlisted)) if indexed is not None else (),
        *(_check_rows(split, rows, files) for split, rows in splits.items()),
        _check_copies(splits, members, copies),
        *(_leaks(pair, splits, members, copies) for pair in itertools.combinations(splits, 2)),
        _classes_without_samples(counts) if "train" in counts else (),
        (("not_listed", name) for name in unlisted),
    ):
        findings[kind].append(message)
    return Report({kind: messages for kind, messages in findings.items() if messages}, counts, _summary(files))


def _compare_with_index(
    indexed: Mapping[str, FileInfo], files: Mapping[str, FileInfo], unlisted: set[str]
) -> Iterator[Finding]:
    for name, now in files.items():
        before = indexed.get(name)
        if now.fault == MISSING:
            continue
        if before is None:
            yield "not_in_index", name
        elif before.sha256 != now.sha256:
            change = f"{before.bytes} bytes, sha256 {before.sha256[:12]}; now {now.bytes}, {now.sha256[:12]}"
            yield "changed", f"{name}: {change}"
    for name in sorted(indexed.keys() - files.keys() - unlisted):
        if indexed[name].fault != MISSING:
            yield MISSING, f"{name}: in the index, but the file no longer exists"


def _check_rows(split: str, rows: Annotation, files: Mapping[str, FileInfo]) -> Iterator[Finding]:
    """Find repeated rows, and rows beyond the end of their video."""
    counts = Counter((rows.name(row), rows.segment(row), rows.frames(row)) for row in range(len(rows)))
    for (name, _, _), count in counts.items():
        if count > 1:
            yield "listed_twice", f"{split}: {name} ({count} times)"
    for row in range(len(rows)):
        file, frames, segment = files[rows.name(row)], rows.frames(row), rows.segment(row)
        if file.fault or file.frames is None:
            continue
        if frames is not None and sum(frames) > file.frames:
            text = f"the list says {sum(frames)} frames, the video has {file.frames}"
            yield "out_of_range", f"{split}: {file.path}: {text}"
        if segment is not None and file.duration is not None and segment[0] >= file.duration:
            text = f"starts at {segment[0]:g} s, but the video is {file.duration:g} s long"
            yield "out_of_range", f"{split}: {file.path}: {text}"


def _copies(files: Mapping[str, FileInfo]) -> list[list[str]]:
    """Return groups of names with the same content."""
    by_content: dict[str, list[str]] = defaultdict(list)
    for file in files.values():
        if file.sha256:
            by_content[file.sha256].append(file.path)
    return [names for names in by_content.values() if len(names) > 1]


def _check_copies(
    splits: Mapping[str, Annotation], members: Mapping[str, set[str]], copies: list[list[str]]
) -> Iterator[Finding]:
    """Find duplicates within a split, and different labels of a video or of its copies."""
    for names in copies:
        if not splits:
            yield "duplicates", " = ".join(names)
        for split, inside in members.items():
            same = [name for name in names if name in inside]
            if len(same) > 1:
                yield "duplicates", f"{split}: " + " = ".join(same)
    labels: dict[str, set[tuple[int, ...]]] = defaultdict(set)  # of each name, except of segments, which may differ
    for rows in splits.values():
        for row in range(len(rows)):
            if rows.segment(row) is None:
                labels[rows.name(row)].add(tuple(sorted(rows.labels(row).tolist())))
    classes = next((rows.classes for rows in splits.values()), [])  # all splits have the same classes
    for names in [*copies, *([name] for name, sets in labels.items() if len(sets) > 1)]:
        sets = {name: labels[name] for name in names if name in labels}
        if len(set().union(*sets.values())) > 1:
            yield (
                "labels_conflict",
                ", ".join(
                    f"{name} is "
                    + " and ".join("+".join(classes[index] for index in one) for one in sorted(label_sets))
                    for name, label_sets in sets.items()
                ),
            )


def _leaks(
    pair: tuple[str, str], splits: Mapping[str, Annotation], members: Mapping[str, set[str]], copies: list[list[str]]
) -> Iterator[Finding]:
    (first, second), where = pair, ", ".join(pair)
    for name in sorted(members[first] & members[second]):
        yield "leak_by_file", f"{where}: {name}"
    for names in copies:
        in_first, in_second = ([name for name in names if name in members[split]] for split in pair)
        if in_first and in_second and in_first != in_second:
            yield "leak_by_content", f"{where}: {', '.join(in_first)} = {', '.join(in_second)}"
    for group in shared_groups(VideoSource(splits[first]), VideoSource(splits[second])):
        yield "leak_by_group", f"{where}: {group}"


def _classes_without_samples(counts: Mapping[str, Mapping[str, int]]) -> Iterator[Finding]:
    for split, by_class in counts.items():
        for name, count in by_class.items():
            if not count:
                yield "class_without_samples", f"{split}: no sample of {name}"


def _class_counts(rows: Annotation) -> dict[str, int]:
    labels = rows.labels_packed
    values = labels.values if isinstance(labels, PackedLabels) else labels
    counts = np.bincount(values, minlength=len(rows.classes))
    return {name: int(count) for name, count in zip(rows.classes, counts, strict=True)}


def _summary(files: Mapping[str, FileInfo]) -> dict[str, Any]:
    """Return the number and bytes of all files, and statistics (minimum, median, maximum) of those without a fault."""
    valid = [file for file in files.values() if not file.fault]
    summary: dict[str, Any] = {"files": len(files), "bytes": sum(file.bytes for file in files.values())}
    for name in ("frames", "fps", "duration", "longest_gop"):
        values = [value for file in valid if (value := getattr(file, name)) is not None]
        if values:
            summary[name] = [float(f"{number:.6g}") for number in np.quantile(values, (0, 0.5, 1))]
    sizes = Counter(f"{file.width}x{file.height}" for file in valid)
    summary["sizes"] = dict(sizes.most_common())
    summary["codecs"] = dict(Counter(f"{file.codec} in {file.container}" for file in valid).most_common())
    return summary
