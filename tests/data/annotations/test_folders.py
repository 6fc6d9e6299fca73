"""Data sets with one folder per class: which files are videos, their order, their class indices."""

import os
import sys
from pathlib import Path

import pytest

from vexp.core.errors import UserError
from vexp.data.annotations.folders import read_folder


def rows(annotation):
    return [(annotation.name(i), int(annotation.labels(i)[0])) for i in range(len(annotation))]


def make_files(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


def test_read_folder_alternates_between_classes(tmp_path):
    root = make_files(
        tmp_path, "run/b.mp4", "run/a.mp4", "run/deep/c.MKV", "hop/x.avi", "walk/1.webm", "walk/2.mp4",
        "run/notes.txt", "run/thumb.jpg", "run/._a.mp4", ".hidden/z.mp4", "list.mp4", "empty/readme",
    )  # fmt: skip
    annotation = read_folder(root, None)
    assert annotation.classes == ["empty", "hop", "run", "walk"]
    assert rows(annotation) == [
        ("hop/x.avi", 1), ("run/a.mp4", 2), ("walk/1.webm", 3),  # the first of each class
        ("run/b.mp4", 2), ("walk/2.mp4", 3),  # the second
        ("run/deep/c.MKV", 2),
    ]  # fmt: skip
    assert annotation.path(0) == str(tmp_path / "hop" / "x.avi")


def test_read_folder_given_classes_number_the_folders(tmp_path):
    root = make_files(tmp_path, "run/a.mp4", "hop/b.mp4")
    annotation = read_folder(root, ["run", "swim", "hop"])  # a class without videos in this split
    assert annotation.classes == ["run", "swim", "hop"]
    assert rows(annotation) == [("run/a.mp4", 0), ("hop/b.mp4", 2)]
    with pytest.raises(UserError, match="folders hop, run are not among the 1 classes"):
        read_folder(root, ["walk"])


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ([], "no such folder; it must contain one folder"),
        (["video.mp4"], "contains no folder; put the videos"),
        (["run/readme.txt"], r"its class folders contain no video \(\.avi, \.flv"),
    ],
)
def test_read_folder_without_videos_raises(tmp_path, names, text):
    root = make_files(tmp_path / "set", *names)
    with pytest.raises(UserError, match=text):
        read_folder(root, None)


@pytest.mark.skipif(sys.platform == "win32", reason="links need permissions there")
def test_read_folder_links_to_themselves_are_no_videos(tmp_path):
    """As links to nothing."""
    root = make_files(tmp_path / "set", "run/a.mp4")
    (root / "run" / "loop.mp4").symlink_to("loop.mp4")
    (root / "run" / "nothing.mp4").symlink_to("none.mp4")
    (root / "run" / "up").symlink_to(root)
    (root / "loop").symlink_to("loop")
    assert rows(read_folder(root, None)) == [("run/a.mp4", 0)]
    with pytest.raises(UserError, match=r"set/loop: cannot be read as a folder of videos: Too many levels of symbolic"):
        read_folder(root, ["loop", "run"])
    with pytest.raises(UserError, match=r"set/run/a\.mp4: cannot be read as a folder of videos: Not a directory"):
        read_folder(root, ["run", "run/a.mp4"])


@pytest.mark.skipif(sys.platform != "linux", reason="file names are Unicode there")
def test_read_folder_file_name_not_utf8_can_be_opened(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    raw = os.fsencode(folder) + b"/caf\xe9.mp4"
    with open(raw, "wb") as file:
        file.write(b"x")
    annotation = read_folder(tmp_path, None)
    assert annotation.name(0) == os.fsdecode(b"run/caf\xe9.mp4")
    assert os.fsencode(annotation.path(0)) == raw
    assert Path(annotation.path(0)).read_bytes() == b"x"
