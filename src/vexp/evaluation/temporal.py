"""Metrics of temporal localization: average recall of proposals and average precision of labeled segments. NumPy only.

Rules: of equal scores the earlier row ranks first; a video without proposals counts; segments without length overlap
nothing; nothing is rounded. docs/explanation/task_metrics.md lists the differences to mmaction2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vexp.evaluation.detections import (
    Detections,
    Floats,
    Ints,
    Pairs,
    RankedHits,
    checked_thresholds,
    overlapping_pairs,
)

#: Thresholds of temporal IoU of ActivityNet: 0.5, 0.55, ... 0.95.
ACTIVITYNET_THRESHOLDS: Floats = np.linspace(0.5, 0.95, 10)
#: Thresholds of THUMOS14: 0.3, 0.4, ... 0.7.
THUMOS_THRESHOLDS: Floats = np.linspace(0.3, 0.7, 5)
_PERCENTAGES = np.arange(1, 101)


def temporal_iou(first: ArrayLike, second: ArrayLike) -> Floats:
    """Return the intersection over union of segments (start, end), of shapes (..., 2) that broadcast; 0..1.

    It is 0 for two segments without length. For all pairs of (M, 2) and (N, 2) give ``first[:, None]``.
    """
    return _overlap(first, second, union=True)


def temporal_iop(proposals: ArrayLike, truth: ArrayLike) -> Floats:
    """Return the share of each proposal that lies in the ground truth, of shapes (..., 2) that broadcast; 0..1.

    It is 0 for a proposal without length.
    """
    return _overlap(proposals, truth, union=False)


def _overlap(first: ArrayLike, second: ArrayLike, *, union: bool) -> Floats:
    one, other = np.asarray(first, np.float64), np.asarray(second, np.float64)
    shared = np.minimum(one[..., 1], other[..., 1]) - np.maximum(one[..., 0], other[..., 0])
    shared = np.maximum(shared, 0.0)
    whole = one[..., 1] - one[..., 0] + (other[..., 1] - other[..., 0] - shared if union else 0.0)
    share: Floats = np.divide(shared, whole, out=np.zeros(np.shape(shared)), where=whole > 0)
    return share


@dataclass(frozen=True, slots=True, eq=False)
class RecallCurve:
    """Recall over the average number of proposals per video, at 100 evenly spaced numbers.

    Attributes:
        numbers: Average numbers of proposals per video (AN), float64 (100,).
        recall: Recall at each threshold of temporal IoU and number, float64 (thresholds, 100), 0..1.
        thresholds: The thresholds of temporal IoU.
    """

    numbers: Floats
    recall: Floats
    thresholds: tuple[float, ...]

    @property
    def average_recall(self) -> Floats:
        """Recall averaged over the thresholds (AR), float64 (100,)."""
        mean: Floats = self.recall.mean(axis=0)
        return mean

    @property
    def auc(self) -> float:
        """Area under the average recall in percent of the width up to the last number, from the first number on."""
        heights = (self.average_recall[1:] + self.average_recall[:-1]) / 2
        return float(100 * (np.diff(self.numbers) * heights).sum() / self.numbers[-1])

    def at(self, number: float) -> float:
        """Return the average recall at an average number of proposals per video (AR@AN); 0 below the first number."""
        index = int(np.searchsorted(self.numbers, number * (1 + 1e-9), "right")) - 1
        return float(self.average_recall[index]) if index >= 0 else 0.0


def average_recall(
    truth: Detections,
    proposals: Detections,
    *,
    num_videos: int | None = None,
    max_proposals: float | None = 100,
    thresholds: Sequence[float] | Floats = ACTIVITYNET_THRESHOLDS,
) -> RecallCurve:
    """Return the average recall of temporal proposals over their average number (ActivityNet, AR@AN).

    The same share of each video's proposals is kept, the ones with the highest scores, such that the videos have
    ``max_proposals`` on average; of these, 1 %, 2 % ... 100 %. A ground-truth segment is found if any of them overlaps
    it by the threshold. Labels are not used.

    Args:
        truth: Ground-truth segments.
        proposals: Proposals with scores; those of videos without ground truth count towards the average number.
        num_videos: Number of videos; None for those that have ground truth.
        max_proposals: Average number of proposals per video that are kept; None for all.
        thresholds: Thresholds of temporal IoU, in (0, 1].

    Raises:
        ValueError: If there is no ground truth, or a threshold is out of range.
    """
    videos = len(np.unique(truth.group)) if num_videos is None else num_videos
    return ProposalRanks.of(truth, proposals, thresholds).curve(videos, max_proposals)


@dataclass(frozen=True, slots=True, eq=False)
class ProposalRanks:
    """Proposals that overlap ground truth, by their rank in their video: what recall depends on."""

    truth: Detections
    group: Ints  # of all proposals, int64 (N,)
    pairs: Pairs  # of proposals, by their rank within their video, and ground truth
    pair_group: Ints  # of each pair
    thresholds: tuple[float, ...]

    @classmethod
    def of(cls, truth: Detections, proposals: Detections, thresholds: Sequence[float] | Floats) -> ProposalRanks:
        """Match proposals to ground truth; see ``average_recall``."""
        if not len(truth):
            raise ValueError("average recall is not defined without ground truth")
        limits = checked_thresholds(thresholds)
        ranked = proposals.ranked()
        pairs = overlapping_pairs(truth, ranked, temporal_iou, above=min(limits), same_label=False)
        ranks = _ranks_within_groups(ranked.group)[pairs.predicted]
        return cls(truth, ranked.group, Pairs(ranks, pairs.truth, pairs.overlap), truth.group[pairs.truth], limits)

    def curve(self, num_videos: int, max_proposals: float | None, weights: Ints | None = None) -> RecallCurve:
        """Return the recall; ``weights``, int64 (groups,), are how often each video is counted, None for once."""
        groups = 1 + max(int(self.group.max(initial=0)), int(self.truth.group.max()))
        weight = np.ones(groups, np.int64) if weights is None else weights
        count = np.bincount(self.group, minlength=groups)
        total = int((count * weight).sum())
        limit = total / num_videos if max_proposals is None else float(max_proposals)
        kept = np.minimum((count * (limit * float(num_videos) / max(total, 1))).astype(np.int64), count)
        shares = _PERCENTAGES / 100.0 * (limit * float(num_videos) / max(int((kept * weight).sum()), 1))
        column = _first_columns(self.pairs.predicted, kept[self.pair_group], shares)
        truth_weight = weight[self.truth.group].astype(np.float64)
        recall = np.stack([self._recall(column, truth_weight, threshold) for threshold in self.thresholds])
        return RecallCurve(_PERCENTAGES / 100.0 * limit, recall, self.thresholds)

    def _recall(self, column: Ints, truth_weight: Floats, threshold: float) -> Floats:
        found = np.full(len(self.truth), len(_PERCENTAGES))  # the first column that finds each segment
        near = self.pairs.overlap >= threshold
        np.minimum.at(found, self.pairs.truth[near], column[near])
        counts = np.bincount(found, truth_weight, minlength=len(_PERCENTAGES) + 1)[: len(_PERCENTAGES)]
        recall: Floats = np.cumsum(counts) / truth_weight.sum()
        return recall


def _ranks_within_groups(group: Ints) -> Ints:
    """Return the rank of each row among those of its group, in the given order, int64 (N,)."""
    order = np.argsort(group, kind="stable")
    _, first, inverse = np.unique(group[order], return_index=True, return_inverse=True)
    rank = np.empty_like(group)
    rank[order] = np.arange(len(group)) - first[inverse]
    return rank


def _first_columns(rank: Ints, kept: Ints, shares: Floats) -> Ints:
    """Return the first of the increasing ``shares`` of its video's ``kept`` proposals that includes each one."""
    column = np.empty_like(rank)
    for size in np.unique(kept):
        rows = kept == size
        column[rows] = np.searchsorted(np.minimum((size * shares).astype(np.int64), size), rank[rows], "right")
    return column


def average_precision(
    truth: Detections,
    predictions: Detections,
    *,
    num_classes: int,
    thresholds: Sequence[float] | Floats = ACTIVITYNET_THRESHOLDS,
) -> Floats:
    """Return the average precision of labeled segments, float64 (thresholds, num_classes).

    It is NaN for a class without ground truth; mAP is the mean over the others. See ``match_segments``.
    """
    return match_segments(truth, predictions, num_classes=num_classes, thresholds=thresholds).average_precision()


def match_segments(
    truth: Detections,
    predictions: Detections,
    *,
    num_classes: int,
    thresholds: Sequence[float] | Floats = ACTIVITYNET_THRESHOLDS,
) -> RankedHits:
    """Match labeled segments: in descending order of score, a prediction takes the free ground truth it overlaps most.

    Args:
        truth: Ground-truth segments.
        predictions: Segments with labels and scores.
        num_classes: Number of classes; labels are 0..num_classes-1.
        thresholds: Smallest temporal IoU of a match, in (0, 1].

    Raises:
        ValueError: If a threshold is out of range.
    """
    limits = checked_thresholds(thresholds)
    ranked = predictions.ranked()
    pairs = overlapping_pairs(truth, ranked, temporal_iou, above=min(limits))
    pairs = pairs[np.lexsort((pairs.truth, -pairs.overlap, pairs.predicted))]
    is_hit = np.stack([_greedy_hits(pairs[pairs.overlap >= limit], len(ranked)) for limit in limits])
    return RankedHits(truth, ranked, is_hit, num_classes)


def _greedy_hits(pairs: Pairs, num_predictions: int) -> NDArray[np.bool_]:
    """Return whether each prediction finds a free ground-truth segment, bool (num_predictions,)."""
    is_hit = np.zeros(num_predictions, bool)
    taken: set[int] = set()
    last_hit = -1
    for predicted, truth in zip(pairs.predicted.tolist(), pairs.truth.tolist(), strict=True):
        if predicted != last_hit and truth not in taken:
            taken.add(truth)
            is_hit[predicted] = True
            last_hit = predicted
    return is_hit


def soft_nms(
    segments: ArrayLike, scores: ArrayLike, *, alpha: float, low: float, high: float, max_segments: int
) -> tuple[Floats, Floats]:
    """Return segments and decayed scores in the order in which soft non-maximum suppression selects them.

    Every selected segment decays the scores of the others that overlap it by more than ``low + (high - low) * width``,
    with the selected segment's width, by ``exp(-iou^2 / alpha)`` (Bodla et al. 2017; Lin et al. 2019, BMN).

    Args:
        segments: Start and end in units of the video's length, (N, 2).
        scores: Scores, (N,).
        alpha: Variance of the Gaussian.
        low: Threshold of temporal IoU of a segment without length.
        high: Threshold of temporal IoU of a segment as long as the video.
        max_segments: Largest number of returned segments.

    Returns:
        Segments, float64 (M, 2), and scores, float64 (M,), M <= max_segments.
    """
    remaining, confidence = np.array(segments, np.float64).reshape(-1, 2), np.array(scores, np.float64)
    chosen: list[Floats] = []
    chosen_scores: list[float] = []
    while len(remaining) and len(chosen) < max_segments:
        best = int(confidence.argmax())
        segment = remaining[best]
        chosen.append(segment)
        chosen_scores.append(float(confidence[best]))
        others = np.arange(len(remaining)) != best
        remaining, confidence = remaining[others], confidence[others]
        iou = temporal_iou(remaining, segment)
        near = iou > low + (high - low) * (segment[1] - segment[0])
        confidence[near] *= np.exp(-np.square(iou[near]) / alpha)
    return np.array(chosen).reshape(-1, 2), np.array(chosen_scores)
