"""Key frames with labeled boxes and detected persons in packed arrays, and the overlap of boxes. NumPy only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vexp.data.annotations.ava import BoxTable, KeyFrame
from vexp.data.annotations.packed import Packed, PackedLabels, take
from vexp.data.annotations.person_boxes import PersonBoxes

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def box_iou(first: ArrayLike, second: ArrayLike) -> Floats:
    """Return the intersection over union of boxes (x1, y1, x2, y2), of shapes (..., 4) that broadcast; 0..1.

    It is 0 for two boxes without area. For all pairs of (M, 4) and (N, 4) give ``first[:, None]``.
    """
    one, other = np.asarray(first, np.float64), np.asarray(second, np.float64)
    corner = np.minimum(one[..., 2:], other[..., 2:]) - np.maximum(one[..., :2], other[..., :2])
    shared = np.maximum(corner, 0.0).prod(axis=-1)
    whole = (one[..., 2:] - one[..., :2]).prod(axis=-1) + (other[..., 2:] - other[..., :2]).prod(axis=-1) - shared
    share: Floats = np.divide(shared, whole, out=np.zeros(np.shape(shared)), where=whole > 0)
    return share


def assign(iou: Floats, threshold: float) -> Ints:
    """Return the ground-truth box of each detected one, int64 (M,), -1 for none (mmaction2's MaxIoUAssignerAVA).

    A detected box takes the ground truth that it overlaps most, by at least ``threshold``. The detected boxes that a
    ground-truth box overlaps most, by at least as much, take that one, even if they overlap another one more.

    Args:
        iou: Intersection over union of the G ground-truth and M detected boxes, (G, M).
        threshold: The least intersection over union, > 0.
    """
    if not iou.size:
        return np.full(iou.shape[1], -1, np.int64)
    taken: Ints = np.where(iou.max(axis=0) >= threshold, iou.argmax(axis=0), -1)
    for row, best in enumerate(iou.max(axis=1)):
        if best >= threshold:
            taken[iou[row] == best] = row
    return taken


class PackedBoxes(Packed[Floats]):
    """Boxes of each key frame, float64 rows."""

    __slots__ = ()

    def _entry(self, values: Floats) -> Floats:
        return values


@dataclass(frozen=True, slots=True, eq=False)
class KeyFrames:
    """The n key frames of a split.

    Attributes:
        videos: Names of the videos.
        video: Index of the video of each key frame, int64 (n,).
        second: Time of each key frame, as in the annotation, int64 (n,).
        truth: Distinct labeled boxes of each key frame, rows x1, y1, x2, y2 as shares of width and height.
        labels: Class indices of each labeled box, for the boxes of all key frames one after the other.
        first_box: Index in ``labels`` of the first box of each key frame, int64 (n,).
        persons: Detected persons of each key frame, rows x1, y1, x2, y2, score; None without detection.
    """

    videos: list[str]
    video: Ints
    second: Ints
    truth: PackedBoxes
    labels: PackedLabels
    first_box: Ints
    persons: PackedBoxes | None = None

    def __len__(self) -> int:
        return len(self.second)

    def name(self, index: int) -> str:
        """Return ``video,second`` with four digits, as mmaction2 names a key frame."""
        return f"{self.videos[self.video[index]]},{self.second[index]:04d}"

    def targets(self, index: int, num_classes: int) -> NDArray[np.float32]:
        """Return the labels of the boxes of a key frame, float32 (G, num_classes) of 0 and 1."""
        boxes = len(self.truth[index])
        values = np.zeros((boxes, num_classes), np.float32)
        for box in range(boxes):
            values[box, self.labels[int(self.first_box[index]) + box]] = 1
        return values

    def labels_of_frames(self) -> PackedLabels:
        """Return the distinct class indices of each key frame."""
        ends = np.concatenate([[0], self.labels.ends])
        parts = [
            np.unique(self.labels.data[ends[first] : ends[first + len(boxes)]])
            for first, boxes in zip(self.first_box.tolist(), self.truth, strict=True)
        ]
        data = np.concatenate(parts) if parts else np.empty(0, np.int32)
        return PackedLabels(data.astype(np.int32), np.cumsum([len(part) for part in parts], dtype=np.int64))

    def take(self, rows: NDArray[np.integer[Any]]) -> KeyFrames:
        """Return the key frames ``rows``, in that order."""
        columns = (field.name for field in fields(self) if field.name not in ("videos", "labels"))
        return replace(self, **{name: take(getattr(self, name), rows) for name in columns})


def pack_key_frames(
    table: BoxTable,
    class_of: dict[int, int],
    *,
    excluded: set[KeyFrame],
    labeled_only: bool,
    persons: PersonBoxes | None = None,
    min_score: float = 0.0,
    max_persons: int | None = None,
) -> KeyFrames:
    """Build the key frames of a split; rows with one box are merged, in the order in which boxes first occur.

    Args:
        table: The labeled boxes.
        class_of: Class index by number; rows with another number are left out.
        excluded: Key frames that are left out.
        labeled_only: Leave out key frames without a labeled box.
        persons: Detected persons.
        min_score: Least score of a person; if a key frame has none, its best ones are kept.
        max_persons: Number of persons that are kept in a key frame, the first ones in the file; None for all.
    """
    label = np.array([class_of.get(int(number), -1) for number in table.label], np.int64)
    allowed = np.array([frame not in excluded for frame in table.key_frames], bool)
    rows = np.flatnonzero((label >= 0) & (allowed[table.key_frame] if len(table.label) else True))
    keys = np.column_stack([table.key_frame[rows], table.box[rows]])
    boxes, first, inverse = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    order = np.lexsort((first, boxes[:, 0]))
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    boxes = boxes[order]
    box_labels = np.unique(np.column_stack([rank[inverse.reshape(-1)], label[rows]]), axis=0).reshape(-1, 2)
    counts = np.bincount(boxes[:, 0].astype(np.int64), minlength=len(table.key_frames))
    kept = np.flatnonzero(allowed & (counts > 0) if labeled_only else allowed)
    videos = {name: index for index, name in enumerate(dict.fromkeys(name for name, _ in table.key_frames))}
    frames = [table.key_frames[index] for index in kept]
    return KeyFrames(
        videos=list(videos),
        video=np.array([videos[name] for name, _ in frames], np.int64),
        second=np.array([second for _, second in frames], np.int64),
        truth=PackedBoxes(boxes[:, 1:], np.cumsum(counts)).take(kept),
        labels=PackedLabels(
            box_labels[:, 1].astype(np.int32), np.cumsum(np.bincount(box_labels[:, 0], minlength=len(boxes)))
        ),
        first_box=(np.cumsum(counts) - counts)[kept],
        persons=None if persons is None else _persons_of(frames, persons, min_score, max_persons),
    )


def _persons_of(
    frames: Sequence[KeyFrame], persons: PersonBoxes, min_score: float, max_persons: int | None
) -> PackedBoxes:
    rows_of, parts = persons.rows(), []
    values = np.column_stack([persons.box, persons.score])
    for frame in frames:
        found = values[rows_of.get(frame, slice(0, 0))]
        if len(found):
            found = found[found[:, 4] >= min(min_score, found[:, 4].max())][:max_persons]
        parts.append(found)
    data = np.concatenate(parts) if parts else np.empty((0, 5))
    return PackedBoxes(data, np.cumsum([len(part) for part in parts], dtype=np.int64))
