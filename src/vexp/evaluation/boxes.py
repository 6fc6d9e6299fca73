"""Metrics of spatio-temporal action detection: average precision of labeled boxes in key frames (AVA). NumPy only.

Rules: of equal scores the earlier row ranks first; a detection is compared with the ground truth of its class that it
overlaps most, even if that is taken; nothing is rounded before ranking. docs/explanation/task_metrics.md lists the
differences to mmaction2's two versions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vexp.data.annotations.key_frames import box_iou
from vexp.evaluation.detections import Detections, Floats, Pairs, RankedHits, checked_thresholds, overlapping_pairs


def frame_average_precision(
    truth: Detections, detections: Detections, *, num_classes: int, iou: float = 0.5, count_empty_frames: bool = False
) -> Floats:
    """Return the frame-level average precision of each class, float64 (num_classes,); NaN without ground truth.

    The mean over the classes with ground truth is mAP@0.5IOU (Gu et al. 2018, AVA). See ``match_boxes``.
    """
    matched = match_boxes(truth, detections, num_classes=num_classes, iou=iou, count_empty_frames=count_empty_frames)
    values: Floats = matched.average_precision()[0]
    return values


def match_boxes(
    truth: Detections, detections: Detections, *, num_classes: int, iou: float = 0.5, count_empty_frames: bool = False
) -> RankedHits:
    """Match the boxes of each key frame: a detection takes the ground truth of its class that it overlaps most.

    It is a false positive if a detection with a higher score has taken that one, even if it overlaps another.

    Args:
        truth: Ground-truth boxes; ``group`` is the index of the key frame.
        detections: Detected boxes with labels and scores. Boxes without area are not counted.
        num_classes: Number of classes; labels are 0..num_classes-1.
        iou: Smallest intersection over union of a match, in (0, 1].
        count_empty_frames: Whether detections in frames without any ground truth are false positives, as in mmaction2
            0.x; by default they are ignored, as in 1.x, because AVA labels only a part of its frames.

    Raises:
        ValueError: If the threshold is out of range.
    """
    (limit,) = checked_thresholds([iou])
    has_area = np.all(detections.extent[:, 2:] > detections.extent[:, :2], axis=1)
    counted = has_area if count_empty_frames else has_area & np.isin(detections.group, truth.group)
    ranked = detections[np.flatnonzero(counted)].ranked()
    pairs = overlapping_pairs(truth, ranked, box_iou, above=limit)
    return RankedHits(truth, ranked, _hits(pairs, len(ranked))[None], num_classes)


def _hits(pairs: Pairs, num_detections: int) -> NDArray[np.bool_]:
    """Return whether each detection is the first one whose nearest ground truth is not taken, bool (N,)."""
    nearest = pairs[np.lexsort((pairs.truth, -pairs.overlap, pairs.predicted))]
    _, first = np.unique(nearest.predicted, return_index=True)  # one pair for each detection, in descending score
    nearest = nearest[first]
    _, taking = np.unique(nearest.truth, return_index=True)
    is_hit = np.zeros(num_detections, bool)
    is_hit[nearest.predicted[taking]] = True
    return is_hit
