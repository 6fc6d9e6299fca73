"""Metrics of temporal localization: tables, properties, and recorded results of mmaction2 0.24.1."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.paths import GOLDEN_DIR

from vexp.evaluation.detections import Detections
from vexp.evaluation.temporal import (
    ACTIVITYNET_THRESHOLDS,
    average_precision,
    average_recall,
    match_segments,
    soft_nms,
    temporal_iop,
    temporal_iou,
)

FILE = json.loads((GOLDEN_DIR / "temporal_metrics.json").read_text())


#: Cases in which vexp differs from mmaction2 on purpose, and why.
DIFFERENT = {
    "names of the results differ in the two leading characters only": "names are whole",
    "nan score": "scores must be finite",
    "thresholds [0.0, 1.0]": "a threshold of 0 would match segments that do not overlap",
    "thresholds [0.0]": "a threshold of 0 would match segments that do not overlap",
    "zero length ground truth and prediction at one place: IoU is nan, counts as a hit": "they do not overlap",
    "IoU 0.6 and 0.7 and 0.95 against thresholds of linspace (float32 IoU)": "IoU is float64, so 7/10 reaches 0.7",
    "duplicates of equal score: order of the file": "IoU is float64, so 7/10 reaches 0.7",
    "reversed prediction": "segments that end before they start are refused when files are read",
    "ties, many predictions (order of numpy's quicksort) 0": "of equal scores the earlier row ranks first",
    "ties, at most 16 predictions (insertion sort, then reversed: the later one first) 0": "the earlier row is first",
    "ties, at most 16 predictions (insertion sort, then reversed: the later one first) 1": "the earlier row is first",
    "ties, few": "of equal scores the earlier row is selected first",
    "no ground truth": "without ground truth the mean is not defined",
    "numeric video names become strings in the array": "names are not converted",
}


def detections(rows):
    """Detections of rows (group, extent, label, score)."""
    rows = list(rows)
    group, extent, label, score = zip(*rows, strict=True) if rows else ([], [], [], [])
    extent = np.array(extent, np.float64).reshape(len(rows), -1 if rows else 2)
    return Detections(np.array(group, np.int64), extent, np.array(label, np.int64), np.array(score, np.float64))


def cases(kind):
    same = (case for case in FILE["cases"] if case["kind"] == kind and case["name"] not in DIFFERENT)
    return [pytest.param(case, id=case["name"]) for case in same]


def executed(case):
    names = {"np": np}
    exec(FILE["prelude"], names)
    exec(case["recipe"], names)
    return names


# ---- mmaction2 ----


def test_different_cases_are_recorded():
    assert DIFFERENT.keys() - {case["name"] for case in FILE["cases"]} == set()


@pytest.mark.parametrize("case", cases("ar_an"))
def test_average_recall_equals_mmaction2(case):
    names = executed(case)
    videos = {name: index for index, name in enumerate(names["ann"])}
    options = (case.get("metric_options") or {}).get("AR@AN", {})
    curve = average_recall(
        detections(
            (videos[name], a["segment"], 0, 0) for name, ann in names["ann"].items() for a in ann["annotations"]
        ),
        detections(
            (videos[result["video_name"]], p["segment"], 0, p["score"])
            for result in names["results"]
            for p in result["proposal_list"]
        ),
        num_videos=len(videos),
        max_proposals=options.get("max_avg_proposals", 100) or None,
        thresholds=options.get("temporal_iou_thresholds") or ACTIVITYNET_THRESHOLDS,
    )
    expected = [value for count, value in case["out"]["average_recall"] for _ in range(count)]
    assert curve.average_recall == pytest.approx(expected, abs=1e-12)
    if case["out"]["auc"] is not None:
        assert curve.auc == pytest.approx(float(case["out"]["auc"]), abs=1e-9)


@pytest.mark.parametrize("case", cases("average_recall_at_avg_proposals"))
def test_average_recall_of_arrays_equals_mmaction2(case):
    names = executed(case)
    videos = {name: index for index, name in enumerate(names["gt"])}
    curve = average_recall(
        detections((videos[name], row, 0, 0) for name, rows in names["gt"].items() for row in rows),
        detections((videos[name], row[:2], 0, row[2]) for name, rows in names["proposals"].items() for row in rows),
        num_videos=len(videos),
        max_proposals=case["kw"].get("max_avg_proposals") or None,
    )
    assert curve.average_recall[case["out"]["at"]] == pytest.approx(case["out"]["average_recall"], abs=1e-12)
    assert curve.auc == pytest.approx(case["out"]["auc"], abs=1e-9)
    assert curve.numbers[[0, -1]] == pytest.approx(case["out"]["proposals_per_video"])


@pytest.mark.parametrize("case", cases("average_precision_at_temporal_iou"))
def test_average_precision_equals_mmaction2(case):
    names = executed(case)
    videos = {name: index for index, name in enumerate(names["gt"])}
    values = average_precision(
        detections((videos[name], row, 0, 0) for name, rows in names["gt"].items() for row in rows),
        detections((videos.get(str(row[0]), 999), row[2:4], 0, row[4]) for row in names["pred"]),
        num_classes=1,
        thresholds=case.get("thresholds") or ACTIVITYNET_THRESHOLDS,
    )
    assert values[:, 0] == pytest.approx(np.array(case["out"]["ap"], float), abs=1e-6)  # recorded in float32


@pytest.mark.parametrize("case", cases("activitynet_map"))
def test_mean_average_precision_equals_mmaction2(case):
    names = executed(case)
    videos = {name[2:]: index for index, name in enumerate(names["gt"])}
    labels = sorted({a["label"] for entry in names["gt"].values() for a in entry["annotations"]})
    values = average_precision(
        detections(
            (videos[name[2:]], a["segment"], labels.index(a["label"]), 0)
            for name, entry in names["gt"].items()
            for a in entry["annotations"]
        ),
        detections(
            (videos.get(name, 999), p["segment"], labels.index(p["label"]), p["score"])
            for name, rows in names["pred"]["results"].items()
            for p in rows
            if p["label"] in labels
        ),
        num_classes=len(labels),
        thresholds=case.get("thresholds") or ACTIVITYNET_THRESHOLDS,
    )
    assert np.nanmean(values, axis=1) == pytest.approx(np.array(case["out"]["mAP"], float), abs=1e-6)


@pytest.mark.parametrize("case", cases("soft_nms"))
def test_soft_nms_equals_mmaction2(case):
    rows = np.array(executed(case)["props"])
    segments, scores = soft_nms(
        rows[:, :2], rows[:, -1], alpha=case["alpha"], low=case["low"], high=case["high"],
        max_segments=case["top_k"] + 1,  # mmaction2 keeps one more than it names
    )  # fmt: skip
    expected = np.array(case["out"]["props"], float).reshape(-1, 3)
    assert np.column_stack([segments, scores]) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("case", cases("temporal_iou_iop"))
def test_temporal_iou_and_iop_equal_mmaction2(case):
    names = executed(case)
    first = np.stack(np.broadcast_arrays(*(np.asarray(names[name], float) for name in "ab")), axis=-1)
    second = np.stack(np.broadcast_arrays(*(np.asarray(names[name], float) for name in "cd")), axis=-1)
    for function, name in ((temporal_iou, "iou"), (temporal_iop, "iop")):
        expected = np.nan_to_num(np.array(case["out"][name], float))  # no length: 0, not NaN
        assert function(first, second) == pytest.approx(expected, abs=1e-7)


# ---- tables ----


def test_average_precision_takes_next_free_segment():
    """The second prediction overlaps the taken segment more, but reaches the threshold with the free one, too."""
    truth = detections([(0, (0, 10), 0, 0), (0, (4, 14), 0, 0)])
    found = detections([(0, (0, 10), 0, 0.9), (0, (1, 11), 0, 0.8)])
    assert average_precision(truth, found, num_classes=1, thresholds=[0.5]).tolist() == [[1.0]]
    assert match_segments(truth, found, num_classes=1, thresholds=[0.5, 0.6]).is_hit.tolist() == [
        [True, True],
        [True, False],
    ]


@pytest.mark.parametrize(
    ("hits", "num_truth", "value"),
    [
        ([1, 1], 2, 1.0),
        ([1, 0, 1], 2, (1 + 2 / 3) / 2),
        ([0, 1, 1], 2, 2 / 3),  # the precision at recall 1/2 is the higher one at recall 1
        ([0, 0], 2, 0.0),
        ([1], 4, 0.25),
        ([], 1, 0.0),
    ],
)
def test_average_precision_of_hits(hits, num_truth, value):
    truth = detections([(video, (0, 10), 0, 0) for video in range(num_truth)])
    spans = [(0, 10) if hit else (20, 30) for hit in hits]
    videos = np.cumsum([0, *hits])[: len(hits)]
    found = detections((videos[i], span, 0, -i) for i, span in enumerate(spans))
    assert average_precision(truth, found, num_classes=2, thresholds=[0.5])[0] == pytest.approx(
        [value, np.nan], nan_ok=True
    )


def test_average_precision_with_weights_equals_repeated_videos():
    rng = np.random.default_rng(0)
    weights = np.array([2, 0, 1, 3])

    def rows(count):
        group = rng.integers(0, 4, count)
        extent = np.sort(rng.integers(0, 20, (count, 2)), axis=1) + np.array([0, 1])
        label, score = rng.integers(0, 3, count), rng.permutation(count).astype(float)
        return Detections(group, extent.astype(float), label, score)

    truth, found = rows(20), rows(60)

    def repeated(table):
        parts = [(copy * 4 + video, copy) for video in range(4) for copy in range(weights[video])]
        selected = [(np.flatnonzero(table.group == group % 4), group) for group, _ in parts]
        rows = np.concatenate([index for index, _ in selected])
        group = np.concatenate([np.full(len(index), group) for index, group in selected])
        return Detections(group, table.extent[rows], table.label[rows], table.score[rows])

    expected = average_precision(repeated(truth), repeated(found), num_classes=3)
    weighted = match_segments(truth, found, num_classes=3).average_precision(weights)
    assert weighted == pytest.approx(expected, nan_ok=True)


def test_recall_curve_of_one_perfect_proposal():
    truth = detections([(0, (0, 10), 0, 0)])
    curve = average_recall(truth, truth, max_proposals=100)
    assert (curve.at(1), curve.at(100), curve.at(0.5)) == (1.0, 1.0, 0.0)
    assert curve.auc == pytest.approx(99.0)  # the area begins at the first number


def test_video_without_proposals_counts():
    truth = detections([(0, (0, 10), 0, 0), (1, (0, 10), 0, 0)])
    assert average_recall(truth, truth[np.array([0])]).at(100) == 0.5


@pytest.mark.parametrize("thresholds", [[], [0], [0.5, 1.1]])
def test_thresholds_out_of_range_raise(thresholds):
    truth = detections([(0, (0, 10), 0, 0)])
    with pytest.raises(ValueError, match=r"\(0, 1\]"):
        average_precision(truth, truth, num_classes=1, thresholds=thresholds)


def test_detections_that_are_not_finite_raise():
    with pytest.raises(ValueError, match="row 1: scores"):
        detections([(0, (0, 1), 0, 0), (0, (0, 1), 0, np.nan)])
    with pytest.raises(ValueError, match="row 0: coordinates"):
        detections([(0, (0, np.inf), 0, 0)])


# ---- properties ----


@st.composite
def problems(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))

    def rows(count, scored):
        start = rng.integers(0, 40, count)
        extent = np.stack([start, start + rng.integers(1, 15, count)], axis=1).astype(float)
        score = rng.permutation(count) / 7 if scored else np.zeros(count)
        return Detections(rng.integers(0, 5, count), extent, rng.integers(0, 3, count), score)

    return rows(draw(st.integers(1, 12)), False), rows(draw(st.integers(0, 40)), True), rng


@settings(max_examples=60, deadline=None)
@given(problems())
def test_average_recall_is_monotone(problem):
    truth, proposals, _ = problem
    curve = average_recall(truth, proposals, num_videos=5)
    assert (np.diff(curve.recall, axis=1) >= 0).all()  # more proposals
    assert (np.diff(curve.recall, axis=0) <= 0).all()  # a higher threshold


@settings(max_examples=60, deadline=None)
@given(problems())
def test_average_precision_does_not_depend_on_order(problem):
    truth, found, rng = problem
    values = average_precision(truth, found, num_classes=3)
    shuffled = average_precision(truth[rng.permutation(len(truth))], found[rng.permutation(len(found))], num_classes=3)
    assert values == pytest.approx(shuffled, nan_ok=True)
    assert (np.diff(values, axis=0)[:, ~np.isnan(values[0])] <= 1e-12).all()
