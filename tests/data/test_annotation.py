"""Lists, folders and class names -> packed arrays; every bad line is named."""

import os
import sys

import numpy as np
import pytest

from vexp.data.annotation import Annotation, pick, read_classes, read_folder, read_video_list
from vexp.errors import UserError


def listed(tmp_path, text, *, prefix="", classes=None, encoding="utf-8"):
    path = tmp_path / "train.txt"
    path.write_bytes(text.encode(encoding))
    return read_video_list(path, prefix, classes)


def rows(annotation):
    return [(annotation.name(i), int(annotation.labels[i])) for i in range(len(annotation))]


# ---- text lists ----


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.mp4 0\nb.mp4 1\n", [("a.mp4", 0), ("b.mp4", 1)]),
        ("b.mp4 1\na.mp4 0", [("b.mp4", 1), ("a.mp4", 0)]),  # order of the list; no newline at the end
        ("my videos/a 1.mp4 2\n", [("my videos/a 1.mp4", 2)]),  # spaces in the path
        ("a 1 2\n", [("a 1", 2)]),  # the last word is the label
        ("\n  \na.mp4 0\n\n\nb.mp4 0\n", [("a.mp4", 0), ("b.mp4", 0)]),  # blank lines
        ("  a.mp4   3  \r\nb.mp4 0\r\n", [("a.mp4", 3), ("b.mp4", 0)]),  # spaces around; Windows line ends
        ("a.mp4\t1\nmy b.mp4\t\t0\n", [("a.mp4", 1), ("my b.mp4", 0)]),  # tabs between, as mmaction2 allows
        ("\ufeffa.mp4 0\n", [("a.mp4", 0)]),  # the mark that Windows' editors put first
        ("видео/日本 é.mp4 1\n", [("видео/日本 é.mp4", 1)]),
        ("a.mp4 0\na.mp4 0\na.mp4 1\n", [("a.mp4", 0), ("a.mp4", 0), ("a.mp4", 1)]),  # a video may come again
        ("a.mp4 007\n", [("a.mp4", 7)]),
    ],
)
def test_a_text_list(tmp_path, text, expected):
    annotation = listed(tmp_path, text)
    assert rows(annotation) == expected
    assert annotation.labels.dtype == np.int64
    assert annotation.classes == [str(i) for i in range(max(label for _, label in expected) + 1)]


def test_all_bad_lines_are_named_in_one_message(tmp_path):
    text = "a.mp4 0\nb.mp4\nc.mp4 one\n\nd.mp4 -1\ne.mp4 2.0\nf.mp4 3\n g.mp4 2\nh.mp4 1700000000\n"
    with pytest.raises(UserError) as caught:
        listed(tmp_path, text, classes=["x", "y", "z"])
    path = tmp_path / "train.txt"
    assert str(caught.value).splitlines() == [
        f"{path}:2: 'b.mp4' is not 'path label'",
        f"{path}:3: the label 'one' is not a whole number from 0 to 999999",
        f"{path}:5: the label '-1' is not a whole number from 0 to 999999",
        f"{path}:6: the label '2.0' is not a whole number from 0 to 999999",
        f"{path}:7: label 3, but there are 3 classes (0..2)",
        f"{path}:9: the label '1700000000' is not a whole number from 0 to 999999",  # as many classes, else
    ]


def test_of_many_bad_lines_the_first_are_named_and_the_rest_counted(tmp_path):
    with pytest.raises(UserError) as caught:
        listed(tmp_path, "a.mp4\n" * 25)
    lines = str(caught.value).splitlines()
    assert len(lines) == 21
    assert lines[19].startswith(f"{tmp_path / 'train.txt'}:20:")
    assert lines[20] == "... and 5 more bad lines"


@pytest.mark.parametrize("text", ["", "\n \n"])
def test_an_empty_list_is_refused(tmp_path, text):
    with pytest.raises(UserError, match=r"train\.txt: holds no video; write one 'path label' a line"):
        listed(tmp_path, text)


def test_a_list_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match=r"none\.txt: no such file \(annotation list\)"):
        read_video_list(tmp_path / "none.txt", "", None)
    with pytest.raises(UserError, match=r"cannot be read as annotation list: .*utf-8"):
        listed(tmp_path, "café.mp4 0\n", encoding="latin-1")
    with pytest.raises(UserError, match=r"cannot be read as annotation list: .*Is a directory"):
        read_video_list(tmp_path, "", None)


def test_paths_are_relative_to_the_prefix_or_to_the_list(tmp_path):
    absolute = tmp_path / "elsewhere" / "c.mp4"
    text = f"sub/a.mp4 0\n{absolute} 0\n"
    assert [listed(tmp_path, text).path(i) for i in (0, 1)] == [tmp_path / "sub" / "a.mp4", absolute]
    prefixed = listed(tmp_path, text, prefix=str(tmp_path / "videos"))
    assert [prefixed.path(i) for i in (0, 1)] == [tmp_path / "videos" / "sub" / "a.mp4", absolute]
    assert prefixed.name(0) == "sub/a.mp4"  # what reports call it does not move with the folder


def test_given_class_names_are_kept_whether_they_occur_or_not(tmp_path):
    assert listed(tmp_path, "a.mp4 1\n", classes=["x", "y", "z"]).classes == ["x", "y", "z"]


# ---- class names ----


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("run\njump\n", ["run", "jump"]),
        ("run\njump\n\n \n", ["run", "jump"]),  # blank lines at the end
        ("  riding a bike \r\nçöğ\r\n", ["riding a bike", "çöğ"]),
        ("\ufeffrun\n", ["run"]),
    ],
)
def test_class_names(tmp_path, text, names):
    path = tmp_path / "classes.txt"
    path.write_bytes(text.encode())
    assert read_classes(path) == names


def test_class_names_that_cannot_number_classes_are_refused(tmp_path):
    path = tmp_path / "classes.txt"
    path.write_text("run\n\njump\nrun\n run\n")
    with pytest.raises(UserError) as caught:
        read_classes(path)
    assert str(caught.value).splitlines() == [
        f"{path}:2: is empty",  # a number would be left without a name
        f"{path}:4: repeats 'run' of line 1",
        f"{path}:5: repeats 'run' of line 1",
    ]
    path.write_text("\n\n")
    with pytest.raises(UserError, match=r"holds no class name; write one a line"):
        read_classes(path)
    with pytest.raises(UserError, match=r"none\.txt: no such file \(class names\)"):
        read_classes(tmp_path / "none.txt")


# ---- a folder per class ----


def make_files(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


def test_a_folder_per_class_lists_the_classes_in_turn(tmp_path):
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
    assert annotation.path(0) == tmp_path / "hop" / "x.avi"


def test_given_classes_number_the_folders(tmp_path):
    root = make_files(tmp_path, "run/a.mp4", "hop/b.mp4")
    annotation = read_folder(root, ["run", "swim", "hop"])  # a class without videos in this split
    assert annotation.classes == ["run", "swim", "hop"]
    assert rows(annotation) == [("run/a.mp4", 0), ("hop/b.mp4", 2)]
    with pytest.raises(UserError, match="folders hop, run are not among the 1 classes"):
        read_folder(root, ["walk"])


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ([], "no such folder; it must hold one folder of videos a class"),
        (["video.mp4"], "holds no folder; put the videos of each class into a folder named after it"),
        (["run/readme.txt"], r"its class folders hold no video \(\.avi, \.flv"),
    ],
)
def test_a_folder_that_is_no_data_set(tmp_path, names, text):
    root = make_files(tmp_path / "set", *names)
    with pytest.raises(UserError, match=text):
        read_folder(root, None)


@pytest.mark.skipif(sys.platform != "linux", reason="file names are Unicode there")
def test_a_file_name_that_is_not_utf8_can_be_opened(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    raw = os.fsencode(folder) + b"/caf\xe9.mp4"
    with open(raw, "wb") as file:
        file.write(b"x")
    annotation = read_folder(tmp_path, None)
    assert annotation.name(0) == os.fsdecode(b"run/caf\xe9.mp4")
    assert os.fsencode(annotation.path(0)) == raw
    assert annotation.path(0).read_bytes() == b"x"


# ---- packing and choosing ----

NAMES = ["a", "", "日本", "d" * 300, "e e"]


def packed():
    return Annotation.pack(NAMES, [0, 1, 2, 1, 0], ["x", "y", "z"], "/videos")


def test_packed_names_come_back():
    annotation = packed()
    assert len(annotation) == 5
    assert [annotation.name(i) for i in range(5)] == NAMES


def test_take_keeps_everything_else():
    taken = packed().take([4, 2, 2])
    assert rows(taken) == [("e e", 0), ("日本", 2), ("日本", 2)]
    assert (taken.classes, taken.prefix) == (["x", "y", "z"], "/videos")  # all classes, whoever is left
    assert len(packed().take([])) == 0


@pytest.mark.parametrize(
    ("indices", "chosen"),
    [
        (None, [0, 1, 2, 3, 4]),
        (2, [0, 1]),  # the first two
        (-2, [3, 4]),  # the last two
        (5, [0, 1, 2, 3, 4]),
        (99, [0, 1, 2, 3, 4]),  # there are no more
        (-99, [0, 1, 2, 3, 4]),
        ([3], [3]),
        ([3, 0, 3], [3, 0, 3]),  # in this order, and again
        ([-1, -5], [4, 0]),  # from the end, as Python counts
    ],
)
def test_pick(indices, chosen):
    picked = pick(packed(), indices, "data.train.indices")
    assert rows(picked) == [rows(packed())[i] for i in chosen]


@pytest.mark.parametrize(("indices", "first"), [([0, 5], 5), ([-6], -6), ([1, 77, 99], 77)])
def test_pick_refuses_numbers_outside(indices, first):
    with pytest.raises(UserError, match=rf"data.val.indices: {first} is outside 0\.\.4, the videos of this split"):
        pick(packed(), indices, "data.val.indices")
