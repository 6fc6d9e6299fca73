"""Key frames with merged boxes and chosen persons, as recorded from mmaction2, and the assignment of labels."""

from __future__ import annotations

import numpy as np
import pytest
from support.ava_cases import cases, names

from vexp.core.errors import UserError
from vexp.data.annotations.ava import read_boxes, read_key_frames, read_label_map
from vexp.data.annotations.key_frames import assign, pack_key_frames
from vexp.data.annotations.person_boxes import PersonBoxes

#: Recorded cases in which vexp differs on purpose, and why.
DIFFERENT = {
    "num_classes 13: label 17": "an unknown class is an error of the data option, not an IndexError",
    "label 81": "an unknown class is an error of the data option, not an IndexError",
    "label -1": "a class below 1 is an error, mmaction2 sets the last one",
    "label 0": "a class below 1 is an error",
    "an empty line at the end": "empty lines are skipped, mmaction2 raises IndexError",
    "a comma in a quoted video name": "CSV has quotes",
    "exclude file with blanks: the video name keeps them": "blanks around a cell do not count",
    "keys of proposals not padded are not found": "a key frame is its number of seconds, however it is written",
    "no proposal for an image: the whole image with score 1": "a key frame without persons has none",
    "an empty proposal array": "a key frame without persons has none",
}


def persons_of(proposals):
    frames = [(key.rpartition(",")[0], int(key.rpartition(",")[2])) for key in proposals]
    values = [np.asarray(boxes, np.float64).reshape(len(boxes), -1) for boxes in proposals.values()]
    values = [v if v.shape[1] == 5 else np.pad(v[:, :4], ((0, 0), (0, 1)), constant_values=1.0) for v in values]
    joined = np.concatenate([v.reshape(-1, 5) for v in values]) if values else np.empty((0, 5))
    return PersonBoxes(frames, np.cumsum([len(v) for v in values]), joined[:, :4], joined[:, 4])


def packed(case, tmp_path):
    given, options = names(case), dict(case["kw"])
    (tmp_path / "ann.csv").write_text(given["ann"])
    excluded = set()
    if "exclude" in given and not options.get("test_mode"):
        (tmp_path / "exclude.csv").write_text(given["exclude"])
        excluded = read_key_frames(tmp_path / "exclude.csv")
    custom = options.get("custom_classes")
    numbers = list(custom) if custom else range(1, options.get("num_classes", 81))
    proposals = given.get("proposals")
    return pack_key_frames(
        read_boxes(tmp_path / "ann.csv", scores=False),
        {number: index for index, number in enumerate(numbers)},
        excluded=excluded,
        labeled_only=True,
        persons=None if proposals is None else persons_of(proposals),
        min_score=options.get("person_det_score_thr", 0.9),
        max_persons=options.get("num_max_proposals", 1000),
    )


@pytest.mark.parametrize(
    "case",
    [case for case in cases("ava", "dataset") if "out" in case and case["name"] not in DIFFERENT],
    ids=lambda case: case["name"],
)
def test_pack_key_frames_equals_recorded_dataset(case, tmp_path) -> None:
    frames = packed(case, tmp_path)
    assert len(frames) == case["out"]["n"]
    for index, info in enumerate(case["out"]["info"]):
        assert frames.name(index) == info["img_key"]
        assert np.allclose(frames.truth[index], info["boxes"])
        labels = [[label + 1 for label in np.flatnonzero(row)] for row in frames.targets(index, 80)]
        assert labels == info["labels"]
    for index, prepared in enumerate(case["out"].get("prepared", [])):
        if frames.persons is not None and "out" in prepared and len(frames.persons[index]):
            assert np.allclose(frames.persons[index][:, :4], prepared["out"]["proposals"])


def test_recorded_dataset_cases_that_differ_are_few() -> None:
    recorded = {case["name"] for case in cases("ava", "dataset")}
    assert len(recorded & DIFFERENT.keys()) >= 6


@pytest.mark.parametrize("case", cases("losses", "MaxIoUAssignerAVA"), ids=lambda case: case["name"])
def test_assign_equals_recorded(case) -> None:
    given, options = names(case), case["kw"]
    if not options.get("pos_iou_thr") == options.get("min_pos_iou") == options.get("neg_iou_thr"):
        pytest.skip("published configs have one threshold")
    found = assign(np.asarray(given["overlaps"], np.float64), options["pos_iou_thr"])
    assert (found + 1).tolist() == case["out"]["gt_inds"]


def test_pack_key_frames_key_frame_without_persons_has_none_and_keeps_best_ones(tmp_path) -> None:
    (tmp_path / "a.csv").write_text("v,1,0,0,1,1,1,0\nv,2,0,0,1,1,2,0\nv,3\n")
    persons = persons_of({"v,0001": [[0, 0, 1, 1, 0.2], [0, 0, 0.5, 1, 0.4], [0, 0, 1, 0.5, 0.4]]})
    table = read_boxes(tmp_path / "a.csv", scores=False)
    options = {"excluded": set(), "persons": persons, "min_score": 0.9}
    frames = pack_key_frames(table, {1: 0, 2: 1}, labeled_only=False, **options)
    assert [frames.name(i) for i in range(len(frames))] == ["v,0001", "v,0002", "v,0003"]
    assert [len(frames.persons[i]) for i in range(3)] == [2, 0, 0]
    assert len(pack_key_frames(table, {1: 0, 2: 1}, labeled_only=True, **options)) == 2
    taken = frames.take(np.array([2, 1]))
    assert [taken.name(0), taken.targets(1, 2).tolist()] == ["v,0003", [[0.0, 1.0]]]
    assert frames.labels_of_frames()[1].tolist() == [1]


BROKEN = {
    "v,902,0.1,0.1,0.5,0.5,1.5,0\n": "video,second,x1,y1,x2,y2,class",
    "v,902,-0.1,0.1,0.5,0.5,1,0\n": "0..1",
    "v,902,0.1,0.1,0.5,1.5,1,0\n": "0..1",
    "v,902,0.5,0.1,0.1,0.5,1,0\n": "x1 <= x2",
    "v,902,0.1,0.1,0.5,0.5,0,0\n": "at least 1",
    "v,902,0.1,0.1,0.5,inf,1,0\n": "finite",
    "v,nine,0.1,0.1,0.5,0.5,1,0\n": "video,second",
    "v\n": "video,second",
    "v,902,0.1,0.1,0.5,0.5,1,0,3\n": "video,second,x1,y1,x2,y2,class",
    "video_id,second,x1,y1,x2,y2,action,person\n": "video,second",
}


@pytest.mark.parametrize("text", BROKEN)
def test_read_boxes_broken_line_is_named(text, tmp_path) -> None:
    (tmp_path / "a.csv").write_text("v,901,0,0,1,1,1,0\n" + text)
    with pytest.raises(UserError, match=BROKEN[text]) as error:
        read_boxes(tmp_path / "a.csv", scores=False)
    assert "a.csv:2" in str(error.value)


@pytest.mark.parametrize(
    "text", ["", "item {}", 'item { name: "a" }', 'item { name: "a" id: 1 } item { name: "b" id: 1 }']
)
def test_read_label_map_broken_file_is_an_error(text, tmp_path) -> None:
    (tmp_path / "l.pbtxt").write_text(text)
    with pytest.raises(UserError, match=r"l\.pbtxt"):
        read_label_map(tmp_path / "l.pbtxt")


@pytest.mark.parametrize("text", ["v,902,1\n", "v\n", "v,x\n"])
def test_read_key_frames_broken_line_is_named(text, tmp_path) -> None:
    (tmp_path / "e.csv").write_text(text)
    with pytest.raises(UserError, match=r"e\.csv:1"):
        read_key_frames(tmp_path / "e.csv")
