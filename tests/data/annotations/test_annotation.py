"""The accessors of an annotation, with and without its optional columns."""

import numpy as np
import pytest

from vexp.data.annotations.annotation import Annotation
from vexp.data.annotations.packed import PackedLabels, PackedStrings

NAMES = ["a", "", "日本", "d" * 300, "e e"]
NAN = float("nan")


def full():
    return Annotation(
        PackedStrings.pack(NAMES),
        PackedLabels(np.array([0, 2, 1, 0, 1, 2], np.int32), np.array([2, 3, 3, 6, 6])),
        ["x", "y", "z"],
        "/videos",
        PackedStrings.pack(["g", "", "g", "h", ""]),
        np.array([[1, 2], [NAN, NAN], [NAN, 4], [3, NAN], [0, 0.5]]),
        np.array([[0, 7], [-1, -1], [5, 9], [0, 1], [0, 2]], np.int32),
        "csv",
        "list.csv: table",
    )


def everything(annotation, i):
    return (
        annotation.name(i), annotation.path(i), annotation.labels(i).tolist(), annotation.group(i),
        annotation.segment(i), annotation.frames(i),
    )  # fmt: skip


def test_annotation_returns_columns_of_a_sample():
    assert [everything(full(), i) for i in range(5)] == [
        ("a", "/videos/a", [0, 2], "g", (1.0, 2.0), (0, 7)),
        ("", "/videos/", [1], "", None, None),
        ("日本", "/videos/日本", [], "g", (0.0, 4.0), (5, 9)),  # no start: from the beginning
        ("d" * 300, "/videos/" + "d" * 300, [0, 1, 2], "h", (3.0, float("inf")), (0, 1)),  # no end: to the end
        ("e e", "/videos/e e", [], "", (0.0, 0.5), (0, 2)),
    ]
    assert full().multi_label


def test_annotation_without_columns_returns_defaults():
    plain = Annotation.pack(NAMES, [0, 1, 2, 1, 0], ["x", "y", "z"], "/videos")
    assert len(plain) == 5
    assert [plain.name(i) for i in range(5)] == NAMES
    assert everything(plain, 2) == ("日本", "/videos/日本", [2], "", None, None)
    assert plain.labels_packed.dtype == np.int32
    assert not plain.multi_label


@pytest.mark.parametrize("rows", [[4, 2, 2], [], [0, 1, 2, 3, 4]])
def test_annotation_take_keeps_every_column(rows):
    taken = full().take(rows)
    assert [everything(taken, i) for i in range(len(taken))] == [everything(full(), row) for row in rows]
    assert (taken.classes, taken.format, taken.origin) == (["x", "y", "z"], "csv", "list.csv: table")  # all classes


def test_annotation_absolute_path_ignores_prefix():
    assert Annotation.pack(["/else/a.mp4"], [0], ["x"], "/videos").path(0) == "/else/a.mp4"
