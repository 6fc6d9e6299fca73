"""Lists with named values: tables with a header, JSON, Kinetics, Something-Something."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vexp.core.errors import UserError
from vexp.data.annotations import tables
from vexp.data.annotations.list_files import read_list


def listed(tmp_path, name, text, **options):
    path = tmp_path / name
    path.write_text(text if isinstance(text, str) else json.dumps(text))
    return read_list(path, **options)


def rows(annotation):
    return [(annotation.name(i), *annotation.labels(i).tolist()) for i in range(len(annotation))]


def refused(tmp_path, name, text, **options):
    with pytest.raises(UserError) as caught:
        listed(tmp_path, name, text, **options)
    return [line.removeprefix(f"{tmp_path}/") for line in str(caught.value).splitlines()]


# ---- tables ----

TABLE = """path,label,start,end,group,total_frames,note
a.mp4,run,1.5,4,,,x
"my, b.mp4",hop,,,g2,,
c.mp4,run,,2,g1,7,
"""


def test_table_rows_are_read(tmp_path):
    annotation = listed(tmp_path, "train.csv", TABLE)
    assert annotation.format == "csv"
    assert annotation.classes == ["hop", "run"]  # names, by the alphabet
    assert rows(annotation) == [("a.mp4", 1), ("my, b.mp4", 0), ("c.mp4", 1)]
    assert [annotation.segment(i) for i in range(3)] == [(1.5, 4.0), None, (0.0, 2.0)]
    assert [annotation.group(i) for i in range(3)] == ["", "g2", "g1"]
    assert [annotation.frames(i) for i in range(3)] == [None, None, (0, 7)]
    tabs = listed(tmp_path, "train.tsv", TABLE.replace('"my, b.mp4"', "my; b.mp4").replace(",", "\t"))
    assert rows(tabs) == [("a.mp4", 1), ("my; b.mp4", 0), ("c.mp4", 1)]


def test_absent_columns_need_no_memory(tmp_path):
    annotation = listed(tmp_path, "train.csv", "path,label\na.mp4,3\n")
    assert (annotation.groups, annotation.segments, annotation.frame_ranges) == (None, None, None)


@pytest.mark.parametrize(
    ("labels", "given", "classes", "numbers"),
    [
        (["2", "0", "2"], None, ["0", "1", "2"], [2, 0, 2]),  # numbers
        (["b", "a", "b"], None, ["a", "b"], [1, 0, 1]),  # names
        (["b", "a"], ["b", "x", "a"], ["b", "x", "a"], [0, 2]),  # names of a class list
        (["1", "0"], ["x", "y"], ["x", "y"], [1, 0]),  # numbers of a class list
        (["7", "3"], ["3", "7"], ["3", "7"], [1, 0]),  # what is a name is a name
        (["hi", "7"], ["7", "hi"], ["7", "hi"], [1, 0]),
    ],
)
def test_table_labels_are_numbers_or_names(tmp_path, labels, given, classes, numbers):
    text = "path,label\n" + "".join(f"{i}.mp4,{label}\n" for i, label in enumerate(labels))
    annotation = listed(tmp_path, "train.csv", text, classes=given)
    assert (annotation.classes, annotation.labels_packed.tolist()) == (classes, numbers)


def test_table_labels_are_separated_by_semicolons(tmp_path):
    annotation = listed(tmp_path, "train.csv", "path,labels\na.mp4,run; hop\nb.mp4,hop\n")
    assert (annotation.multi_label, rows(annotation)) == (True, [("a.mp4", 1, 0), ("b.mp4", 0)])
    bare = listed(tmp_path, "train.csv", "path,labels\na.mp4,\nb.mp4,hop\n", multi_label=True)
    assert rows(bare) == [("a.mp4",), ("b.mp4", 0)]  # none of the classes is to be seen
    lines = refused(tmp_path, "train.csv", "path,labels\na.mp4,run;hop\nb.mp4,\n", multi_label=False)
    assert lines == [
        "train.csv:2: has 2 labels; data.multi_label=true allows several",
        "train.csv:3: has no label",
    ]


def test_table_bad_rows_are_reported(tmp_path):
    text = (
        "path,label,start,end,total_frames\n"
        "a.mp4,run,,,\n"
        ",run,,,\n"
        "b.mp4,,,,\n"
        "c.mp4,run\n"
        "d.mp4,run,x,,\n"
        "e.mp4,run,4,2,\n"
        "f.mp4,run,-1,2,\n"
        "g.mp4,run,,,0\n"
        "h.mp4,rnu,,,\n"
        "i.mp4,run,inf,,\n"
    )
    assert refused(tmp_path, "train.csv", text, classes=["run", "hop"]) == [
        "train.csv:3: has no path (any of path, filename, frame_dir, video, video_path, file)",
        "train.csv:4: has no label",
        "train.csv:5: has 2 columns, the header has 5",
        "train.csv:6: start 'x' is not a time in seconds",
        "train.csv:7: the segment ends at 2 s, before it starts",
        "train.csv:8: start '-1' is not a time in seconds",
        "train.csv:9: total_frames 0 is not an integer >= 1",
        "train.csv:10: label 'rnu' is not one of the 2 classes; did you mean 'run'?",
        "train.csv:11: start 'inf' is not a time in seconds",
    ]


def test_labels_mixing_numbers_and_names_are_reported(tmp_path):
    text = "path,label\na.mp4,0\nb.mp4,1a\nc.mp4,1\n"
    assert refused(tmp_path, "train.csv", text) == [
        "train.csv:3: the label '1a' is not a number, but others are; set data.classes=FILE to use names"
    ]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("path,name\na.mp4,0\n", "train.csv:1: no column 'label' in the header 'path,name'"),
        ("path,label,filename\na.mp4,0,b\n", "train.csv:1: two columns give the path: path, filename, frame_dir, "),
        ("path,label\n", "train.csv: contains no video; expected: table with a header"),
    ],
)
def test_invalid_table_raises(tmp_path, text, why):
    assert refused(tmp_path, "train.csv", text, format="csv")[0].startswith(why)


def test_table_of_several_splits_selects_rows_of_split(tmp_path):
    text = "path,label,split\na.mp4,0,train\nb.mp4,1,validation\nc.mp4,1,Test\nd.mp4,1,training\n"
    found = {split: rows(listed(tmp_path, "all.csv", text, split=split)) for split in ("train", "val", "test")}
    assert found == {
        "train": [("a.mp4", 0), ("d.mp4", 1)], "val": [("b.mp4", 1)], "test": [("c.mp4", 1)]
    }  # fmt: skip
    records = [{"path": "a.mp4", "label": 0, "split": "train"}, {"path": "b.mp4", "label": 0, "split": "val"}]
    assert rows(listed(tmp_path, "all.json", records, split="val")) == [("b.mp4", 0)]
    one = "path,label,split\na.mp4,0,holdout\n"
    assert rows(listed(tmp_path, "val.csv", one, split="test")) == [("a.mp4", 0)]  # all of one split: all are wanted
    lines = refused(tmp_path, "all.csv", text + "e.mp4,0,extra\n")
    assert lines[0].startswith(f"{'all.csv'}: split 'extra' is not one of ")


# ---- Kinetics ----

KINETICS = 'label,youtube_id,time_start,time_end,split\ntesting apple,-0OL,7,17,{0}\n"yoga, hot",zz_,0.0,10.0,{0}\n'


def test_kinetics_table_rows_are_read(tmp_path):
    annotation = listed(tmp_path, "train.csv", KINETICS.format("train"))
    assert (annotation.format, annotation.classes) == ("kinetics", ["testing apple", "yoga, hot"])
    assert rows(annotation) == [("-0OL_000007_000017.mp4", 0), ("zz__000000_000010.mp4", 1)]
    assert annotation.segment(0) is None  # the file is cut already
    val = listed(tmp_path, "validate.csv", KINETICS.format("validate"), split="test", classes=annotation.classes)
    assert len(val) == 2


def test_kinetics_file_name_option_names_files(tmp_path):
    name = "{label}/{youtube_id}_{time_start:06d}.mkv"
    annotation = listed(tmp_path, "train.csv", KINETICS.format("train"), file_name=name)
    assert annotation.name(0) == "testing apple/-0OL_000007.mkv"
    lines = refused(tmp_path, "train.csv", KINETICS.format("train"), file_name="{id}.mp4")
    assert lines == [
        "data.file_name={id}.mp4: 'id' is not a column; columns: label, youtube_id, time_start, time_end, split"
    ]


@pytest.mark.parametrize("name", ["{youtube_id", "{}.mp4", "{youtube_id:d}.mp4", "{youtube_id.x}.mp4"])
def test_invalid_file_name_template_raises(tmp_path, name):
    (line,) = refused(tmp_path, "train.csv", KINETICS.format("train"), file_name=name)
    assert line.startswith(f"data.file_name={name}: is not a valid template: ")


def test_table_separator_of_several_characters_raises(tmp_path):
    """Blanks around it do not count; the csv module would end in a TypeError."""
    spaced = listed(tmp_path, "train.csv", "path, label\na.mp4, run\n", separator=", ")
    assert (spaced.format, rows(spaced)) == ("csv", [("a.mp4", 0)])
    (line,) = refused(tmp_path, "train.csv", "path::label\na.mp4::run\n", separator="::", format="csv")
    assert line.startswith("data.separator=::: the columns of a table")


def test_kinetics_bad_rows_are_reported(tmp_path):
    text = KINETICS.format("train") + "run,abc,x,10,train\n,abc,0,10,train\n"
    assert refused(tmp_path, "train.csv", text) == [
        "train.csv:4: time_start 'x', time_end '10' are not both numbers",
        "train.csv:5: has no label",
    ]
    assert refused(tmp_path, "a.csv", "path,label\na.mp4,0\n", format="kinetics") == [
        "a.csv:1: the header of Kinetics' tables is label,youtube_id,time_start,time_end,split"
    ]


# ---- JSON ----


def test_json_of_mmaction2_is_read(tmp_path):
    videos = [{"filename": "a.mp4", "label": [1]}, {"filename": "b.mp4", "label": [0]}]
    annotation = listed(tmp_path, "train.json", videos)
    assert (annotation.format, rows(annotation), annotation.multi_label) == (
        "json",
        [("a.mp4", 1), ("b.mp4", 0)],
        False,
    )
    frames = [{"frame_dir": "d", "total_frames": 30, "offset": 4, "label": 2}, {"frame_dir": "e", "label": 0}]
    annotation = listed(tmp_path, "train.json", frames)
    assert (rows(annotation), annotation.classes) == ([("d", 2), ("e", 0)], ["0", "1", "2"])
    assert [annotation.frames(i) for i in (0, 1)] == [(4, 30), None]


def test_json_records_are_read(tmp_path):
    records = [
        {"path": "a.mp4", "label": "run", "group": 7},
        {"path": "b.mp4", "label": ["hop", "run"], "start": 1, "end": 2.5, "unknown": {"deep": [1]}},
    ]
    for name, text in (("x.json", json.dumps(records, indent=1)), ("x.jsonl", "\n".join(map(json.dumps, records)))):
        annotation = listed(tmp_path, name, text)
        assert rows(annotation) == [("a.mp4", 1), ("b.mp4", 0, 1)]
        assert [annotation.group(i) for i in (0, 1)] == ["7", ""]
        assert [annotation.segment(i) for i in (0, 1)] == [None, (1.0, 2.5)]


def test_json_bad_records_are_reported_with_their_line(tmp_path):
    text = (
        '[\n{"path": "a.mp4", "label": 0},\n{"label": 0},\n"x",\n{"path": "b.mp4",\n "label": 1.5},\n{"path": "c"}\n]'
    )
    assert refused(tmp_path, "x.json", text) == [
        "x.json:3: has no path (any of path, filename, frame_dir, video, video_path, file)",
        'x.json:4: "x" is not a record {...}',
        "x.json:5: the label 1.5 is neither an integer nor a name",
        "x.json:7: has no label",
    ]
    assert refused(tmp_path, "x.json", '[\n{"path": "a", "label": 0},\n{"path" "b"}]')[0].startswith(
        "x.json:3: invalid JSON: Expecting ':'"
    )
    assert refused(tmp_path, "x.json", '[{"path": "a", "label": 0}, {"path": "b", ')[0].startswith(
        "x.json:1: invalid JSON"
    )


#: JSON that is valid, and no value that a list has.
ODD = [
    "null", "true", "-1", "1e999", "NaN", "[]", "{}", "[[1]]", '{"a": 1}', '"\\ud800"', '"\\u0000"', '"\u0663"',
    "9" * 4000, "9" * 5000, '"' + "9" * 5000 + '"', "[" * 980 + "]" * 980, '{"a":' * 100_000, "[" * 100_000,
]  # fmt: skip


def message_of(tmp_path, text, **options):
    """Return the message with which a list is refused; empty if it is read."""
    try:
        listed(tmp_path, "x.json", text, **options)
    except UserError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("value", ODD, ids=lambda value: value[:12])
@pytest.mark.parametrize(
    "key", ["path", "label", "start", "end", "group", "offset", "total_frames", "split", "id", "template", "unknown"]
)
def test_json_odd_value_is_read_or_refused(tmp_path, key, value):
    something = key in ("id", "template")
    record = {"id": '"1"', "template": '"a"'} if something else {"path": '"a.mp4"', "label": "0"}
    line = "{" + ",".join(f'"{name}":{text}' for name, text in (record | {key: value}).items()) + "}"
    for text in (f"[{line}]", f'{{"path":"b.mp4","label":1,"split":"val"}}\n{line}', value):
        for multi_label in (None, True):
            message = message_of(tmp_path, text, multi_label=multi_label)
            assert message.startswith(f"{tmp_path}/x.json") or not message


@pytest.mark.parametrize("template", ["{id:c}", "{id[0]}", "{0}", "{", "{id.name}", "{id:d}"])
@pytest.mark.parametrize("value", ["[]", "null", '"a"', "99999999999", "1"])
def test_json_file_name_of_odd_value_raises_or_fills(tmp_path, template, value):
    message = message_of(tmp_path, f'[{{"id": {value}, "template": "a"}}]', file_name=template)
    assert message.startswith("data.file_name=") or not message


@settings(max_examples=50, deadline=None)
@given(
    records=st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=9) | st.integers() | st.lists(st.none()))),
    chunk=st.integers(1, 30),
    indent=st.sampled_from([None, 0, 2]),
)
def test_json_records_do_not_depend_on_chunk_size(tmp_path_factory, records, chunk, indent):
    path = tmp_path_factory.mktemp("json") / "x.json"
    path.write_text(json.dumps(records, indent=indent))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "_CHUNK", chunk)
        found = list(tables._records(path))
    assert [record for _, record in found] == records
    if indent is not None:
        lines = path.read_text().split("\n")
        assert all(lines[line - 1].strip().startswith("{") for line, _ in found)


# ---- Something-Something ----

SOMETHING = [
    {"id": "78687", "label": "holding a potato", "template": "Holding [something]", "placeholders": ["a potato"]},
    {"id": 42326, "label": "pushing a pen from left to right", "template": "Pushing [something] from left to right"},
]


def test_something_something_records_are_read(tmp_path):
    annotation = listed(tmp_path, "train.json", SOMETHING)
    assert annotation.format == "something_something"
    assert annotation.classes == ["Holding something", "Pushing something from left to right"]
    assert rows(annotation) == [("78687.webm", 0), ("42326.webm", 1)]
    given = listed(tmp_path, "train.json", SOMETHING, classes=annotation.classes[::-1], file_name="v/{id}.mp4")
    assert rows(given) == [("v/78687.mp4", 1), ("v/42326.mp4", 0)]


def test_something_something_test_list_is_reported(tmp_path):
    assert refused(tmp_path, "test.json", [{"id": "1"}, {"id": "2"}], format="something_something") == [
        "test.json:1: the record has no 'template'; test lists have no labels",
        "test.json:1: the record has no 'template'; test lists have no labels",
    ]
