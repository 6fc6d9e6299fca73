"""Metrics: tables, mmaction2's recorded results, torchmetrics on random scores, ties and NaN."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vexp.evaluation.metrics import class_accuracy, confusion_matrix, label_ranks, mean_class_accuracy, top_k_accuracy

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "metrics.json").read_text())["cases"]


def one_hot(predicted, classes):
    return np.eye(classes)[predicted]


# ---- tables ----

SCORES = [
    [0.1, 0.6, 0.3],  # 1, then 2, then 0
    [0.5, 0.2, 0.3],  # 0 2 1
    [0.2, 0.3, 0.5],  # 2 1 0
    [0.9, 0.1, 0.0],  # 0 1 2
]


@pytest.mark.parametrize(
    ("labels", "topk", "accuracies"),
    [
        ([1, 0, 2, 0], (1, 2, 3), [1.0, 1.0, 1.0]),
        ([2, 2, 1, 1], (1, 2, 3), [0.0, 1.0, 1.0]),
        ([0, 1, 0, 2], (1, 2, 3), [0.0, 0.0, 1.0]),
        ([1, 2, 0, 0], (1, 2, 3), [0.5, 0.75, 1.0]),
        ([1, 2, 0, 0], (5, 1), [1.0, 0.5]),  # more than there are classes; in the order asked for
        ([1, 2, 0, 0], (), []),
    ],
)
def test_top_k_accuracy(labels, topk, accuracies):
    assert top_k_accuracy(SCORES, labels, topk) == accuracies
    assert top_k_accuracy(np.array(SCORES, np.float32), np.array(labels, np.int32), topk) == accuracies


@pytest.mark.parametrize(
    ("scores", "label", "rank"),
    [
        ([0.5, 0.5, 0.1], 0, 0),  # of equal scores the lower class number ranks first
        ([0.5, 0.5, 0.1], 1, 1),
        ([0.1, 0.5, 0.5], 2, 1),
        ([0.0, 0.0, 0.0], 0, 0),
        ([0.0, 0.0, 0.0], 2, 2),
        ([0.2, 0.9, 0.2], 0, 1),
        ([0.2, 0.9, 0.2], 2, 2),
        ([-np.inf, np.inf, 0.0], 1, 0),
        ([-np.inf, -np.inf, 0.0], 1, 2),
    ],
)
def test_ties_go_to_the_lower_class_number(scores, label, rank):
    assert label_ranks([scores], [label]).tolist() == [rank]
    assert (confusion_matrix([scores], [label])[label, label] == 1) == (rank == 0)  # the matrix agrees with top 1


@pytest.mark.parametrize(
    ("predicted", "labels", "mean", "counted"),
    [
        ([0, 1, 2], [0, 1, 2], 1.0, 1.0),
        ([0, 0, 0, 0], [0, 0, 0, 1], 0.5, 0.5),  # three of three and none of one: classes count alike
        ([0, 0, 1, 2], [0, 0, 1, 1], 0.75, 0.5),  # class 2 is only predicted: mmaction2 counts it as 0
        ([0, 0], [0, 0], 1.0, 1.0),  # classes that are nowhere do not count
        ([1], [0], 0.0, 0.0),
    ],
)
def test_mean_class_accuracy(predicted, labels, mean, counted):
    scores = one_hot(predicted, 4)
    assert mean_class_accuracy(scores, labels) == mean
    assert mean_class_accuracy(scores, labels, count_predicted_only=True) == counted


def test_confusion_matrix_has_labels_in_rows():
    matrix = confusion_matrix(one_hot([0, 1, 1, 2, 2], 4), [0, 0, 0, 2, 1])
    assert matrix.tolist() == [[1, 2, 0, 0], [0, 0, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    assert matrix.dtype == np.int64
    np.testing.assert_array_equal(class_accuracy(matrix), [1 / 3, 0, 1, np.nan])  # no sample of class 3


# ---- what is refused ----


@pytest.mark.parametrize(
    ("scores", "labels", "text"),
    [
        ([[0.1, np.nan], [0.1, 0.2], [np.nan, 1]], [0, 0, 0], "scores of 2 samples hold NaN, the first is sample 0"),
        ([[0.1, 0.2], [0.3, np.nan]], [0, 0], "scores of 1 samples hold NaN, the first is sample 1"),
        ([[0.1, 0.2]], [2], r"labels 2\.\.2: must be class numbers 0\.\.1"),
        ([[0.1, 0.2]], [-1], r"labels -1\.\.-1: must be class numbers 0\.\.1"),
        ([[0.1, 0.2]], [0, 1], r"scores \(1, 2\) and labels \(2,\): must be \(n, classes\) and \(n,\)"),
        ([0.1, 0.2], [0, 1], "must be"),
        (np.zeros((0, 3)), [], "n > 0"),
    ],
)
@pytest.mark.parametrize("metric", [top_k_accuracy, mean_class_accuracy, confusion_matrix])
def test_what_has_no_result_is_refused(metric, scores, labels, text):
    with pytest.raises(ValueError, match=text):
        metric(scores, labels)


# ---- oracles ----


def golden_inputs(case):
    random = np.random.RandomState(case.get("seed"))
    if case["kind"] == "one_hot":
        return one_hot(case["predicted"], case["classes"]), np.array(case["labels"])
    shape = case["samples"], case["classes"]
    if case["kind"] == "random":
        scores = random.rand(*shape)
        return scores, random.randint(0, shape[1], shape[0])
    labels = random.randint(0, shape[1], shape[0])
    return random.randn(*shape) + 1.5 * np.eye(shape[1])[labels], labels


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: f"{case['kind']} {case.get('seed', case.get('predicted'))}")
def test_results_are_those_of_mmaction2(case):
    scores, labels = golden_inputs(case)
    ks = [int(k) for k in case["top_k"]]
    assert top_k_accuracy(scores, labels, ks) == list(case["top_k"].values())
    mean = mean_class_accuracy(scores, labels, count_predicted_only=True)
    assert mean == pytest.approx(case["mean_class_accuracy"], rel=1e-12)
    matrix = confusion_matrix(scores, labels)
    occurring = sorted({*labels.tolist(), *scores.argmax(1).tolist()})
    assert matrix[np.ix_(occurring, occurring)].tolist() == case["confusion_matrix"]
    assert matrix.sum() == len(labels)


@pytest.mark.parametrize("seed", range(4))
def test_results_are_those_of_torchmetrics(seed):
    from torchmetrics.functional.classification import multiclass_accuracy, multiclass_recall

    random = np.random.RandomState(seed)
    classes = 4 + 3 * seed
    labels = np.concatenate([np.arange(classes), random.randint(0, classes, 60)])  # every class occurs
    scores = random.permutation(labels.size * classes).reshape(-1, classes) / 1000  # no ties
    values, truth = torch.from_numpy(scores), torch.from_numpy(labels)
    for k in (1, 2, 3, classes):
        expected = multiclass_accuracy(values, truth, num_classes=classes, top_k=k, average="micro")
        assert top_k_accuracy(scores, labels, [k]) == [pytest.approx(float(expected), rel=1e-6)]
    recall = multiclass_recall(values, truth, num_classes=classes, average="macro")
    assert mean_class_accuracy(scores, labels) == pytest.approx(float(recall), rel=1e-6)
    each = multiclass_recall(values, truth, num_classes=classes, average="none")
    np.testing.assert_allclose(class_accuracy(confusion_matrix(scores, labels)), each, rtol=1e-6)


# ---- properties ----


@settings(deadline=None)
@given(st.data())
def test_ranks_and_matrix_agree_also_with_ties(data):
    classes, samples = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 20))
    row = st.lists(st.integers(0, 2), min_size=classes, max_size=classes)
    scores = np.array(data.draw(st.lists(row, min_size=samples, max_size=samples)), float)
    labels = data.draw(st.lists(st.integers(0, classes - 1), min_size=samples, max_size=samples))
    order = np.argsort(-scores, axis=1, kind="stable")  # by score, then by class number
    ranks = [list(row).index(label) for row, label in zip(order, labels, strict=True)]
    assert label_ranks(scores, labels).tolist() == ranks
    assert top_k_accuracy(scores, labels, [1]) == [np.trace(confusion_matrix(scores, labels)) / samples]
    assert top_k_accuracy(scores, labels, [classes]) == [1.0]
