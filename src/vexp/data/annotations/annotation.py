"""Which videos exist and what they show, in packed arrays: a million rows and no Python object for any of them.

``vexp.data.annotations.list_files`` and ``vexp.data.annotations.folders`` read lists and folders into an ``Annotation``.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vexp.data.annotations.packed import PackedLabels, PackedStrings


@dataclass(slots=True, eq=False)
class Annotation:
    """``len`` samples with a label each, or several (``multi_label``).

    ``labels_packed``: class numbers from 0, int32 (n,), or ``PackedLabels``; ``classes``: the name of each class;
    ``prefix``: the folder that the names are relative to; ``groups``: what must stay on one side of a split;
    ``segments``: float64 (n, 2) start and end in seconds, NaN where the list does not say; ``frame_ranges``: int32
    (n, 2) offset and total of a folder of raw frames, -1 where the list does not say; ``format``: what the list was
    read as; ``origin``: the same in words, for the log.
    """

    names: PackedStrings
    labels_packed: NDArray[np.int32] | PackedLabels
    classes: list[str]
    prefix: str = ""
    groups: PackedStrings | None = None
    segments: NDArray[np.float64] | None = None
    frame_ranges: NDArray[np.int32] | None = None
    format: str = ""
    origin: str = ""

    @classmethod
    def pack(cls, names: Sequence[str], labels: Sequence[int], classes: Sequence[str], prefix: str = "") -> Annotation:
        """Of samples with one label each."""
        return cls(PackedStrings.pack(names), np.asarray(labels, np.int32), list(classes), prefix)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def multi_label(self) -> bool:
        """Whether a sample may have several labels, or none."""
        return isinstance(self.labels_packed, PackedLabels)

    def name(self, index: int) -> str:
        """The path as the list writes it: the sample's identity in reports."""
        return self.names[index]

    def path(self, index: int) -> str:
        """Where the video, or the folder of its frames, lies."""
        return os.path.join(self.prefix, self.names[index])

    def labels(self, index: int) -> NDArray[np.int32]:
        """Its class numbers; exactly one unless ``multi_label``."""
        if isinstance(self.labels_packed, PackedLabels):
            return self.labels_packed[index]
        return self.labels_packed[index : index + 1]

    def group(self, index: int) -> str:
        """Its group, empty where the list names none."""
        return self.groups[index] if self.groups is not None else ""

    def segment(self, index: int) -> tuple[float, float] | None:
        """The part of the video that is meant, (start, end) in seconds (end infinite: to its end); None: all of it."""
        if self.segments is None:
            return None
        start, end = (float(seconds) for seconds in self.segments[index])
        if np.isnan(start) and np.isnan(end):
            return None
        return (0.0 if np.isnan(start) else start), (float("inf") if np.isnan(end) else end)

    def frames(self, index: int) -> tuple[int, int] | None:
        """Of a folder of raw frames: (offset, total); None where the list does not say how many."""
        if self.frame_ranges is None or self.frame_ranges[index, 1] < 0:
            return None
        offset, total = (int(number) for number in self.frame_ranges[index])
        return max(offset, 0), total

    def take(self, rows: NDArray[np.integer[Any]] | Sequence[int]) -> Annotation:
        """The annotation of some samples, in the given order; all classes, whoever is left."""
        rows = np.asarray(rows, np.int64)
        packed = self.labels_packed
        return Annotation(
            self.names.take(rows),
            packed.take(rows) if isinstance(packed, PackedLabels) else packed[rows],
            self.classes,
            self.prefix,
            self.groups.take(rows) if self.groups is not None else None,
            self.segments[rows] if self.segments is not None else None,
            self.frame_ranges[rows] if self.frame_ranges is not None else None,
            self.format,
            self.origin,
        )
