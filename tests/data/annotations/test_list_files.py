"""List files in every published format: their rows, the detection of the format, and the report of bad lines."""

import numpy as np
import pytest

from vexp.core.errors import UserError
from vexp.data.annotations.list_files import detect, find_lists, read_list


def listed(tmp_path, text, *, name="train.txt", encoding="utf-8", **options):
    path = tmp_path / name
    path.write_bytes(text.encode(encoding))
    return read_list(path, **options)


def rows(annotation):
    return [(annotation.name(i), *annotation.labels(i).tolist()) for i in range(len(annotation))]


def refused(tmp_path, text, **options):
    with pytest.raises(UserError) as caught:
        listed(tmp_path, text, **options)
    return [line.removeprefix(f"{tmp_path}/") for line in str(caught.value).splitlines()]


# ---- videos: path label ----


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.mp4 0\nb.mp4 1\n", [("a.mp4", 0), ("b.mp4", 1)]),
        ("b.mp4 1\na.mp4 0", [("b.mp4", 1), ("a.mp4", 0)]),  # order of the list; no newline at the end
        ("my videos/a 1.mp4 2\n", [("my videos/a 1.mp4", 2)]),  # spaces in the path
        ("\n  \na.mp4 0\n\n\nb.mp4 0\n", [("a.mp4", 0), ("b.mp4", 0)]),  # blank lines
        ("  a.mp4   3  \r\nb.mp4 0\r\n", [("a.mp4", 3), ("b.mp4", 0)]),  # spaces around; Windows line ends
        ("a.mp4\t1\nmy b.mp4\t\t0\n", [("a.mp4", 1), ("my b.mp4", 0)]),  # tabs between, as mmaction2 allows
        ("\ufeffa.mp4 0\n", [("a.mp4", 0)]),  # the mark that Windows' editors put first
        ("видео/日本 é.mp4 1\n", [("видео/日本 é.mp4", 1)]),
        ("a.mp4 0\na.mp4 0\na.mp4 1\n", [("a.mp4", 0), ("a.mp4", 0), ("a.mp4", 1)]),  # a video may come again
        ("a.mp4 007\n", [("a.mp4", 7)]),
        ("clip_without_suffix 1\n", [("clip_without_suffix", 1)]),
    ],
)
def test_video_list_rows_are_read(tmp_path, text, expected):
    annotation = listed(tmp_path, text)
    assert annotation.format == "videos"
    assert annotation.origin == f"{tmp_path}/train.txt: text list of videos, 'path label' per line (detected)"
    assert rows(annotation) == expected
    assert annotation.labels_packed.dtype == np.int32
    assert not annotation.multi_label
    assert annotation.classes == [str(i) for i in range(max(label for _, label in expected) + 1)]


def test_video_list_number_after_path_without_suffix_is_part_of_path(tmp_path):
    assert rows(listed(tmp_path, "a 1 2\n", format="videos")) == [("a 1", 2)]


def test_video_list_several_labels_are_read(tmp_path):
    text = "a.mp4 0 2\nmy b.mp4 1\nc.mp4 2 1 0\n"
    annotation = listed(tmp_path, text)
    assert rows(annotation) == [("a.mp4", 0, 2), ("my b.mp4", 1), ("c.mp4", 2, 1, 0)]
    assert annotation.multi_label
    assert annotation.classes == ["0", "1", "2"]
    late = listed(tmp_path, "b.mp4 1\nb.mp4 0\na.mp4 0 2\n")  # the first with several labels comes after others
    assert rows(late) == [("b.mp4", 1), ("b.mp4", 0), ("a.mp4", 0, 2)]


def test_multi_label_option_overrides_detection(tmp_path):
    assert listed(tmp_path, "a.mp4 0\n", multi_label=True).multi_label  # one each, in this list
    assert rows(listed(tmp_path, "a 0 2\n", format="videos", multi_label=True)) == [("a", 0, 2)]  # whatever the suffix
    assert rows(listed(tmp_path, "a.mp4 0 2\n", multi_label=False)) == [("a.mp4 0", 2)]


def test_bad_lines_are_reported_in_one_message(tmp_path):
    text = "a.mp4 0\nb.mp4\nc.mp4 one\n\nd.mp4 -1\ne.mp4 2.0\nf.mp4 3\n g.mp4 2\nh.mp4 1700000000\n"
    assert refused(tmp_path, text, classes=["x", "y", "z"]) == [
        "train.txt:2: 'b.mp4' is not 'path label'",
        "train.txt:3: the label 'one' is not an integer from 0 to 999999",
        "train.txt:5: the label '-1' is not an integer from 0 to 999999",
        "train.txt:6: the label '2.0' is not an integer from 0 to 999999",
        "train.txt:7: label 3, but there are 3 classes (0..2)",
        "train.txt:9: the label '1700000000' is not an integer from 0 to 999999",  # as many classes, else
    ]


def test_many_bad_lines_first_are_listed_and_all_counted(tmp_path):
    lines = refused(tmp_path, "a.mp4\n" * 25)
    assert len(lines) == 21
    assert lines[19].startswith("train.txt:20:")
    assert lines[20] == "... and 5 more (25 in total)"


def test_line_not_utf8_is_reported(tmp_path):
    lines = refused(tmp_path, "a.mp4 0\ncafé.mp4 0\n", encoding="latin-1")
    assert lines == ["train.txt:2: not UTF-8 (invalid continuation byte at byte 3); save the list as UTF-8"]


@pytest.mark.parametrize("text", ["", "\n \n"])
def test_empty_list_raises(tmp_path, text):
    assert refused(tmp_path, text) == [
        "train.txt: contains no video; expected: text list of videos, 'path label' per line"
    ]


def test_unreadable_list_raises(tmp_path):
    for path in (tmp_path / "none.txt", tmp_path / "*.txt", tmp_path):
        with pytest.raises(UserError, match=r"no such file \(annotation list\)"):
            read_list(path)


def test_paths_are_relative_to_prefix_or_list(tmp_path):
    absolute = f"{tmp_path}/elsewhere/c.mp4"
    text = f"sub/a.mp4 0\n{absolute} 0\n"
    assert [listed(tmp_path, text).path(i) for i in (0, 1)] == [f"{tmp_path}/sub/a.mp4", absolute]
    prefixed = listed(tmp_path, text, prefix=f"{tmp_path}/videos")
    assert [prefixed.path(i) for i in (0, 1)] == [f"{tmp_path}/videos/sub/a.mp4", absolute]
    assert prefixed.name(0) == "sub/a.mp4"  # what reports call it does not move with the folder


def test_given_classes_are_kept(tmp_path):
    assert listed(tmp_path, "a.mp4 1\n", classes=["x", "y", "z"]).classes == ["x", "y", "z"]


def test_verify_reports_all_missing_files(tmp_path):
    (tmp_path / "b.mp4").write_bytes(b"")
    text = "a.mp4 0\nb.mp4 0\nc.mp4 0\n"
    assert len(listed(tmp_path, text)) == 3  # looking costs a request a file
    assert refused(tmp_path, text, verify=True) == [
        f"train.txt:1: no such file {tmp_path}/a.mp4",
        f"train.txt:3: no such file {tmp_path}/c.mp4",
    ]


# ---- raw frames ----


def test_frame_list_rows_are_read(tmp_path):
    annotation = listed(tmp_path, "some/dir 120 3\nmy dir/x 7 0\n")
    assert annotation.format == "frames"
    assert rows(annotation) == [("some/dir", 3), ("my dir/x", 0)]
    assert [annotation.frames(i) for i in (0, 1)] == [(0, 120), (0, 7)]
    assert annotation.path(0) == f"{tmp_path}/some/dir"


def test_frame_list_with_offset_rows_are_read(tmp_path):
    annotation = listed(tmp_path, "dir 30 120 3\nother 0 9 1\n", format="frames_with_offset")
    assert rows(annotation) == [("dir", 3), ("other", 1)]
    assert [annotation.frames(i) for i in (0, 1)] == [(30, 120), (0, 9)]


def test_frame_list_several_labels_are_read(tmp_path):
    annotation = listed(tmp_path, "my dir 120 3 1\nother 9 0\n", format="frames", multi_label=True)
    assert rows(annotation) == [("my dir", 3, 1), ("other", 0)]
    assert [annotation.frames(i) for i in (0, 1)] == [(0, 120), (0, 9)]
    shifted = listed(tmp_path, "dir 5 120 3 1\n", format="frames_with_offset", multi_label=True)
    assert (rows(shifted), shifted.frames(0)) == ([("dir", 3, 1)], (5, 120))


def test_frame_list_bad_lines_are_reported(tmp_path):
    assert refused(tmp_path, "dir 3\ndir 0 1\ndir x 1\ndir 7 x\ndir 9999999999 0\n", format="frames") == [
        "train.txt:1: 'dir 3' is not 'folder total_frames label'",
        "train.txt:2: total_frames '0' is not an integer >= 1",
        "train.txt:3: total_frames 'x' is not an integer >= 1",
        "train.txt:4: the label 'x' is not an integer from 0 to 999999",
        "train.txt:5: total_frames '9999999999' is not an integer >= 1",
    ]
    assert refused(tmp_path, "dir 7 3\ndir -1 7 3\n", format="frames_with_offset") == [
        "train.txt:1: 'dir 7 3' is not 'folder offset total_frames label'",
        "train.txt:2: offset '-1' is not an integer >= 0",
    ]


@pytest.mark.parametrize("text", ["dir 30 120 3\n", "dir 120 3\nother 7 3 1\n"])
def test_detect_ambiguous_numbers_raises(tmp_path, text):
    (line,) = refused(tmp_path, text)
    assert "are ambiguous; set data.format=frames_with_offset" in line


# ---- SlowFast ----


@pytest.mark.parametrize(
    ("text", "separator"),
    [
        ("my videos/a.mp4 0\nb.mp4 1\n", None),
        ("my videos/a.mp4,0\nb.mp4,1\n", None),  # PATH_LABEL_SEPARATOR ","
        ("my videos/a.mp4|0\nb.mp4|1\n", "|"),
        ("my videos/a.mp4 , 0\nb.mp4 , 1\n", ","),
        ("my videos/a.mp4::0\nb.mp4::1\n", "::"),  # no separator of columns, so no table
    ],
)
def test_slowfast_list_rows_are_read(tmp_path, text, separator):
    annotation = listed(tmp_path, text, name="train.csv", separator=separator)
    assert (annotation.format, rows(annotation)) == ("slowfast", [("my videos/a.mp4", 0), ("b.mp4", 1)])


# ---- UCF-101, HMDB-51 ----

TRAINLIST = "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1\r\nYoYo/v_YoYo_g09_c02.avi 101\r\n"
TESTLIST = "YoYo/v_YoYo_g01_c01.avi\r\nHandstandPushups/v_HandStandPushups_g01_c02.avi\r\n"


def test_ucf101_list_rows_are_read(tmp_path):
    names = ["ApplyEyeMakeup", "HandstandPushups", "YoYo"]
    (tmp_path / "classInd.txt").write_text("".join(f"{i} {name}\r\n" for i, name in enumerate(names, 1)))
    train = listed(tmp_path, TRAINLIST, name="trainlist01.txt")
    assert train.format == "ucf101"
    assert train.classes == names  # of classInd.txt beside the list
    assert rows(train) == [
        ("ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi", 0), ("YoYo/v_YoYo_g09_c02.avi", 2),  # from 0, not from 1
    ]  # fmt: skip
    assert [train.group(i) for i in (0, 1)] == ["v_ApplyEyeMakeup_g08", "v_YoYo_g09"]
    test = listed(tmp_path, TESTLIST, name="testlist01.txt")
    assert rows(test) == [("YoYo/v_YoYo_g01_c01.avi", 2), ("HandstandPushups/v_HandStandPushups_g01_c02.avi", 1)]


def test_ucf101_without_class_list_is_read(tmp_path):
    train = listed(tmp_path, TRAINLIST, name="mine.txt", format="ucf101")
    assert (train.classes, train.labels_packed.tolist()) == (["ApplyEyeMakeup", "YoYo"], [0, 1])
    assert refused(tmp_path, "a.avi 1\nYoYo/v_YoYo_g01_c01.avi 1 2\n", format="ucf101") == [
        "train.txt:1: 'a.avi 1' is not 'Class/v_Class_gNN_cNN.avi' with or without a number after it",
        "train.txt:2: 'YoYo/v_YoYo_g01_c01.avi 1 2' is not 'Class/v_Class_gNN_cNN.avi' with or without a number "
        "after it",
    ]


def hmdb51(tmp_path):
    (tmp_path / "brush_hair_test_split1.txt").write_text("April 09_0.avi 1 \nAtheism_1.avi 2 \nx.avi 0 \n")
    (tmp_path / "wave_test_split1.txt").write_text("w1.avi 2 \nw2.avi 1 \n")
    (tmp_path / "wave_test_split2.txt").write_text("w1.avi 1 \nw2.avi 1 \n")
    return tmp_path / "*_test_split1.txt"


def test_hmdb51_files_rows_are_read(tmp_path):
    pattern = hmdb51(tmp_path)
    train, val, test = (read_list(pattern, split=split) for split in ("train", "val", "test"))
    assert (train.format, train.classes) == ("hmdb51", ["brush_hair", "wave"])
    assert rows(train) == [("brush_hair/April 09_0.avi", 0), ("wave/w2.avi", 1)]
    assert rows(val) == rows(test) == [("brush_hair/Atheism_1.avi", 0), ("wave/w1.avi", 1)]
    assert find_lists(pattern) == [tmp_path / f"{name}_test_split1.txt" for name in ("brush_hair", "wave")]


def test_hmdb51_bad_lines_are_reported_with_their_file(tmp_path):
    pattern = hmdb51(tmp_path)
    (tmp_path / "wave_test_split1.txt").write_text("w1.avi 3\nw2.avi\n")
    with pytest.raises(UserError) as caught:
        read_list(pattern)
    assert str(caught.value).splitlines() == [
        f"{tmp_path}/wave_test_split1.txt:1: 'w1.avi 3' is not 'video.avi' followed by 0, 1 or 2",
        f"{tmp_path}/wave_test_split1.txt:2: 'w2.avi' is not 'video.avi' followed by 0, 1 or 2",
    ]


def test_pattern_of_other_format_raises(tmp_path):
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("v.mp4 0\n")
    with pytest.raises(UserError, match=r"2 files match; only a split of HMDB-51 has a file for each class"):
        read_list(tmp_path / "*.txt")


# ---- detection ----


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("x.txt", "a.mp4 0\n", "videos"),
        ("x.list", "a.mp4 0\n", "videos"),
        ("x.txt", "d1 10 0\nd2 20 1\n", "frames"),
        ("x.txt", "a.mp4 3 1\nb.mp4 0\n", "videos"),  # several labels
        ("x.csv", "a.mp4 0\n", "slowfast"),
        ("x.csv", "path,label\na.mp4,0\n", "csv"),
        ("x.tsv", "path\tlabel\na.mp4\t0\n", "csv"),
        ("x.txt", "path\tlabel\na.mp4\t0\n", "csv"),
        ("x.csv", "Filename;Class\na.mp4;0\n", "csv"),
        ("x.csv", "label,youtube_id,time_start,time_end,split\nrun,abc,0,10,train\n", "kinetics"),
        ("x.json", '[{"filename": "a.mp4", "label": 0}]', "json"),
        ("x.jsonl", '{"path": "a.mp4", "label": "run"}\n', "json"),
        ("x.json", '[{"id": "1", "label": "holding a pen", "template": "Holding [something]"}]', "something_something"),
        ("trainlist02.txt", "Run/v_Run_g01_c01.avi 1\n", "ucf101"),
        ("ucf101_train_split_1_videos.txt", "Run/v_Run_g01_c01.avi 0\n", "videos"),  # mmaction2's, numbered from 0
        ("wave_test_split3.txt", "w.avi 1\n", "hmdb51"),
    ],
)
def test_detect_returns_format(tmp_path, name, text, expected):
    (tmp_path / name).write_text(text)
    assert detect(tmp_path / name) == expected


def test_detect_long_list_uses_first_lines(tmp_path, monkeypatch):
    monkeypatch.setattr("vexp.data.annotations.list_files._HEAD", 20)
    (tmp_path / "x.txt").write_text("d1 10 0\nd2 20 1\nd3 30 0 0 0\n")  # the cut third line does not count
    assert detect(tmp_path / "x.txt") == "frames"


@pytest.mark.parametrize(
    ("text", "options"),
    [
        (",a.mp4\n", {"separator": ","}),  # no path
        (f"folder {'9' * 5000} 0\n", {"format": "frames"}),
        (f"folder {'9' * 5000} 3 0\n", {"format": "frames_with_offset"}),
        (f"a.mp4 {'9' * 5000}\n", {}),
    ],
)
def test_odd_line_is_a_bad_line(tmp_path, text, options):
    path = tmp_path / "x.txt"
    path.write_text(text)
    with pytest.raises(UserError, match=r"x\.txt:1: "):
        read_list(path, **options)
