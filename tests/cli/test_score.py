"""``vexp score``: files of each kind, the printed numbers, and broken files."""

import csv
import json

import pytest
from support.commands import run_command

from vexp.__main__ import main

TRUTH = {
    "database": {
        "v_a": {
            "subset": "validation",
            "duration": 30.0,
            "annotations": [{"segment": [0, 10], "label": "run"}, {"segment": [20, 30], "label": "jump"}],
        },
        "v_b": {"subset": "validation", "duration": 20.0, "annotations": [{"segment": [5, 15], "label": "run"}]},
        "v_c": {"subset": "training", "duration": 20.0, "annotations": [{"segment": [5, 15], "label": "dive"}]},
    }
}
RESULTS = {
    "results": {
        "v_a": [{"segment": [0, 10], "label": "run", "score": 0.9}, {"segment": [0, 9], "label": "jump", "score": 0.8}],
        "v_b": [{"segment": [5, 13], "label": "run", "score": 0.7}],
    }
}
AVA_TRUTH = "a,0902,0.1,0.1,0.5,0.5,1,0\na,902,0.1,0.1,0.5,0.5,3,0\nb,903,0.2,0.2,0.6,0.6,1,1\nb,904,,,,,,\n"
AVA_FOUND = "a,902,0.1,0.1,0.5,0.5,1,0.9\nb,903,0.7,0.7,0.9,0.9,1,0.8\nb,904,0.2,0.2,0.6,0.6,1,0.95\n"
LABEL_MAP = 'item {\n  name: "stand"\n  id: 1\n}\nitem {\n  name: "sit (down)"\n  label_id: 3\n}\n'


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, content in (("truth.json", TRUTH), ("results.json", RESULTS)):
        (tmp_path / name).write_text(json.dumps(content))
    for name, text in (("truth.csv", AVA_TRUTH), ("found.csv", AVA_FOUND), ("map.pbtxt", LABEL_MAP)):
        (tmp_path / name).write_text(text)
    return tmp_path


def metrics(folder, *arguments):
    run_command("score", *arguments, "out=out", "resamples=20")
    return json.loads((folder / "out" / "score.json").read_text())


def message(capsys, *arguments):
    assert main(["score", *arguments]) == 2
    return capsys.readouterr().err


def test_score_of_segments(folder):
    content = metrics(folder, "truth=truth.json", "answers=results.json", "tious=[0.5,0.9]")
    assert content["metrics"] == pytest.approx({"mAP@0.5": 0.5, "mAP@0.9": 0.25, "mAP": 0.375})
    assert content["videos"] == 2  # of the validation subset
    rows = list(csv.reader((folder / "out" / "per_class.csv").read_text().splitlines()))
    assert rows == [["class", "ground_truth", "ap@0.5", "ap@0.9"], ["dive", "0", "", ""], ["jump", "1", "0", "0"],
                    ["run", "2", "1", "0.5"]]  # fmt: skip


def test_score_of_proposals_draws_curve(folder):
    content = metrics(folder, "truth=truth.json", "answers=results.json", "eval=proposals")
    # 1.5 proposals per video: all three are in the last columns; two segments of three are found, one up to 0.8
    assert content["metrics"]["AR@100"] == pytest.approx((2 / 3 * 7 + 1 / 3 * 3) / 10)
    assert list(content["metrics"]) == ["AR@1", "AR@5", "AR@10", "AR@100", "auc"]
    assert (folder / "out" / "ar_an.png").read_bytes().startswith(b"\x89PNG")


def test_score_of_boxes(folder):
    content = metrics(folder, "truth=truth.csv", "answers=found.csv", "label_map=map.pbtxt")
    assert content["metrics"] == {"mAP@0.5IOU": 0.25}  # stand: one of two, sit (down): none
    assert metrics(folder, "truth=truth.csv", "answers=found.csv", "empty_frames=count")["metrics"] == {
        "mAP@0.5IOU": pytest.approx(0.125)  # stand: the first detection is false
    }
    (folder / "excluded.csv").write_text("b,0903\n")
    excluded = metrics(folder, "truth=truth.csv", "answers=found.csv", "exclude=excluded.csv")
    assert excluded["metrics"] == {"mAP@0.5IOU": 0.5}


def test_score_of_thumos_files(folder):
    annotations = folder / "annotations"
    annotations.mkdir()
    (annotations / "Run_test.txt").write_text("video_test_01  0.0 10.0\nvideo_test_02 5.0 15.0\n")
    (annotations / "Ambiguous_test.txt").write_text("video_test_01 20 30\n")
    (folder / "classes.txt").write_text("7 Run\n")
    (folder / "found.txt").write_text("video_test_01 0 10 7 0.9\nvideo_test_02 5 12 7 0.8\n")
    content = metrics(folder, "truth=annotations", "answers=found.txt", "classes=classes.txt")
    assert content["metrics"]["mAP@0.7"] == 1.0
    assert next(iter(content["metrics"])) == "mAP@0.3"


def test_score_compares_two_results_on_same_resamples(folder):
    output = run_command("score", "truth=truth.json", "answers=results.json", "compare=results.json", "tious=[0.5]")
    row = next(line.split() for line in output.splitlines() if line.startswith("mAP@0.5"))
    assert row == ["mAP@0.5", "0.5000", *row[2:5], "0.5000", "+0.0000", "+0.0000", "..", "+0.0000"]


def test_score_names_protocol(folder):
    output = run_command("score", "truth=truth.json", "answers=results.json", "resamples=0")
    assert "2 videos of the subset validation, 3 annotations, 3 segments in 2 videos" in output
    assert "of equal scores the earlier row ranks first; nothing is rounded" in output


def test_score_matches_names_without_prefix(folder):
    results = {name.removeprefix("v_"): rows for name, rows in RESULTS["results"].items()}
    (folder / "short.json").write_text(json.dumps({"results": results}))
    content = metrics(folder, "truth=truth.json", "answers=short.json", "tious=[0.5]")
    assert content["metrics"] == {"mAP@0.5": 0.5}
    assert any("with v_ before them" in line for line in content["protocol"])


def test_score_rounds_before_ranking(folder):
    (folder / "close.csv").write_text("a,902,0.6,0.6,0.9,0.9,1,0.90001\na,902,0.1,0.1,0.5,0.5,1,0.90002\n")
    (folder / "one.csv").write_text("a,902,0.1,0.1,0.5,0.5,1,0\n")
    exact = metrics(folder, "truth=one.csv", "answers=close.csv")
    assert exact["metrics"] == {"mAP@0.5IOU": 1.0}
    assert metrics(folder, "truth=one.csv", "answers=close.csv", "rounding=3")["metrics"] == {"mAP@0.5IOU": 0.5}


def results(**videos):
    return json.dumps({"results": videos})


@pytest.mark.parametrize(
    ("name", "content", "fragment"),
    [
        ("bad.json", "{", "bad.json: is not valid JSON"),
        ("bad.json", "[]", "must be a JSON mapping"),
        ("bad.json", results(v_x=[]), "1 videos are not in the ground truth: v_x"),
        ("bad.json", results(v_a=5), "video v_a: its results must be a list"),
        ("bad.json", results(v_a=[{"segment": [0]}]), "video v_a: segment 0: must have a segment [start, end]"),
        ("bad.json", results(v_a=[{"segment": [0, 1]}]), "segment 0: must have a score, got None"),
        ("bad.json", results(v_a=[{"segment": [3, 1], "score": 1}]), "ends at 1 s, before its start at 3 s"),
        ("bad.json", results(v_a=[{"segment": [0, 1], "score": float("nan")}]), "must be finite"),
        ("bad.json", results(v_a=[{"segment": [0, 1], "score": 1, "label": "fly"}]), "not in the ground truth: fly"),
        ("bad.json", results(v_a=[{"segment": ["0", "1"], "score": 1}]), "must have a segment"),
        ("bad.json", results(v_a=[{"segment": [0, 1], "score": True}]), "must have a score, got True"),
        ("bad.txt", "v_a 0 1 7 0.5\n", "give their names with classes=FILE"),
    ],
)
def test_score_names_bad_segments(folder, capsys, name, content, fragment):
    (folder / name).write_text(content)
    assert fragment in message(capsys, "truth=truth.json", f"answers={name}")


@pytest.mark.parametrize(
    ("line", "fragment"),
    [
        ("a,902,0.1,0.1,0.5,0.5,1", "bad.csv:2: must end with a finite score"),
        ("a,902,0.1,0.1,0.5,0.5,x,1", "bad.csv:2: must be video,second,x1,y1,x2,y2,class,score"),
        ("a,902,10,10,50,50,1,1", "must be given as shares of width and height"),
        ("a,902,0.1,0.1,0.5,nan,1,1", "must consist of finite numbers"),
        ("a,902.5,0.1,0.1,0.5,0.5,1,1", "bad.csv:2: must be video,second"),
        ("a,902,0.1,0.1,0.5,0.5,0,1", "the class 0 must be at least 1"),
        ("c,902,0.1,0.1,0.5,0.5,1,1", "1 videos are not in the ground truth: c"),
        ("a", "bad.csv:2: must be video,second"),
    ],
)
def test_score_names_bad_boxes(folder, capsys, line, fragment):
    (folder / "bad.csv").write_text(f"a,902,0.1,0.1,0.5,0.5,1,0.5\n{line}\n")
    assert fragment in message(capsys, "truth=truth.csv", "answers=bad.csv")


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        (["truth=no.json", "answers=results.json"], "no.json: no such file"),
        (["truth=truth.json"], "answers: must be given"),
        (["truth=truth.json", "answers=results.json", "subset=testing"], "subset=testing: truth.json has no such"),
        (["truth=truth.json", "answers=results.json", "tious=[0]"], "must be numbers in (0, 1]"),
        (["truth=truth.json", "answers=results.json", "eval=boxes"], "eval=boxes: needs AVA's CSV"),
        (["truth=truth.csv", "answers=found.csv", "eval=segments"], "eval=segments: needs JSON"),
        (["truth=truth.csv", "answers=found.csv", "label_map=truth.csv"], "has no item"),
        (["truth=truth.json", "answers=results.json", "metric=auc"], "is not an option of vexp score"),
    ],
)
def test_score_names_bad_options(folder, capsys, arguments, fragment):
    assert fragment in message(capsys, *arguments)
