"""The files of an evaluation."""

import csv
import json
import os
import sys

import numpy as np
import pytest
from support.tables import default_lane_has

from vexp.evaluation.config import Eval
from vexp.evaluation.predictions import Predictions
from vexp.evaluation.report import draw_confusion, write_report

CLASSES = ["hop, high", "run", r"sit $\down$", "never"]
LABELS = [0, 0, 0, 1, 2]
SCORES = np.array(
    [
        [0.7, 0.1, 0.15, 0.05],  # correct
        [0.1, 0.2, 0.6, 0.1],
        [0.25, 0.25, 0.25, 0.25],  # a tie: the lowest class index, correct
        [0.4, 0.4, 0.1, 0.1],  # a tie: wrong
        [0.0, 1 / 3, 2 / 3, 0.0],  # correct
    ],
    np.float32,
)


def png_size(path):
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    assert content.endswith(b"IEND\xaeB`\x82")
    return int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big")


def report(
    folder, *, plots=False, scores=SCORES, labels=LABELS, classes=CLASSES, name=lambda i: f"videos/{i}.mp4", logits=None
):
    predictions = Predictions(
        ids=np.arange(len(labels)) + 10, labels=np.array(labels), scores=scores, loss=0.5, views=6, view_logits=logits
    )
    results = {"top1_acc": 0.6, "loss": 0.5}
    protocol = {"split": "val", "views": "2 clips x 3 crops", "checkpoint": "best.pth"}
    write_report(
        folder, predictions, results, classes=classes, name=name, protocol=protocol, options=Eval(), plots=plots
    )
    return folder


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_write_report_writes_four_files(tmp_path):
    folder = report(tmp_path / "new" / "eval", plots=True)
    assert sorted(path.name for path in folder.iterdir()) == [
        "confusion.png", "per_class.csv", "predictions.csv", "report.json",
    ]  # fmt: skip
    width, height = png_size(folder / "confusion.png")
    assert width >= 600
    assert height >= 500
    report(folder)  # a later evaluation replaces the files
    assert len(rows(folder / "predictions.csv")) == 5


def test_predictions_csv_lists_samples_and_best_classes(tmp_path):
    table = rows(report(tmp_path) / "predictions.csv")
    assert [row["id"] for row in table] == ["10", "11", "12", "13", "14"]  # indices of the samples in their source
    assert [row["path"] for row in table] == [f"videos/{i}.mp4" for i in range(10, 15)]
    assert [row["label"] for row in table] == [CLASSES[label] for label in LABELS]
    predicted = [0, 2, 0, 0, 2]
    assert [row["predicted"] for row in table] == [CLASSES[c] for c in predicted]
    assert [row["correct"] for row in table] == ["1", "0", "1", "0", "1"]
    for i, row in enumerate(table):  # all four classes, by score and then by index
        ranked = np.argsort(-SCORES[i], kind="stable")
        assert [row[f"class_{rank}"] for rank in range(1, 5)] == [CLASSES[c] for c in ranked]
        scores = [float(row[f"score_{rank}"]) for rank in range(1, 5)]
        np.testing.assert_allclose(scores, SCORES[i][ranked], rtol=1e-5)
    assert "class_5" not in table[0]


def test_predictions_csv_has_columns_of_five_best_classes(tmp_path):
    scores = np.random.RandomState(0).rand(3, 12).astype(np.float32)
    folder = report(tmp_path, scores=scores, labels=[0, 5, 11], classes=[f"c{i}" for i in range(12)])
    header = list(rows(folder / "predictions.csv")[0])
    assert header[5:] == [f"{what}_{rank}" for rank in range(1, 6) for what in ("class", "score")]


def test_predictions_csv_orders_equal_scores_by_class_index(tmp_path):
    scores = np.zeros((1, 60), np.float32)
    scores[0, 40:] = 1.0
    (row,) = rows(report(tmp_path, scores=scores, labels=[0], classes=[f"c{i}" for i in range(60)]) / "predictions.csv")
    assert [row[f"class_{rank}"] for rank in range(1, 6)] == ["c40", "c41", "c42", "c43", "c44"]


def test_per_class_csv_lists_accuracy_and_confusions(tmp_path):
    table = rows(report(tmp_path) / "per_class.csv")
    assert [list(row.values()) for row in table] == [
        ["hop, high", "3", "2", "0.666667", r"sit $\down$", "1"],
        ["run", "1", "0", "0", "hop, high", "1"],
        [r"sit $\down$", "1", "1", "1", "", "0"],  # always correct
        ["never", "0", "0", "", "", "0"],  # no video: no accuracy
    ]
    assert list(table[0]) == ["class", "videos", "correct", "accuracy", "most_often_taken_for", "times"]


def test_report_json_holds_metrics_and_protocol(tmp_path):
    content = json.loads((report(tmp_path) / "report.json").read_text())
    assert content == {
        "metrics": {"top1_acc": 0.6, "loss": 0.5}, "videos": 5,
        "split": "val", "views": "2 clips x 3 crops", "checkpoint": "best.pth",
    }  # fmt: skip


def test_csv_files_keep_unicode_names(tmp_path):
    names = ["vidéo, 1", 'a "b"', "видео", "日本", "new\nline"]
    folder = report(tmp_path, name=lambda i: names[i - 10], classes=["öl", "çay", "été", "x"])
    table = rows(folder / "predictions.csv")
    assert [row["path"] for row in table] == names
    assert table[0]["label"] == "öl"


@pytest.mark.skipif(sys.platform != "linux", reason="file names are Unicode there")
def test_predictions_csv_keeps_bytes_of_file_name_not_utf8(tmp_path):
    folder = report(tmp_path, name=lambda i: os.fsdecode(b"caf\xe9.mp4"))
    assert b",caf\xe9.mp4," in (folder / "predictions.csv").read_bytes()


@pytest.mark.parametrize("classes", default_lane_has(2, [40, 400, 1, 2, 41]))  # up to 40 classes are named at the axes
def test_draw_confusion_size_grows_to_limit(tmp_path, classes):
    matrix = np.diag(np.arange(classes))
    draw_confusion(tmp_path / "a.png", matrix, [f"class {i}" for i in range(classes)], title="top1_acc 1.0")
    width, height = png_size(tmp_path / "a.png")
    assert 400 < height <= 1920
    assert height < width <= 2040


def test_draw_confusion_of_names_that_no_font_has(tmp_path):
    """Bytes of a folder that are not UTF-8, and a control character."""
    draw_confusion(tmp_path / "a.png", np.eye(2, dtype=int), ["a\udcff", "\x1b"], title="\udcff")
    assert png_size(tmp_path / "a.png")


# ---- several labels per video ----

SEVERAL = np.array([[1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0]], np.float32)


def test_write_report_of_several_labels_per_video(tmp_path):
    folder = report(tmp_path, labels=SEVERAL)
    assert sorted(path.name for path in folder.iterdir()) == ["per_class.csv", "predictions.csv", "report.json"]
    table = rows(folder / "predictions.csv")
    assert [row["labels"] for row in table] == [rf"{CLASSES[0]};{CLASSES[2]}", "run", "", CLASSES[0], CLASSES[2]]
    assert [row["predicted"] for row in table] == [CLASSES[c] for c in (0, 2, 0, 0, 2)]
    assert [row["correct"] for row in table] == ["1", "0", "0", "1", "1"]  # whether the best class is one of the labels
    assert json.loads((folder / "report.json").read_text())["videos_without_label"] == 1
    classes = rows(folder / "per_class.csv")
    assert list(classes[0]) == ["class", "videos", "average_precision"]
    assert [(row["class"], row["videos"]) for row in classes] == list(zip(CLASSES, "2120", strict=True))
    assert [row["average_precision"] for row in classes] == ["1", "0.25", "0.75", ""]  # no video of the last class


def test_write_report_removes_logits_of_earlier_evaluation(tmp_path):
    report(tmp_path, logits=np.zeros((5, 6, 4), np.float32))
    assert (tmp_path / "view_logits.npz").is_file()
    report(tmp_path)
    assert not (tmp_path / "view_logits.npz").exists()
