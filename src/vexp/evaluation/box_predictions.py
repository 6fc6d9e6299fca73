"""The detections of a model in the key frames of a split, and mAP@0.5IOU computed from them. NumPy only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vexp.core.errors import UserError
from vexp.evaluation.boxes import match_boxes
from vexp.evaluation.config import Eval
from vexp.evaluation.detections import Detections, RankedHits
from vexp.evaluation.predictions import SplitPredictions

Image = NDArray[np.uint8]


class FrameDetections(NamedTuple):
    """The outputs of a model for n key frames with M boxes and G labeled boxes in all; boxes are shares of the frame.

    Attributes:
        ids: Indices of the key frames in their source, int64 (n,).
        counts: Boxes of each key frame, int64 (n,).
        boxes: x1, y1, x2, y2 and score of each person, float64 (M, 5).
        scores: Score of each class for each box, float32 (M, classes).
        truth_counts: Labeled boxes of each key frame, int64 (n,).
        truth: Labeled boxes, float64 (G, 4).
        truth_targets: Their labels, bool (G, classes).
        losses: Mean loss of the boxes of each key frame that have a label, float64 (n,); NaN if none has.
        dropped: Boxes of each key frame that lie outside of the clip, int64 (n,).
        images: For some key frames by id: the clip's image of the key frame, uint8 (H, W, 3), and its boxes in pixels
            of the image, float32 (count, 4).
    """

    ids: NDArray[np.int64]
    counts: NDArray[np.int64]
    boxes: NDArray[np.float64]
    scores: NDArray[np.float32]
    truth_counts: NDArray[np.int64]
    truth: NDArray[np.float64]
    truth_targets: NDArray[np.bool_]
    losses: NDArray[np.float64]
    dropped: NDArray[np.int64]
    images: dict[int, tuple[Image, NDArray[np.float32]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxPredictions(SplitPredictions):
    """Detections in n key frames, columns as in ``FrameDetections``, in the order of ``ids``."""

    counts: NDArray[np.int64]
    boxes: NDArray[np.float64]
    scores: NDArray[np.float32]
    truth_counts: NDArray[np.int64]
    truth: NDArray[np.float64]
    truth_targets: NDArray[np.bool_]
    dropped: int
    images: dict[int, tuple[Image, NDArray[np.float32]]] = field(default_factory=dict)

    @property
    def counted(self) -> str:
        """The number of key frames and boxes as text."""
        n, rest = len(self.ids), len(self.unscored)
        frames = f"{n} of {n + rest} key frames" if rest else f"{n} key frames"
        return f"{frames}, {len(self.boxes)} boxes"

    @classmethod
    def of(cls, parts: Sequence[FrameDetections]) -> BoxPredictions:
        """Merge the outputs of all batches, ordered by the id of the key frame, as if they were one batch.

        The loss is the mean over the key frames; those without a labeled box count as 0, as in training.
        """
        ids = np.concatenate([part.ids for part in parts])
        order = np.argsort(ids, kind="stable")
        assert np.all(np.diff(ids[order]) > 0), "a key frame was scored twice"
        counts, truth_counts, losses, dropped = (
            np.concatenate([getattr(part, name) for part in parts])[order]
            for name in ("counts", "truth_counts", "losses", "dropped")
        )
        rows, truth_rows = (_row_order(parts, name, order) for name in ("counts", "truth_counts"))
        return cls(
            ids=ids[order],
            loss=float(np.nan_to_num(losses).mean()),
            counts=counts,
            boxes=np.concatenate([part.boxes for part in parts])[rows],
            scores=np.concatenate([part.scores for part in parts])[rows],
            truth_counts=truth_counts,
            truth=np.concatenate([part.truth for part in parts])[truth_rows],
            truth_targets=np.concatenate([part.truth_targets for part in parts])[truth_rows],
            dropped=int(dropped.sum()),
            images={key: image for part in parts for key, image in sorted(part.images.items())},
        )

    def truth_rows(self) -> Detections:
        """Return one row for each label of each labeled box; groups are positions of key frames."""
        box, label = np.nonzero(self.truth_targets)
        group = np.repeat(np.arange(len(self.ids)), self.truth_counts)
        return Detections(group[box], self.truth[box], label.astype(np.int64), np.zeros(len(box)))

    def rows(self, threshold: float) -> Detections:
        """Return one row for each class of each box with a score above ``threshold``, by key frame."""
        box, label = np.nonzero(self.scores > threshold)
        group = np.repeat(np.arange(len(self.ids)), self.counts)
        scores = self.scores[box, label].astype(np.float64)
        return Detections(group[box], self.boxes[box, :4], label.astype(np.int64), scores)


def _row_order(parts: Sequence[FrameDetections], name: str, order: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the rows of all boxes in the order of their key frames."""
    counts = np.concatenate([getattr(part, name) for part in parts])
    starts = np.cumsum(counts) - counts
    chosen = counts[order]
    within = np.arange(chosen.sum()) - np.repeat(np.cumsum(chosen) - chosen, chosen)
    rows: NDArray[np.int64] = np.repeat(starts[order], chosen) + within
    return rows


def match(predictions: BoxPredictions, measured: Sequence[bool], options: Eval, threshold: float) -> RankedHits:
    """Match the detections of the measured classes with the labeled boxes.

    Args:
        predictions: The detections.
        measured: Whether each class is measured.
        options: The rules: ``empty_frames`` and ``rounding``.
        threshold: Score up to which a class of a box is no detection.

    Raises:
        UserError: If no labeled box has a measured class.
    """
    is_measured = np.asarray(measured, bool)
    truth, rows = predictions.truth_rows(), predictions.rows(threshold)
    truth, rows = truth[is_measured[truth.label]], rows[is_measured[rows.label]]
    if not len(truth):
        raise UserError("evaluation: mAP@0.5IOU is undefined, no key frame has a box of a measured class")
    if options.rounding is not None:
        rows = Detections(
            rows.group, rows.extent.round(options.rounding), rows.label, rows.score.round(options.rounding)
        )
    count_empty = options.empty_frames == "count"
    return match_boxes(truth, rows, num_classes=len(measured), count_empty_frames=count_empty)


def protocol(options: Eval, threshold: float) -> dict[str, Any]:
    """Return the rules by which detections are measured."""
    return {
        "iou": 0.5,
        "empty_frames": options.empty_frames,
        "rounding": options.rounding,
        "ties": "of equal scores the earlier row ranks first",
        "action_thr": threshold,
    }
