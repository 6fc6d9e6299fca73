"""Detections of a split: merging, the rules of mmaction2 that vexp has as options, and its bugs that vexp has not."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from vexp.core.errors import UserError
from vexp.data.annotations.ava import read_boxes
from vexp.data.annotations.key_frames import pack_key_frames
from vexp.evaluation.box_predictions import BoxPredictions, FrameDetections, match
from vexp.evaluation.box_report import _move_texts_inside, boxes_csv
from vexp.evaluation.config import Eval

OPTIONS = Eval(metrics=["mAP@0.5IOU"])


def frame(number, boxes, scores, truth=(), labels=(), *, loss=0.0):
    """One key frame with two classes."""
    targets = np.zeros((len(truth), 2), bool)
    targets[np.arange(len(truth)), list(labels)] = True
    return FrameDetections(
        ids=np.array([number]),
        counts=np.array([len(boxes)]),
        boxes=np.array([[*box, 1.0] for box in boxes]).reshape(-1, 5),
        scores=np.array(scores, np.float32).reshape(-1, 2),
        truth_counts=np.array([len(truth)]),
        truth=np.array(truth, np.float64).reshape(-1, 4),
        truth_targets=targets,
        losses=np.array([loss]),
        dropped=np.array([0]),
        images={},
    )


LEFT, RIGHT = (0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0)


def value(parts, options=OPTIONS, measured=(True, True)):
    predictions = BoxPredictions.of(parts)
    return float(np.nanmean(match(predictions, measured, options, 0.0).average_precision()[0]))


def test_of_orders_key_frames_and_their_boxes() -> None:
    first = frame(0, [LEFT], [[0.9, 0.1]], [LEFT], [0], loss=1.0)
    third = frame(3, [RIGHT, LEFT], [[0.2, 0.3], [0.4, 0.5]], [RIGHT], [1], loss=3.0)
    second = frame(1, [], [], [LEFT, RIGHT], [0, 1], loss=np.nan)
    found = BoxPredictions.of([third, first, second])
    assert found.ids.tolist() == [0, 1, 3]
    assert found.counts.tolist() == [1, 0, 2]
    assert found.boxes[:, :4].tolist() == [list(LEFT), list(RIGHT), list(LEFT)]
    assert found.truth_rows().group.tolist() == [0, 1, 1, 2]
    assert found.loss == pytest.approx(4 / 3)  # a key frame without a labeled box counts as 0


def test_match_frames_without_truth_are_ignored_unless_they_count() -> None:
    """mmaction2 0.x counts their detections as false positives, 1.x ignores them."""
    parts = [frame(0, [LEFT], [[0.5, 0.0]], [LEFT], [0]), frame(1, [LEFT], [[0.9, 0.0]])]
    assert value(parts) == 1
    assert value(parts, Eval(metrics=["mAP@0.5IOU"], empty_frames="count")) == 0.5


def test_match_scores_are_not_rounded_unless_asked() -> None:
    """mmaction2 writes three (1.x: four) decimals and ranks what it reads: these scores tie, and the wrong one wins."""
    parts = [frame(0, [RIGHT, LEFT], [[0.50001, 0.0], [0.50002, 0.0]], [LEFT], [0])]
    assert value(parts) == 1
    assert value(parts, Eval(metrics=["mAP@0.5IOU"], rounding=3)) == 0.5


def test_match_classes_that_are_not_measured_have_no_value() -> None:
    parts = [frame(0, [LEFT], [[0.9, 0.8]], [LEFT, RIGHT], [0, 1])]
    assert value(parts, measured=(True, False)) == 1
    with pytest.raises(UserError, match="no key frame has a box of a measured class"):
        value(parts, measured=(False, False))


def test_match_without_any_detection_is_zero() -> None:
    assert value([frame(0, [], [], [LEFT], [0])]) == 0


def test_boxes_csv_keeps_names_with_commas_and_frames_without_detections(tmp_path: Path) -> None:
    found = BoxPredictions.of([frame(0, [LEFT], [[0.9, 0.0]], [LEFT], [0]), frame(1, [], [])])
    text = boxes_csv(found, [5, 7], lambda number: f"a,b,{902 + number:04d}", 0.0)
    (tmp_path / "boxes.csv").write_text(text)
    table = read_boxes(tmp_path / "boxes.csv", scores=True)
    assert table.key_frames == [("a,b", 902), ("a,b", 903)]
    assert (table.label.tolist(), table.box.tolist()) == ([5], [list(LEFT)])
    assert np.float32(table.value[0]) == np.float32(0.9)


def test_pack_key_frames_exclusion_takes_linear_time(tmp_path: Path) -> None:
    """mmaction2 compares every key frame with every excluded one."""
    count = 20_000
    (tmp_path / "a.csv").write_text("".join(f"v{i % 100},{i // 100},0,0,1,1,1,0\n" for i in range(count)))
    table = read_boxes(tmp_path / "a.csv", scores=False)
    excluded = set(table.key_frames[::2])
    start = time.process_time()
    frames = pack_key_frames(table, {1: 0}, excluded=excluded, labeled_only=True)
    assert time.process_time() - start < 5
    assert len(frames) == count // 2


def test_texts_of_narrow_boxes_stay_inside_of_their_image() -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 2))
    for axes in figure.subplots(1, 2):
        axes.imshow(np.zeros((50, 100)))
        for place in ((2, 3), (97, 3), (2, 49), (97, 49)):
            axes.text(*place, "counter_clockwise 0.93\nclockwise 0.51", va="top", fontsize=6)
        axes.text(60, 3, "a name longer than the whole image " * 3, va="top")
    _move_texts_inside(figure)
    for axes in figure.axes:
        frame, *extents = (part.get_window_extent() for part in (axes, *axes.texts))
        assert all(box.x0 > frame.x0 - 1 and box.y0 > frame.y0 - 1 and box.y1 < frame.y1 + 1 for box in extents)
        assert [box.x1 < frame.x1 + 1 for box in extents] == [True] * 4 + [False]
