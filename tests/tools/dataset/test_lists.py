"""Lists survive a round trip, and splits keep groups together."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vexp.core.errors import UserError
from vexp.data.annotations.annotation import Annotation
from vexp.data.annotations.class_names import read_classes
from vexp.data.annotations.list_files import read_list
from vexp.data.annotations.packed import PackedLabels, PackedStrings
from vexp.tools.dataset.file_info import FileInfo
from vexp.tools.dataset.lists import grouped_by_content, grouped_by_name, held_out, write_lists

Run = Callable[..., tuple[int, str]]

PLAIN = Annotation.pack(["a/1.mp4", "a/2.mp4", "b/3.mp4"], [1, 0, 2], ["walk", "12", "sit, down"])
NUMBERS = Annotation.pack(["1.mp4", "2.mp4"], [1, 0], ["0", "1"])
SEVERAL = replace(NUMBERS, labels_packed=PackedLabels(np.array([0, 1, 1], np.int32), np.array([2, 3])))
SPACED = Annotation.pack(["a b/1.mp4", "c,d/2.mp4"], [0, 1], ["x", "y;z"])
SEGMENTS = replace(
    PLAIN, groups=PackedStrings.pack(["g1", "", "g2"]), segments=np.array([(0, 1.5), (np.nan, np.nan), (2.25, np.nan)])
)
FRAMES = replace(
    NUMBERS, names=PackedStrings.pack(["d/one", "d/two"]), frame_ranges=np.array([(0, 30), (0, 41)], np.int32)
)
OFFSETS = replace(FRAMES, frame_ranges=np.array([(0, 30), (7, 41)], np.int32))


@pytest.mark.parametrize(
    ("rows", "kind", "format"),
    [
        (PLAIN, "csv", "auto"), (PLAIN, "mmaction2", "auto"), (PLAIN, "slowfast", "auto"),
        (NUMBERS, "csv", "auto"), (NUMBERS, "mmaction2", "auto"), (NUMBERS, "slowfast", "auto"),
        (SEVERAL, "csv", "auto"), (SEVERAL, "mmaction2", "auto"),
        (SPACED, "csv", "auto"), (SEGMENTS, "csv", "auto"),
        (FRAMES, "csv", "auto"), (FRAMES, "mmaction2", "auto"),
        (OFFSETS, "csv", "auto"), (OFFSETS, "mmaction2", "frames_with_offset"),
    ],
)  # fmt: skip
def test_lists_round_trip(rows: Annotation, kind: str, format: str, tmp_path: Path) -> None:
    path, *classes = write_lists(tmp_path, {"train": rows}, kind)
    again = read_list(path, format=format, classes=read_classes(classes[0]) if classes else None)
    assert list(again.names) == list(rows.names)
    assert [again.labels(i).tolist() for i in range(len(rows))] == [rows.labels(i).tolist() for i in range(len(rows))]
    assert again.classes == rows.classes
    for i in range(len(rows)):
        assert again.segment(i) == rows.segment(i)
        assert again.frames(i) == rows.frames(i)
        assert again.group(i) == rows.group(i)


@pytest.mark.parametrize(
    ("rows", "kind", "message"),
    [
        (SEGMENTS, "mmaction2", "has no segments"),
        (SEGMENTS, "slowfast", "has no segments"),
        (SPACED, "mmaction2", "'a b/1.mp4' contains"),
        (FRAMES, "slowfast", "has no raw frames"),
        (SEVERAL, "slowfast", "one label per video"),
    ],
)
def test_write_lists_rejects_unrepresentable_rows(rows: Annotation, kind: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        write_lists(tmp_path, {"val": PLAIN, "train": rows}, kind)
    assert not list(tmp_path.iterdir())


def test_grouped_by_name_sets_matches() -> None:
    names = ["v_Run_g08_c01.avi", "v_Run_g08_c02.avi", "v_Run_g09_c01.avi", "other.avi"]
    rows = Annotation.pack(names, [0] * 4, ["Run"])
    assert list(grouped_by_name(rows, re.compile(r"v_(.*_g\d+)")).groups or ()) == ["Run_g08", "Run_g08", "Run_g09", ""]
    assert list(grouped_by_name(rows, re.compile(r"g\d+")).groups or ()) == ["g08", "g08", "g09", ""]
    with pytest.raises(UserError, match=r"matches no name, such as 'v_Run_g08_c01\.avi'"):
        grouped_by_name(rows, re.compile("x"))


def test_grouped_by_content_merges_copies() -> None:
    """A copy merges the groups of both files, also transitively."""
    names = ["a", "b", "c", "d", "e", "f"]
    rows = replace(Annotation.pack(names, [0] * 6, ["x"]), groups=PackedStrings.pack(["1", "1", "2", "", "", ""]))
    content = {"a": "A", "b": "B", "c": "B", "d": "D", "e": "D", "f": "F"}
    groups = grouped_by_content(rows, {name: FileInfo(path=name, sha256=sha) for name, sha in content.items()}).groups
    groups = list(groups or ())
    assert groups[0] == groups[1] == groups[2] != ""
    assert groups[3] == groups[4] not in ("", groups[0])
    assert groups[5] == ""
    assert grouped_by_content(rows, {}) is rows
    names = ["p", "q", "r", "s"]  # group x is merged twice: with y by content X, with z by content Y
    rows = replace(Annotation.pack(names, [0] * 4, ["x"]), groups=PackedStrings.pack(["y", "x", "z", "x"]))
    copies = {name: FileInfo(path=name, sha256=sha) for name, sha in zip(names, "XXYY", strict=True)}
    assert len(set(grouped_by_content(rows, copies).groups or ())) == 1


def test_held_out_matches_training() -> None:
    """As data.val.hold_out: no group is divided, and no class is lost."""
    names = [f"c{label}/g{group}_{clip}.mp4" for label in range(3) for group in range(8) for clip in range(3)]
    rows = Annotation.pack(names, np.repeat(range(3), 24).tolist(), list("xyz"))
    rows = grouped_by_name(rows, re.compile(r"c\d/g\d"))
    parts = held_out(rows, {"val": 0.25, "test": 0.125}, seed=3)
    assert {split: len(part) for split, part in parts.items()} == {"train": 45, "val": 18, "test": 9}
    groups = [set(part.groups or ()) for part in parts.values()]
    assert sum(map(len, groups)) == len(set().union(*groups)) == 24
    assert sorted(name for part in parts.values() for name in part.names) == sorted(names)
    assert all(set(part.labels_packed.tolist()) == {0, 1, 2} for part in parts.values())
    with pytest.raises(UserError, match=r"--hold-out val=0.01: no sample remains for val"):
        held_out(rows.take([0, 30]), {"val": 0.01}, seed=0)


def test_lists_from_folder(videos: Path, tmp_path: Path, run: Run) -> None:
    """From a folder per class with groups by name and content; copies stay in one split."""
    shutil.copy(videos / "jump/d_g3.mp4", videos / "jump/f_g5.mp4")
    (videos / "run/broken_g9.mp4").write_text("x")
    run("index", videos, tmp_path / "i.csv")
    of_groups = ("--group", r"_(g\d)", "--index", tmp_path / "i.csv")
    arguments = ("lists", videos, tmp_path / "lists", "--hold-out", "val=0.5", *of_groups)
    assert not (tmp_path / "lists").exists()
    assert run(*arguments, "--dry-run")[0] == 0
    assert not (tmp_path / "lists").exists()
    status, output = run(*arguments)
    assert status == 0
    assert "train: 1 faulty left out, the first is run/broken_g9.mp4" in output
    assert f"data.train.ann_file={tmp_path / 'lists/train.csv'} data.train.data_prefix={videos}" in output
    assert (tmp_path / "lists/classes.txt").read_text() == "jump\nrun\n"
    splits = {split: set(read_list(tmp_path / f"lists/{split}.csv").names) for split in ("train", "val")}
    assert not splits["train"] & splits["val"]
    assert sum(map(len, splits.values())) == 6
    for pair in ({"run/a_g1.mp4", "run/b_g1.mp4"}, {"jump/d_g3.mp4", "jump/f_g5.mp4"}):
        assert any(pair <= names for names in splits.values()), splits


def test_lists_from_published_formats(tmp_path: Path, run: Run) -> None:
    """UCF-101, HMDB-51, Kinetics and Something-Something, each to the same table; files that are not there left out."""
    videos = tmp_path / "videos"
    there = ["Run/v_Run_g01_c01.avi", "Run/v_Run_g02_c01.avi", "wave/x.avi", "abc_000010_000020.mp4", "7.webm"]
    for name in there:
        (videos / name).parent.mkdir(parents=True, exist_ok=True)
        (videos / name).write_bytes(b"")
    thing = '{"id": "%d", "template": "Moving [something]"}'
    files = {
        "trainlist01.txt": "Run/v_Run_g01_c01.avi 1\nRun/v_Run_g02_c01.avi 1\nRun/v_Run_g03_c01.avi 1\n",
        "classInd.txt": "1 Run\n2 Sit\n",
        "wave_test_split1.txt": "x.avi 1\ny.avi 2\n",
        "kinetics.csv": "label,youtube_id,time_start,time_end,split\nwaving,abc,10,20,train\nwaving,def,1,11,train\n",
        "something.json": f"[{thing % 7}, {thing % 8}]",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    expected = {
        "trainlist01.txt": "path,label,group\n"
        "Run/v_Run_g01_c01.avi,Run,v_Run_g01\nRun/v_Run_g02_c01.avi,Run,v_Run_g02\n",
        "*_test_split1.txt": "path,label\nwave/x.avi,wave\n",
        "kinetics.csv": "path,label\nabc_000010_000020.mp4,waving\n",
        "something.json": "path,label\n7.webm,Moving something\n",
    }
    for name, table in expected.items():
        arguments = ("lists", videos, tmp_path / "out", "--train", tmp_path / name)
        if "split1" not in name:
            status, output = run(*arguments)
            assert (status, "--drop-missing leaves them out" in output) == (2, True), output
        assert run(*arguments, "--drop-missing")[0] == 0
        assert (tmp_path / "out/train.csv").read_text() == table


def test_lists_reports_leaks_between_given_lists(tmp_path: Path, videos: Path, run: Run) -> None:
    for split in ("train", "val"):
        (tmp_path / f"{split}.csv").write_text("path,label,group\nrun/a_g1.mp4,run,g1\n")
    lists = ("--train", tmp_path / "train.csv", "--val", tmp_path / "val.csv")
    status, output = run("lists", videos, tmp_path / "out", *lists)
    assert (status, "train and val share 1 group (g1)" in output) == (1, True)
    status, output = run("lists", videos, tmp_path, *lists)
    assert (status, "would overwrite those they are made of" in output) == (2, True)
