"""Average precision of boxes in key frames: tables, and recorded results of mmaction2 0.24.1 and 1.2.0."""

import csv
import io
import json

import numpy as np
import pytest
from support.paths import GOLDEN_DIR

from vexp.evaluation.boxes import box_iou, frame_average_precision, match_boxes
from vexp.evaluation.detections import Detections

FILE = json.loads((GOLDEN_DIR / "box_metrics.json").read_text())
_PERSON = "the last column of the ground truth (a person) sorts the boxes, highest first: decides ties of IoU"
_TIES = "of equal scores the earlier row ranks first"

#: Cases in which vexp differs from both versions on purpose, and why.
DIFFERENT = {
    _PERSON: "a person is no score",
    "scores equal over images": _TIES,
    "scores equal over images, other order": _TIES,
    "ties in score, at most 16 detections a class 1": _TIES,
    "ties in score, at most 16 detections a class 2": _TIES,
    "ties in score, many detections (order of numpy's quicksort) 0": _TIES,
    "label ids with gaps": "labels here are class indices; vexp score maps the ids",
}
#: Cases in which vexp differs from 1.2.0 only.
DIFFERENT_1X = {
    "detection of zero width is removed": "boxes without area do not count, as in 0.24.1",
    "random 12": "a class without detections has the value 0, as in 0.24.1",
    "random 8": "a class without detections has the value 0, as in 0.24.1",
}


def parsed(text, excluded, frames, has_score):
    rows = [row for row in csv.reader(io.StringIO(text)) if row and (row[0], row[1]) not in excluded]
    group = [frames.setdefault((row[0], int(row[1])), len(frames)) for row in rows]
    box = np.array([row[2:6] for row in rows], np.float64).reshape(-1, 4)
    label = np.array([row[6] for row in rows], np.int64) - 1
    score = np.array([row[7] if has_score else 0 for row in rows], np.float64)
    return Detections(np.array(group, np.int64), box, label, score)


def mean_of(case, *, count_empty_frames):
    names = {"np": np}
    exec(FILE["prelude"], names)
    exec(case["recipe"], names)
    excluded = {tuple(row) for row in csv.reader(io.StringIO(names.get("exclude") or "")) if row}
    frames = {}
    truth, found = parsed(names["gt"], excluded, frames, False), parsed(names["det"], excluded, frames, True)
    classes = names["labels"].count("item")
    values = frame_average_precision(truth, found, num_classes=classes, count_empty_frames=count_empty_frames)
    return np.nan if np.isnan(values).all() else np.nanmean(values)


def simple(cases, different):
    """Cases whose options vexp has; the exclusion without ``verbose``, and classes by a shifted list, are bugs."""
    same = (case for case in cases if "custom_classes" not in case and case["name"] not in different)
    return [pytest.param(case, id=case["name"]) for case in same if "excluded" not in case["name"]]


@pytest.mark.parametrize("case", simple(FILE["cases"], DIFFERENT))
def test_frame_average_precision_equals_mmaction2(case):
    expected = float(case["out"]["result"]["mAP@0.5IOU"])
    assert mean_of(case, count_empty_frames=True) == pytest.approx(expected, abs=1e-9, nan_ok=True)


@pytest.mark.parametrize("case", simple(FILE["cases_1x"], DIFFERENT | DIFFERENT_1X))
def test_frame_average_precision_equals_mmaction2_1x(case):
    expected = float(case["out"])
    assert mean_of(case, count_empty_frames=False) == pytest.approx(expected, abs=1e-6, nan_ok=True)


@pytest.mark.parametrize(
    ("second", "iou"),
    [
        ((0, 0, 2, 2), 1.0),
        ((1, 0, 3, 2), 1 / 3),
        ((2, 0, 4, 2), 0.0),  # they touch
        ((5, 5, 5, 5), 0.0),  # no area
        ((0, 0, 1, 1), 0.25),
    ],
)
def test_box_iou_of_table(second, iou):
    assert box_iou((0, 0, 2, 2), second) == pytest.approx(iou)
    assert box_iou(second, (0, 0, 2, 2)) == pytest.approx(iou)


def test_detection_is_compared_with_nearest_box_only():
    """The second detection overlaps two boxes by the threshold; its nearest one is taken, so it is false."""
    truth = Detections(
        np.zeros(2, int), np.array([[0, 0, 10, 10], [0, 0, 10, 7]], float), np.zeros(2, int), np.zeros(2)
    )
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9]], float)
    found = Detections(np.zeros(2, int), boxes, np.zeros(2, int), np.array([0.9, 0.8]))
    assert match_boxes(truth, found, num_classes=1).is_hit.tolist() == [[True, False]]


def test_detections_in_frames_without_truth_are_ignored_or_counted():
    truth = Detections(np.array([0]), np.array([[0, 0, 1, 1.0]]), np.array([0]), np.array([0.0]))
    found = Detections(np.array([1, 0]), np.array([[0, 0, 1, 1.0]] * 2), np.array([0, 0]), np.array([0.9, 0.8]))
    assert frame_average_precision(truth, found, num_classes=1).tolist() == [1.0]
    assert frame_average_precision(truth, found, num_classes=1, count_empty_frames=True).tolist() == [0.5]
