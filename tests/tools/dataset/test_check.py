"""``vexp dataset check`` finds every kind of fault, and none in a valid dataset."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support.archives import write_tar, write_zip

from vexp.tools.dataset.check import KINDS, NO_FAULT

Run = Callable[..., tuple[int, str]]
Check = Callable[..., tuple[int, dict[str, list[str]]]]


@pytest.fixture
def lists(tmp_path: Path) -> dict[str, Path]:
    rows = {
        "train": "run/a_g1.mp4,run,,,1\nrun/b_g1.mp4,run,,,1\njump/d_g3.mp4,jump,0,0.5,3\n",
        "val": "run/c_g2.avi,run,,,2\njump/e_g4.mp4,jump,,,4\n",
    }
    for split, lines in rows.items():
        (tmp_path / f"{split}.csv").write_text("path,label,start,end,group\n" + lines)
    return {split: tmp_path / f"{split}.csv" for split in rows}


@pytest.fixture
def check(run: Run, videos: Path, lists: dict[str, Path], tmp_path: Path) -> Check:
    def call(*arguments: object) -> tuple[int, dict[str, list[str]]]:
        of_lists = [argument for split, path in lists.items() for argument in (f"--{split}", path)]
        status, _ = run("check", videos, tmp_path / "report.json", *of_lists, *arguments)
        return status, json.loads((tmp_path / "report.json").read_text())["findings"]

    return call


def test_check_of_valid_dataset_finds_nothing(check: Check, tmp_path: Path, run: Run, videos: Path) -> None:
    assert check("--decode") == (0, {})
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["class_counts"] == {"train": {"jump": 1, "run": 2}, "val": {"jump": 1, "run": 1}}
    assert report["summary"]["frames"] == [20, 22, 24]
    assert report["summary"]["files"] == 5
    assert run("index", videos, tmp_path / "i.csv")[0] == 0
    assert check("--index", tmp_path / "i.csv") == (0, {})


def append(path: Path, line: str) -> None:
    path.write_text(path.read_text() + line + "\n")


def copy(videos: Path, name: str, to: str) -> str:
    shutil.copy(videos / name, videos / to)
    return to


def flip_bit(path: Path) -> None:
    """Flip one bit of the video data, which a decoder may not detect."""
    content = bytearray(path.read_bytes())
    content[content.index(b"mdat") + 2000] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("kind", "damage", "text"),
    [
        ("missing", lambda v, t, w: (v / "run/a_g1.mp4").unlink(), "run/a_g1.mp4: No such file"),
        ("unreadable", lambda v, t, w: (v / "run/a_g1.mp4").write_text("x"), "run/a_g1.mp4: cannot be read"),
        ("changed", lambda v, t, w: flip_bit(v / "jump/e_g4.mp4"), "jump/e_g4.mp4: "),
        (
            "out_of_range",
            lambda v, t, w: append(t, "jump/d_g3.mp4,jump,7,8,3"),
            "starts at 7 s, but the video is 0.92 s long",
        ),
        ("listed_twice", lambda v, t, w: append(t, "run/a_g1.mp4,run,,,1"), "train: run/a_g1.mp4 (2 times)"),
        ("duplicates", lambda v, t, w: copy(v, "run/a_g1.mp4", "run/b_g1.mp4"), "train: run/a_g1.mp4 = run/b_g1.mp4"),
        ("labels_conflict", lambda v, t, w: append(t, "run/a_g1.mp4,jump,,,1"), "run/a_g1.mp4 is jump and run"),
        ("leak_by_file", lambda v, t, w: append(w, "run/a_g1.mp4,run,,,"), "train, val: run/a_g1.mp4"),
        (
            "leak_by_content",
            lambda v, t, w: copy(v, "run/a_g1.mp4", "jump/e_g4.mp4"),
            "train, val: run/a_g1.mp4 = jump/e_g4.mp4",
        ),
        ("leak_by_group", lambda v, t, w: append(t, "run/x.mp4,run,,,4"), "train, val: 4"),
        ("class_without_samples", lambda v, t, w: append(t, "run/x.mp4,sit,,,"), "val: no sample of sit"),
        ("not_listed", lambda v, t, w: copy(v, "run/c_g2.avi", "run/more.avi"), "run/more.avi"),
        ("not_in_index", lambda v, t, w: append(t, copy(v, "run/c_g2.avi", "run/x.avi") + ",run,,,"), "run/x.avi"),
    ],
)  # fmt: skip
def test_check_finds_each_kind(
    kind: str,
    damage: Callable[[Path, Path, Path], object],
    text: str,
    check: Check,
    run: Run,
    videos: Path,
    lists: dict[str, Path],
    tmp_path: Path,
) -> None:
    run("index", videos, tmp_path / "i.csv")
    damage(videos, lists["train"], lists["val"])
    status, found = check("--index", tmp_path / "i.csv")
    assert status == (kind not in NO_FAULT)
    assert len(found[kind]) == 1
    assert text in found[kind][0]


def test_check_cases_cover_every_kind() -> None:
    (marks,) = (mark for mark in test_check_finds_each_kind.pytestmark if mark.name == "parametrize")
    assert {case[0] for case in marks.args[1]} == set(KINDS) - {"damaged"}  # "damaged" is tested in test_index.py


def test_check_resumes_after_interrupt(videos: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A check inspects every file, except after an interrupt."""
    from vexp.tools.dataset import file_info as file_info

    inspected: list[str] = []
    describe = file_info._describe_video

    def record_inspected(facts: file_info.FileInfo, path: Path, decode: bool) -> None:
        inspected.append(path.name)
        if inspected == ["d_g3.mp4", "e_g4.mp4"]:
            raise KeyboardInterrupt
        describe(facts, path, decode)

    monkeypatch.setattr(file_info, "_describe_video", record_inspected)
    assert run("check", videos, tmp_path / "r.json")[0] == 130
    assert run("check", videos, tmp_path / "r.json")[0] == 0
    assert inspected == ["d_g3.mp4", "e_g4.mp4", "e_g4.mp4", "a_g1.mp4", "b_g1.mp4", "c_g2.avi"]
    assert run("check", videos, tmp_path / "r.json")[0] == 0
    assert len(inspected) == 11


def test_check_folders_of_frames(videos: Path, tmp_path: Path, run: Run) -> None:
    frames = tmp_path / "frames"
    assert run("frames", videos, frames)[0] == 0
    arguments = ("check", frames, tmp_path / "r.json", "--train", frames / "lists/train.csv", "--decode")
    assert run(*arguments)[0] == 0
    (frames / "run/a_g1/img_00020.jpg").unlink()
    status, output = run(*arguments)
    assert status == 1
    assert "train: run/a_g1: the list says 20 frames, the video has 19" in output


def test_check_of_archive_finds_what_the_folder_has(
    run: Run, videos: Path, lists: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VEXP_CACHE", str(tmp_path / "cache"))
    (videos / "run" / "a_g1.mp4").write_bytes(b"no video")
    append(lists["train"], "run/missing.mp4,run,,,9")
    of_lists = [argument for split, path in lists.items() for argument in (f"--{split}", path)]
    reports = []
    for place in (
        videos,
        write_tar(tmp_path / "clips.tar", videos),
        f"zip://::{write_zip(tmp_path / 'c.zip', videos)}",
    ):
        status, _ = run("check", place, tmp_path / "report.json", *of_lists)
        report = json.loads((tmp_path / "report.json").read_text())
        reports.append((status, report["summary"], {kind: len(rows) for kind, rows in report["findings"].items()}))
    assert reports[0][2] == {"missing": 1, "unreadable": 1}
    assert reports[1:] == reports[:1] * 2
    assert run("index", tmp_path / "clips.tar", tmp_path / "i.csv")[0] == 1
    assert run("check", tmp_path / "clips.tar", tmp_path / "r.json", "--index", tmp_path / "i.csv")[0] == 1
    assert "changed" not in json.loads((tmp_path / "r.json").read_text())["findings"]


@pytest.mark.parametrize(
    ("place", "fragment"),
    [("https://me:word@host/a", "password"), ("no.zip", "no such archive"), ("$NO_VARIABLE", "is not set")],
)
def test_check_refuses_place(place: str, fragment: str, run: Run, tmp_path: Path) -> None:
    status, output = run("check", place, tmp_path / "r.json")
    assert status == 2
    assert fragment in output


def test_conversion_of_archive_is_refused(run: Run, videos: Path, tmp_path: Path) -> None:
    status, output = run("rescale", write_zip(tmp_path / "c.zip", videos), tmp_path / "out")
    assert status == 2
    assert "reads a folder of videos; unpack" in output
