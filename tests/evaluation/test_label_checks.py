"""Checks before a run that labels, loss and metrics are of the same kind."""

import numpy as np
import pytest

from vexp.core.errors import UserError
from vexp.evaluation.config import Eval
from vexp.evaluation.label_checks import check_labels, check_loss, class_counts

MAP = ["mean_average_precision", "mmit_mean_average_precision"]


class Source:
    """A data source with labels and names, without videos."""

    def __init__(self, labels, classes=4, multi_label=False):
        self.labels, self.classes = labels, [f"c{i}" for i in range(classes)]
        self.multi_label = multi_label

    def __len__(self):
        return len(self.labels)

    def name(self, index):
        return f"{index}.mp4"


def single(labels, classes=4):
    return Source(np.array(labels), classes)


def several(*rows):
    return Source([np.array(row, np.int32) for row in rows], multi_label=True)


def test_class_counts_of_labels():
    assert class_counts(single([0, 2, 2, 0, 2])).tolist() == [2, 0, 3, 0]
    assert class_counts(several([0, 2], [], [2, 3])).tolist() == [1, 0, 2, 1]


@pytest.mark.parametrize(
    ("source", "loss", "text"),
    [
        (single([0]), False, None),
        (several([0]), True, None),
        (single([0]), None, None),  # a loss of a plugin, of unknown kind
        (several([0]), None, None),
        (single([0]), True, "loss is multi-label.*use loss=cross_entropy"),
        (several([0]), False, "loss is single-label.*use loss=bce"),
    ],
)
def test_check_loss_rejects_other_kind_of_labels(source, loss, text):
    if text is None:
        check_loss(source, loss)
    else:
        with pytest.raises(UserError, match=text):
            check_loss(source, loss)


@pytest.mark.parametrize(
    ("options", "source", "multi_label", "warnings"),
    [
        ({"topk": [1, 3]}, single([0, 3]), False, []),
        ({"topk": [1, 4, 5]}, single([0, 3]), False, ["top4_acc is always 1", "top5_acc is always 1"]),
        ({"metrics": ["mean_class_accuracy"]}, single([0, 3]), False, []),
        ({"metrics": MAP}, single([0, 3]), False, []),  # one label is one class set
        ({"metrics": MAP}, several([0], [1, 2]), True, []),
        ({"metrics": MAP}, several([0], [], []), True, ["ignores 2 of 3 videos of val"]),
        ({"metrics": MAP[:1]}, several([0], [], []), True, []),
    ],
)
def test_check_labels_warns(options, source, multi_label, warnings):
    texts = check_labels(Eval(**options), source, 4, split="val", multi_label=multi_label)
    assert len(texts) == len(warnings)
    assert all(expected in text for expected, text in zip(warnings, texts, strict=True))


@pytest.mark.parametrize(
    ("options", "source", "multi_label", "text"),
    [
        ({}, single([0, 4, 1, 7]), False, r"data\.val: 1\.mp4 has label 4, but the training data has 4 classes, "
         r"0\.\.3 \(2 labels are out of range\)"),
        ({}, single([0, -1]), False, r"1\.mp4 has label -1"),
        ({"metrics": MAP}, several([0], [1, 9]), True, r"1\.mp4 has label 9"),
        ({}, single([0]), True, "data.val has one label per video, data.train has several labels per video"),
        ({"metrics": MAP}, several([0]), False, "data.val has several labels per video, data.train has one label"),
        ({}, several([0]), True, "top_k_accuracy, mean_class_accuracy needs one label.*use eval=multi_label"),
        ({"metrics": [*MAP, "expected_calibration_error"]}, several([0]), True, "expected_calibration_error needs"),
    ],
)  # fmt: skip
def test_check_labels_rejects(options, source, multi_label, text):
    with pytest.raises(UserError, match=text):
        check_labels(Eval(**options), source, 4, split="val", multi_label=multi_label)
