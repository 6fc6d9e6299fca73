"""Videos and their labels in packed arrays, without a Python object for each row.

``vexp.data.annotations.list_files`` and ``vexp.data.annotations.folders`` read lists and folders into an
``Annotation``.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from vexp.core.lazy import np
from vexp.data.annotations.packed import PackedLabels, PackedStrings, take

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(slots=True, eq=False)
class Annotation:
    """Samples with one label each, or with several (``multi_label``)."""

    names: PackedStrings  # path of each video, as written in the list
    labels_packed: NDArray[np.int32] | PackedLabels  # class indices from 0; an array (n,) if each sample has one
    classes: list[str]  # name of each class
    prefix: str = ""  # folder that the names are relative to
    groups: PackedStrings | None = None  # group of each sample; the samples of a group stay in the same split
    segments: NDArray[np.float64] | None = None  # (n, 2), start and end in seconds; NaN if a sample has none
    frame_ranges: NDArray[np.int32] | None = None  # (n, 2), offset and number of raw frames; -1 if a sample has none
    format: str = ""  # of the list; of several, each that occurs
    origin: str = ""  # path and description of the list, for the log
    parts: NDArray[np.int32] | None = None  # (n,), number of the list that each sample is from; None: all of one list

    @classmethod
    def pack(cls, names: Sequence[str], labels: Sequence[int], classes: Sequence[str], prefix: str = "") -> Annotation:
        """Create an annotation of samples with one label each."""
        return cls(PackedStrings.pack(names), np.asarray(labels, np.int32), list(classes), prefix)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def multi_label(self) -> bool:
        """Whether a sample may have several labels or none."""
        return isinstance(self.labels_packed, PackedLabels)

    def name(self, index: int) -> str:
        """Return the path as written in the list; it identifies the sample in reports."""
        return self.names[index]

    def path(self, index: int) -> str:
        """Return the path of the video or of the folder of its frames."""
        return os.path.join(self.prefix, self.names[index])

    def labels(self, index: int) -> NDArray[np.int32]:
        """Return the class indices of a sample; exactly one unless ``multi_label``."""
        if isinstance(self.labels_packed, PackedLabels):
            return self.labels_packed[index]
        return self.labels_packed[index : index + 1]

    def group(self, index: int) -> str:
        """Return the group of a sample; empty if it has none."""
        return self.groups[index] if self.groups is not None else ""

    def segment(self, index: int) -> tuple[float, float] | None:
        """Return the segment of the video, (start, end) in seconds (end may be infinite); None: the whole video."""
        if self.segments is None:
            return None
        start, end = (float(seconds) for seconds in self.segments[index])
        if np.isnan(start) and np.isnan(end):
            return None
        return (0.0 if np.isnan(start) else start), (float("inf") if np.isnan(end) else end)

    def frames(self, index: int) -> tuple[int, int] | None:
        """Return (offset, number) of raw frames; None if the list has no number."""
        if self.frame_ranges is None or self.frame_ranges[index, 1] < 0:
            return None
        offset, total = (int(value) for value in self.frame_ranges[index])
        return max(offset, 0), total

    def take(self, rows: NDArray[np.integer[Any]] | Sequence[int]) -> Annotation:
        """Return the samples ``rows``, in that order; the classes do not change."""
        columns = ("names", "labels_packed", "groups", "segments", "frame_ranges", "parts")
        return replace(self, **{name: take(getattr(self, name), np.asarray(rows, np.int64)) for name in columns})
