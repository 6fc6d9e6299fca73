"""What is wrong with a collection: its files, its lists, and what its splits share."""

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

#: what may be found -> what it means, in the order of the report
KINDS = {
    MISSING: "listed or in the index, but not there",
    UNREADABLE: "cannot be opened and read as what it is meant to be",
    DAMAGED: "opens, but a frame cannot be decoded",
    "changed": "another content than the index has",
    "not_in_index": "there, but the index does not know it",
    "out_of_range": "the list wants frames or seconds that the video does not have",
    "listed_twice": "the same row several times in one list",
    "duplicates": "one content under several names in one split",
    "labels_conflict": "one content under different labels",
    "leak_by_file": "one video in two splits",
    "leak_by_content": "one content under two names in two splits",
    "leak_by_group": "one group in two splits",
    "class_without_samples": "a class that training never sees, or evaluation never asks for",
    "not_listed": "a video below the folder that no list names; no fault",
}
NO_FAULT = ("not_listed",)


@dataclass(slots=True)
class Report:
    """``findings``: sentences by kind; ``class_counts``: samples by split and class; ``summary``: of the files."""

    findings: dict[str, list[str]]
    class_counts: dict[str, dict[str, int]]
    summary: dict[str, Any]

    @property
    def faults(self) -> int:
        return sum(len(found) for kind, found in self.findings.items() if kind not in NO_FAULT)


def report(
    collection: Collection, facts: Mapping[str, FileInfo], indexed: Mapping[str, FileInfo] | None, unlisted: list[str]
) -> Report:
    """Everything that can be said.

    Args:
        facts: of each name of the collection.
        indexed: what an index has of them from an earlier day.
        unlisted: videos that are there and in no list.
    """
    found: dict[str, list[str]] = {kind: [] for kind in KINDS}
    for fact in facts.values():
        if fact.fault:
            found[fact.fault].append(fact.error or fact.path)
    if indexed is not None:
        for kind, sentence in _against(indexed, facts, set(unlisted)):
            found[kind].append(sentence)
    splits = collection.splits
    for split, rows in splits.items():
        found["listed_twice"] += _repeated(split, rows)
        found["out_of_range"] += _out_of_range(split, rows, facts)
    members = {split: set(rows.names) for split, rows in splits.items()}
    labels, copies = _labels_by_name(splits), _copies(facts)
    for names in copies:
        found["duplicates"] += _duplicates(names, members)
    classes = next((rows.classes for rows in splits.values()), [])  # one numbering for all
    for names in [*copies, *([name] for name, sets in labels.items() if len(sets) > 1)]:
        found["labels_conflict"] += _conflict(names, labels, classes)
    for first, second in itertools.combinations(splits, 2):
        for kind, sentence in _leaks(first, second, splits, members, copies):
            found[kind].append(sentence)
    counts = {split: _class_counts(rows) for split, rows in splits.items()}
    if "train" in counts:
        for split, of in counts.items():
            found["class_without_samples"] += [f"{split}: no sample of {name}" for name, n in of.items() if not n]
    found["not_listed"] = unlisted
    return Report({kind: sentences for kind, sentences in found.items() if sentences}, counts, _summary(facts))


def _against(
    indexed: Mapping[str, FileInfo], facts: Mapping[str, FileInfo], unlisted: set[str]
) -> Iterator[tuple[str, str]]:
    for name, now in facts.items():
        before = indexed.get(name)
        if now.fault == MISSING:
            continue
        if before is None:
            yield "not_in_index", name
        elif before.sha256 != now.sha256:
            yield (
                "changed",
                f"{name}: {before.bytes} bytes, sha256 {before.sha256[:12]}; now {now.bytes}, {now.sha256[:12]}",
            )
    for name in sorted(indexed.keys() - facts.keys() - unlisted):
        if indexed[name].fault != MISSING:
            yield MISSING, f"{name}: in the index, and not here any more"


def _row_key(rows: Annotation, row: int) -> tuple[Any, ...]:
    return rows.name(row), rows.segment(row), rows.frames(row)


def _repeated(split: str, rows: Annotation) -> Iterator[str]:
    times: dict[tuple[Any, ...], int] = defaultdict(int)
    for row in range(len(rows)):
        times[_row_key(rows, row)] += 1
    return (f"{split}: {key[0]} ({count} times)" for key, count in times.items() if count > 1)


def _out_of_range(split: str, rows: Annotation, facts: Mapping[str, FileInfo]) -> Iterator[str]:
    for row in range(len(rows)):
        fact = facts[rows.name(row)]
        frames, segment = rows.frames(row), rows.segment(row)
        if fact.fault or fact.frames is None:
            continue
        if frames is not None and sum(frames) > fact.frames:
            yield f"{split}: {fact.path}: the list says {sum(frames)} frames, there are {fact.frames}"
        if segment is not None and fact.duration is not None and segment[0] >= fact.duration:
            yield f"{split}: {fact.path}: begins at {segment[0]:g} s, the video has {fact.duration:g} s"


def _labels_by_name(splits: Mapping[str, Annotation]) -> dict[str, set[tuple[int, ...]]]:
    """The label sets of each name; one a row, and a video may have several rows (its segments)."""
    labels: dict[str, set[tuple[int, ...]]] = defaultdict(set)
    for rows in splits.values():
        for row in range(len(rows)):
            if rows.segment(row) is None:
                labels[rows.name(row)].add(tuple(sorted(rows.labels(row).tolist())))
    return labels


def _copies(facts: Mapping[str, FileInfo]) -> list[list[str]]:
    """Names of the same content, where there are several."""
    by_content: dict[str, list[str]] = defaultdict(list)
    for fact in facts.values():
        if fact.sha256:
            by_content[fact.sha256].append(fact.path)
    return [names for names in by_content.values() if len(names) > 1]


def _duplicates(names: list[str], members: Mapping[str, set[str]]) -> Iterator[str]:
    if not members:
        yield " = ".join(names)
    for split, inside in members.items():
        same = [name for name in names if name in inside]
        if len(same) > 1:
            yield f"{split}: " + " = ".join(same)


def _conflict(names: list[str], labels: Mapping[str, set[tuple[int, ...]]], classes: list[str]) -> Iterator[str]:
    sets = {name: labels[name] for name in names if name in labels}
    if len(set().union(*sets.values())) > 1:
        said = (
            f"{name} is " + " and ".join("+".join(classes[number] for number in one) for one in sorted(found))
            for name, found in sets.items()
        )
        yield ", ".join(said)


def _leaks(
    first: str, second: str, splits: Mapping[str, Annotation], members: Mapping[str, set[str]], copies: list[list[str]]
) -> Iterator[tuple[str, str]]:
    where = f"{first}, {second}"
    for name in sorted(members[first] & members[second]):
        yield "leak_by_file", f"{where}: {name}"
    for names in copies:
        ours, theirs = ([name for name in names if name in members[split]] for split in (first, second))
        if ours and theirs and ours != theirs:
            yield "leak_by_content", f"{where}: {', '.join(ours)} = {', '.join(theirs)}"
    for group in shared_groups(VideoSource(splits[first]), VideoSource(splits[second])):
        yield "leak_by_group", f"{where}: {group}"


def _class_counts(rows: Annotation) -> dict[str, int]:
    labels = rows.labels_packed
    values = labels.values if isinstance(labels, PackedLabels) else labels
    counts = np.bincount(values, minlength=len(rows.classes))
    return {name: int(count) for name, count in zip(rows.classes, counts, strict=True)}


def _summary(facts: Mapping[str, FileInfo]) -> dict[str, Any]:
    """Of the files that can be read: their number and bytes; least, median and most of what sampling depends on."""
    sound = [fact for fact in facts.values() if not fact.fault]
    summary: dict[str, Any] = {"files": len(facts), "bytes": sum(fact.bytes for fact in facts.values())}
    for name in ("frames", "fps", "duration", "longest_gop"):
        values = [value for fact in sound if (value := getattr(fact, name)) is not None]
        if values:
            summary[name] = [float(f"{number:.6g}") for number in np.quantile(values, (0, 0.5, 1))]
    sizes = Counter(f"{fact.width}x{fact.height}" for fact in sound)
    summary["sizes"] = dict(sizes.most_common())
    summary["codecs"] = dict(Counter(f"{fact.codec} in {fact.container}" for fact in sound).most_common())
    return summary
