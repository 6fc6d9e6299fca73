"""Scoring of boxes in key frames: result files of spatio-temporal detection (AVA)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from vexp.core.errors import UserError
from vexp.data.annotations.ava import BoxTable, KeyFrame, read_boxes, read_key_frames, read_label_map
from vexp.evaluation.boxes import match_boxes
from vexp.evaluation.detections import Detections
from vexp.tools.score.config import Score
from vexp.tools.score.scored import Scored, common_rules, listed, rounded, score_by_class


def score_boxes(options: Score, answers: Path) -> Scored:
    """Compute the average precision of boxes; raise UserError if a file is bad or belongs to other videos."""
    truth, found = read_boxes(options.truth, scores=False), read_boxes(answers, scores=True)
    excluded = set() if options.exclude is None else read_key_frames(options.exclude)
    names = {} if options.label_map is None else read_label_map(options.label_map)
    numbers = sorted(names) if names else range(1, 1 + max(truth.label.max(initial=0), found.label.max(initial=0)))
    videos = {name: index for index, name in enumerate(dict.fromkeys(name for name, _ in truth.key_frames))}
    if unknown := sorted({name for name, _ in found.key_frames} - videos.keys()):
        raise UserError(f"{answers}: {len(unknown)} videos are not in the ground truth: {listed(unknown)}")
    frames: dict[KeyFrame, int] = {}
    true_rows, true_notes = _box_rows(truth, frames, excluded, numbers, options.truth)
    rows, notes = _box_rows(found, frames, excluded, numbers, answers)
    if not len(true_rows):
        raise UserError(f"{options.truth}: has no box that counts")
    count_empty = options.empty_frames == "count"
    protocol = [
        f"{len(videos)} videos, {len(np.unique(true_rows.group))} key frames with ground truth, "
        f"{len(true_rows)} boxes, {len(rows)} detections",
        f"intersection over union {options.iou:g}, reached from equality on; boxes without area do not count",
        f"detections in key frames without ground truth are {'false positives' if count_empty else 'ignored'}",
        *common_rules(options),
        "a detection takes the annotation of its class that it overlaps most, and is false if that one is taken",
        *true_notes,
        *notes,
    ]
    matched = match_boxes(
        true_rows, rounded(rows, options.rounding), num_classes=len(numbers), iou=options.iou,
        count_empty_frames=count_empty,
    )  # fmt: skip
    classes = [names.get(number, str(number)) for number in numbers]
    video_of_frame = np.array([videos[name] for name, _ in frames], np.int64)
    return score_by_class(matched, classes, [options.iou], len(videos), protocol, video_of_frame)


def _box_rows(
    table: BoxTable, frames: dict[KeyFrame, int], excluded: set[KeyFrame], numbers: Iterable[int], path: Path
) -> tuple[Detections, list[str]]:
    """Return the rows that count and notes on the others; add new key frames to ``frames``."""
    group = np.array([frames.setdefault(frame, len(frames)) for frame in table.key_frames], np.int64)
    allowed = np.array([frame not in excluded for frame in table.key_frames], bool)
    position = {number: index for index, number in enumerate(numbers)}
    known, inverse = np.unique(table.label, return_inverse=True)
    label = np.array([position.get(int(number), -1) for number in known], np.int64)[inverse]
    is_excluded = ~allowed[table.key_frame]
    notes = []
    for count, reason in ((is_excluded.sum(), "in excluded key frames"), ((label < 0).sum(), "of other classes")):
        if count:
            notes.append(f"{count} boxes of {path.name} {reason} do not count")
    kept = ~is_excluded & (label >= 0)
    rows = Detections(group[table.key_frame], table.box, label, np.nan_to_num(table.value))
    return rows[kept], notes
