"""Collecting videos, and error messages of invalid arguments with exit status 2."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from vexp.__main__ import main
from vexp.tools.dataset.video_collection import collect

Run = Callable[..., tuple[int, str]]


def test_collect_from_folder_and_lists(collection: Path, tmp_path: Path) -> None:
    videos = collect(collection)
    assert videos.names == ["jump/d_g3.mp4", "jump/e_g4.mp4", "run/a_g1.mp4", "run/b_g1.mp4", "run/c_g2.avi"]
    assert {split: (len(rows), rows.classes) for split, rows in videos.splits.items()} == {
        "train": (5, ["jump", "run"])
    }
    assert collect(collection / "run").splits == {}  # no folder of a class in it
    assert collect(collection, leave_out=collection / "run").names == ["jump/d_g3.mp4", "jump/e_g4.mp4"]
    (tmp_path / "train.txt").write_text(f"run/../run/a_g1.mp4 1\n{collection}/jump/d_g3.mp4 0\n")
    (tmp_path / "val.txt").write_text("run/a_g1.mp4 1\n")
    from_lists = collect(collection, {"train": tmp_path / "train.txt", "val": tmp_path / "val.txt"})
    assert from_lists.names == ["jump/d_g3.mp4", "run/a_g1.mp4"]  # names are normalized
    assert {split: len(rows) for split, rows in from_lists.splits.items()} == {"train": 2, "val": 1}


def test_collect_from_split_folders(tmp_path: Path) -> None:
    for name in ("train/a/1.mp4", "train/b/2.mp4", "val/b/3.mp4", ".hidden/4.mp4", "train/a/._1.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    found = collect(tmp_path)
    assert found.names == ["train/a/1.mp4", "train/b/2.mp4", "val/b/3.mp4"]
    assert {split: (list(rows.names), rows.classes) for split, rows in found.splits.items()} == {
        "train": (["train/a/1.mp4", "train/b/2.mp4"], ["a", "b"]),
        "val": (["val/b/3.mp4"], ["a", "b"]),  # all splits have the same classes
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("index", "nowhere", "i.csv"), "nowhere: no such folder of videos"),
        (("index", "empty", "i.csv"), "empty: contains no video"),
        (("index", "collection", "i.txt"), "must be named .csv or .json"),
        (("check", "collection", "r.csv"), "name it .json"),
        (("check", "collection", "r.json", "--index", "gone.csv"), "gone.csv: no such index"),
        (("check", "collection", "r.json", "--train", "gone.csv"), "gone.csv: no such file"),
        (("check", "collection", "r.json", "--train", "outside.txt"), "names ../x.mp4, which is not in"),
        (("check", "collection", "r.json", "--train", "bad.txt"), "bad.txt:1: 'a.mp4' is not 'path label'"),
        (("rescale", "collection", "collection"), "need a folder of their own"),
        (("rescale", "twins", "out"), "both would be converted to"),
        (("rescale", "collection", "bad.txt"), "bad.txt: is a file"),
        (("lists", "collection", "bad.txt/lists"), "bad.txt/lists: "),
        (("index", "collection", "bad.txt/i.csv"), "i.csv"),
        (("frames", "collection", "out", "--filename-tmpl", "x.jpg"), "two files the same name"),
        (("flow", "collection", "out", "--method", "tvl1"), "opencv-contrib-python-headless"),
        (("lists", "collection/run", "out"), "its folders are not classes"),
        (("lists", "collection", "out", "--hold-out", "val=0.001"), "--hold-out val=0.001: no sample remains for val"),
        (("lists", "collection", "out", "--hold-out", "val=0.2", "--val", "one.txt"), "needs a training split"),
        (("lists", "collection", "out", "--group", "zzz"), "--group zzz: matches no name"),
        (
            ("lists", "collection", "out", "--classes", "bad.txt", "--train", "one.txt"),
            "label 1, but there are 1 classes",
        ),
    ],
)
def test_dataset_rejects_invalid_arguments(
    arguments: tuple[str, ...],
    message: str,
    collection: Path,
    tmp_path: Path,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "collection").symlink_to(collection)
    (tmp_path / "empty").mkdir()
    for name in ("x.mp4", "x.avi"):
        (tmp_path / "twins").mkdir(exist_ok=True)
        (tmp_path / "twins" / name).write_text("")
    for name, text in (("outside.txt", "../x.mp4 0\n"), ("bad.txt", "a.mp4\n"), ("one.txt", "run/a_g1.mp4 1\n")):
        (tmp_path / name).write_text(text)
    before = sorted(path.name for path in tmp_path.iterdir())
    status, output = run(*arguments)
    assert status == 2
    assert message in output
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    "arguments",
    [
        (), ("chek",), ("index", "a"), ("rescale", "a", "b", "--short-side", "1"), ("flow", "a", "b", "--bound", "-1"),
        ("lists", "a", "b", "--hold-out", "train=0.1"), ("lists", "a", "b", "--hold-out", "val=2"),
        ("lists", "a", "b", "--group", "("), ("frames", "a", "b", "--quality", "101"),
        ("index", "a", "b", "--workers", "x"),
    ],
)  # fmt: skip
def test_dataset_rejects_invalid_options(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dataset", *arguments]) == 2
    assert "vexp: error: " in capsys.readouterr().err
