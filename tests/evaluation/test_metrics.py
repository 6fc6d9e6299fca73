"""Metrics: tables, recorded results of mmaction2, and comparisons with torchmetrics and scikit-learn."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.paths import GOLDEN_DIR

from vexp.evaluation.metrics import (
    average_precision,
    class_accuracy,
    confusion_matrix,
    count_unlabeled,
    expected_calibration_error,
    label_ranks,
    mean_average_precision,
    mean_class_accuracy,
    mmit_mean_average_precision,
    top_k_accuracy,
)

FILE = json.loads((GOLDEN_DIR / "metrics.json").read_text())
GOLDEN, MULTI_LABEL = FILE["cases"], FILE["multi_label"]


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
        ([1, 2, 0, 0], (5, 1), [1.0, 0.5]),  # more than the number of classes; results in the order of topk
        ([1, 2, 0, 0], (), []),
    ],
)
def test_top_k_accuracy_of_table(labels, topk, accuracies):
    assert top_k_accuracy(SCORES, labels, topk) == accuracies
    assert top_k_accuracy(np.array(SCORES, np.float32), np.array(labels, np.int32), topk) == accuracies


@pytest.mark.parametrize(
    ("scores", "label", "rank"),
    [
        ([0.5, 0.5, 0.1], 0, 0),  # equal scores rank by class index
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
def test_label_ranks_of_ties_by_class_index(scores, label, rank):
    assert label_ranks([scores], [label]).tolist() == [rank]
    assert (confusion_matrix([scores], [label])[label, label] == 1) == (rank == 0)  # the matrix agrees with top-1


@pytest.mark.parametrize(
    ("predicted", "labels", "mean", "counted"),
    [
        ([0, 1, 2], [0, 1, 2], 1.0, 1.0),
        ([0, 0, 0, 0], [0, 0, 0, 1], 0.5, 0.5),  # 3 of 3 and 0 of 1: every class has the same weight
        ([0, 0, 1, 2], [0, 0, 1, 1], 0.75, 0.5),  # class 2 is only predicted: mmaction2 counts it as 0
        ([0, 0], [0, 0], 1.0, 1.0),  # classes without samples are ignored
        ([1], [0], 0.0, 0.0),
    ],
)
def test_mean_class_accuracy_of_table(predicted, labels, mean, counted):
    scores = one_hot(predicted, 4)
    assert mean_class_accuracy(scores, labels) == mean
    assert mean_class_accuracy(scores, labels, count_predicted_only=True) == counted


def test_confusion_matrix_has_labels_in_rows():
    matrix = confusion_matrix(one_hot([0, 1, 1, 2, 2], 4), [0, 0, 0, 2, 1])
    assert matrix.tolist() == [[1, 2, 0, 0], [0, 0, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    assert matrix.dtype == np.int64
    np.testing.assert_array_equal(class_accuracy(matrix), [1 / 3, 0, 1, np.nan])  # no sample of class 3


# ---- invalid arguments ----


@pytest.mark.parametrize(
    ("scores", "labels", "text"),
    [
        ([[0.1, np.nan], [0.1, 0.2], [np.nan, 1]], [0, 0, 0], "scores of 2 samples contain NaN, the first is sample 0"),
        ([[0.1, 0.2], [0.3, np.nan]], [0, 0], "scores of 1 samples contain NaN, the first is sample 1"),
        ([[0.1, 0.2]], [2], r"labels 2\.\.2: must be class indices 0\.\.1"),
        ([[0.1, 0.2]], [-1], r"labels -1\.\.-1: must be class indices 0\.\.1"),
        ([[0.1, 0.2]], [0, 1], r"scores \(1, 2\) and labels \(2,\): must be \(n, classes\) and \(n,\)"),
        ([0.1, 0.2], [0, 1], "must be"),
        (np.zeros((0, 3)), [], "n > 0"),
    ],
)
@pytest.mark.parametrize(
    "metric",
    [
        top_k_accuracy,
        mean_class_accuracy,
        confusion_matrix,
        expected_calibration_error,
        average_precision,
        mean_average_precision,
        mmit_mean_average_precision,
    ],
)
def test_metrics_reject_invalid_scores_and_labels(metric, scores, labels, text):
    with pytest.raises(ValueError, match=text):
        metric(scores, labels)


# ---- reference implementations ----


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
def test_metrics_equal_mmaction2(case):
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
def test_accuracies_equal_torchmetrics(seed):
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
def test_ranks_and_confusion_matrix_agree_with_ties(data):
    classes, samples = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 20))
    row = st.lists(st.integers(0, 2), min_size=classes, max_size=classes)
    scores = np.array(data.draw(st.lists(row, min_size=samples, max_size=samples)), float)
    labels = data.draw(st.lists(st.integers(0, classes - 1), min_size=samples, max_size=samples))
    order = np.argsort(-scores, axis=1, kind="stable")  # by score, then by class number
    ranks = [list(row).index(label) for row, label in zip(order, labels, strict=True)]
    assert label_ranks(scores, labels).tolist() == ranks
    assert top_k_accuracy(scores, labels, [1]) == [np.trace(confusion_matrix(scores, labels)) / samples]
    assert top_k_accuracy(scores, labels, [classes]) == [1.0]


# ---- several labels per video ----

NAN = np.nan


@pytest.mark.parametrize(
    ("scores", "positive", "precision"),
    [
        ([0.9, 0.8, 0.1], [1, 1, 0], 1.0),
        ([0.9, 0.8, 0.1], [0, 0, 1], 1 / 3),
        ([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1], (1 / 1 + 2 / 3) / 2),  # scikit-learn's own example
        ([0.9, 0.8, 0.7], [1, 0, 1], (1 + 2 / 3) / 2),
        ([0.5, 0.5, 0.1], [1, 0, 0], 1 / 2),  # equal scores are one threshold, whatever their order
        ([0.5, 0.5, 0.1], [0, 1, 0], 1 / 2),
        ([0.5, 0.5, 0.5], [0, 1, 1], 2 / 3),
        ([0.5, 0.4], [0, 0], NAN),  # no positive: NaN, not 0
        ([-3.0, np.inf], [0, 1], 1.0),  # any range
    ],
)
def test_average_precision_of_table(scores, positive, precision):
    value = average_precision(np.array(scores)[:, None], np.array(positive)[:, None])
    np.testing.assert_allclose(value, [precision], rtol=1e-14)


def test_mean_average_precision_of_single_labels_equals_multi_hot():
    random = np.random.RandomState(0)
    scores, labels = random.rand(30, 4), random.randint(0, 4, 30)
    assert mean_average_precision(scores, labels) == mean_average_precision(scores, np.eye(4)[labels])
    reciprocal_rank = np.mean(1 / (label_ranks(scores, labels) + 1))
    assert mmit_mean_average_precision(scores, labels) == pytest.approx(reciprocal_rank, rel=1e-14)


@pytest.mark.parametrize(
    ("scores", "labels", "text"),
    [
        ([[0.1, NAN]], [[0, 1]], "scores of 1 samples contain NaN, the first is sample 0"),
        ([[0.1, 0.2]], [[0, 2]], "multi-hot labels must be 0 or 1"),  # mmaction2 counts 2 as a negative
        ([[0.1, 0.2]], [[0, 0.5]], "must be 0 or 1"),
        ([[0.1, 0.2]], [[0, 1, 0]], "must both be"),
        ([[0.1, 0.2]], [[0, 0]], "no sample has a label"),
        (np.zeros((0, 2)), np.zeros((0, 2)), "n > 0"),
    ],
)
@pytest.mark.parametrize("metric", [mean_average_precision, mmit_mean_average_precision])
def test_mean_average_precision_rejects_invalid_labels(metric, scores, labels, text):
    with pytest.raises(ValueError, match=text):
        metric(scores, labels)


def multi_label_inputs(case):
    random = np.random.RandomState(case.get("seed"))
    shape = case["samples"], case["classes"]
    if case["kind"] == "perfect":
        return np.eye(4), np.eye(4)
    if case["kind"] == "one bare":
        return random.rand(*shape), np.ones(shape) * (np.arange(shape[0]) != 4)[:, None]
    scores = {"ties": lambda: random.randint(0, 4, shape) / 4.0, "constant": lambda: np.full(shape, 0.5)}
    values = scores.get(case["kind"], lambda: random.rand(*shape))()
    labels = (random.rand(*shape) < case["share"]).astype(np.float32)
    if case["kind"] == "labelled":
        labels[np.arange(shape[0]), random.randint(0, shape[1], shape[0])] = 1
    return values, labels


@pytest.mark.parametrize("case", MULTI_LABEL, ids=lambda case: f"{case['kind']} {case.get('seed', '')}")
def test_multi_label_metrics_equal_mmaction2(case):
    scores, labels = multi_label_inputs(case)
    assert mean_average_precision(scores, labels) == pytest.approx(case["mean_average_precision"], rel=1e-12)
    result = mmit_mean_average_precision(scores, labels)
    if case["mmit_mean_average_precision"] is not None:
        assert count_unlabeled(labels) == 0
        assert result == pytest.approx(case["mmit_mean_average_precision"], rel=1e-12)
    else:  # NaN in mmaction2; here equal to the result without those samples
        labeled = labels.any(axis=1)
        assert count_unlabeled(labels) == (~labeled).sum() > 0
        assert result == pytest.approx(mmit_mean_average_precision(scores[labeled], labels[labeled]), rel=1e-12)


def test_mmit_map_ignores_samples_without_label():
    random = np.random.RandomState(0)
    scores, labels = random.rand(20, 6), (random.rand(20, 6) < 0.4).astype(np.float32)
    labels[:, 0] = 1
    labels[[3, 7]] = 0
    kept = labels.any(axis=1)
    assert count_unlabeled(labels) == 2 == (~kept).sum()
    assert mmit_mean_average_precision(scores, labels) == mmit_mean_average_precision(scores[kept], labels[kept])


def test_top1_equals_mean_class_accuracy_on_ties():
    scores, labels = np.zeros((20, 20)), np.arange(20)  # as of an untrained model; every class once
    assert top_k_accuracy(scores, labels, [1]) == [mean_class_accuracy(scores, labels)] == [0.05]
    assert label_ranks(scores, labels).tolist() == list(range(20))


def test_mean_class_accuracy_accepts_int32_labels():
    assert mean_class_accuracy(np.eye(3), np.arange(3, dtype=np.int32)) == 1.0


@pytest.mark.parametrize("seed", range(4))
def test_average_precision_equals_scikit_learn_and_torchmetrics(seed):
    from sklearn.metrics import average_precision_score
    from torchmetrics.functional.classification import multilabel_average_precision

    random = np.random.RandomState(seed)
    scores = random.rand(50, 7) if seed % 2 else random.randint(0, 5, (50, 7)) / 5  # with ties, too
    labels = (random.rand(50, 7) < 0.3).astype(np.int64)
    labels[np.arange(7), np.arange(7)] = 1
    expected = average_precision_score(labels, scores, average=None)
    np.testing.assert_allclose(average_precision(scores, labels), expected, rtol=1e-12)
    macro = multilabel_average_precision(torch.from_numpy(scores), torch.from_numpy(labels), num_labels=7)
    assert mean_average_precision(scores, labels) == pytest.approx(float(macro), rel=1e-6)
    kept = labels.any(axis=1)
    each = [average_precision_score(y, s) for y, s in zip(labels[kept], scores[kept], strict=True)]
    assert mmit_mean_average_precision(scores, labels) == pytest.approx(np.mean(each), rel=1e-12)


# ---- calibration ----


@pytest.mark.parametrize(
    ("confidence", "correct", "error"),
    [
        ([0.75, 0.75, 0.75, 0.75], [1, 1, 1, 0], 0.0),
        ([1.0, 1.0], [1, 1], 0.0),
        ([1.0, 1.0], [1, 0], 0.5),
        ([0.6, 0.9], [1, 0], (0.4 + 0.9) / 2),  # two bins: errors of opposite sign do not cancel out
        ([0.61, 0.66], [1, 0], abs(1 - 1.27) / 2),  # one bin, 0.6..0.667: they cancel out
    ],
)
def test_expected_calibration_error_of_table(confidence, correct, error):
    scores = [[value, 1 - value] for value in confidence]
    labels = [0 if right else 1 for right in correct]
    assert expected_calibration_error(scores, labels) == pytest.approx(error, abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_expected_calibration_error_equals_torchmetrics(seed):
    from torchmetrics.functional.classification import multiclass_calibration_error

    random = np.random.RandomState(seed)
    powers = np.exp(2 * random.randn(200, 5))
    scores, labels = powers / powers.sum(1, keepdims=True), random.randint(0, 5, 200)
    for bins in (1, 10, 15):
        expected = multiclass_calibration_error(torch.tensor(scores), torch.tensor(labels), num_classes=5, n_bins=bins)
        assert expected_calibration_error(scores, labels, bins=bins) == pytest.approx(float(expected), rel=1e-5)


def test_expected_calibration_error_rejects_logits():
    with pytest.raises(ValueError, match="calibration error needs probabilities"):
        expected_calibration_error([[2.0, -1.0]], [0])
