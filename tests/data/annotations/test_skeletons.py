"""Lists of skeletons: splits, formats, the rules of Kinetics, invalid entries."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vexp.core.errors import UserError
from vexp.data.annotations.skeletons import Skeletons, read_joints, read_skeletons


def entry(name: str, label: int = 0, **values: Any) -> dict[str, Any]:
    points = np.arange(2 * 3 * 4 * 2, dtype=np.float16).reshape(2, 3, 4, 2)
    return {
        "frame_dir": name, "label": label, "img_shape": (240, 320), "total_frames": 3, "keypoint": points,
        "keypoint_score": np.full((2, 3, 4), 0.5, np.float16), **values,
    }  # fmt: skip


def read(path: Path, content: Any, **options: Any) -> Skeletons:
    path.write_bytes(pickle.dumps(content))
    return read_skeletons(path, **options)


def test_read_skeletons_split_selects_its_names(tmp_path: Path) -> None:
    content = {
        "split": {"xsub_train": ["c", "a"], "xsub_val": ["b"]},
        "annotations": [entry(name, i) for i, name in enumerate("abc")],
    }
    skeletons = read(tmp_path / "s.pkl", content, subset="xsub_train")
    assert [skeletons.names[i] for i in range(2)] == ["a", "c"]
    assert skeletons.labels.tolist() == [0, 2]
    assert skeletons.sizes.tolist() == [[320, 240]] * 2
    joints = skeletons.joints[0]
    assert joints is not None
    assert joints.dtype == np.float16
    assert np.array_equal(joints[..., :2], entry("a")["keypoint"])
    assert (joints[..., 2] == 0.5).all()


def test_read_skeletons_list_without_splits_and_json_are_equal(tmp_path: Path) -> None:
    content = [entry("a"), entry("b", 1)]
    plain = json.loads(json.dumps(content, default=lambda array: array.tolist()))
    (tmp_path / "s.json").write_text(json.dumps(plain))
    of_json, of_pickle = read_skeletons(tmp_path / "s.json"), read(tmp_path / "s.pkl", content)
    assert of_json.labels.tolist() == of_pickle.labels.tolist() == [0, 1]
    assert all(np.array_equal(a, b) for a, b in zip(of_json.joints, of_pickle.joints, strict=True))


@pytest.mark.parametrize("key", ["valid", "valid@0.6", "valid_frames"])
def test_read_skeletons_valid_ratio_leaves_out_videos(tmp_path: Path, key: str) -> None:
    """mmaction2 1.x has a dict by threshold, 0.x a key for each, or one without threshold."""
    frames = [3, 2, 0]
    values = [{key: {0.6: n} if key == "valid" else n} for n in frames]
    content = [entry(str(i), **value) for i, value in enumerate(values)]
    skeletons = read(tmp_path / "s.pkl", content, box_thr=0.6, valid_ratio=0.6)
    assert [skeletons.names[i] for i in range(len(skeletons))] == ["0", "1"]


def test_read_skeletons_without_joints_uses_files_and_box_score(tmp_path: Path) -> None:
    content = [{"frame_dir": "a", "label": 1, "img_shape": [240, 320], "total_frames": 4, "valid": {0.5: 4},
                "box_score": np.array([0.9, 0.4, 0.5])}]  # fmt: skip
    skeletons = read(tmp_path / "s.pkl", content, valid_ratio=0.5, folder="files")
    assert skeletons.file(0) == os.path.join("files", "a.pkl")
    assert skeletons.rows[0] is not None
    assert skeletons.rows[0].tolist() == [True, False, True]
    assert read(tmp_path / "s.pkl", content).rows == [None]  # without valid_ratio, all detections are used


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"label": "run"}, "label must be a number, not str"),
        ({"label": 9}, "label 9, but there are 5 classes"),
        ({"label": -1}, "label -1, but there are 5 classes"),
        ({"img_shape": [0, 5]}, "img_shape is 0x5"),
        ({"keypoint": np.zeros((3, 4, 2))}, r"must be \(persons, frames, joints, 2\)"),
        ({"keypoint_score": np.zeros((2, 3, 5))}, "keypoint_score without the 2"),
        ({"keypoint": [[[[0, 0], [0]]]]}, "rows of different length"),
        ({"keypoint": np.zeros((2, 0, 4, 2)), "keypoint_score": np.zeros((2, 0, 4))}, "has no frame"),
    ],
)
def test_read_skeletons_invalid_entry_is_named(tmp_path: Path, values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=rf"s\.pkl: bad: .*{message}"):
        read(tmp_path / "s.pkl", [entry("good"), entry("bad", **values)], class_count=5)


def test_read_skeletons_of_three_dimensions_names_graph_networks(tmp_path: Path) -> None:
    flat = entry("a", keypoint=np.zeros((1, 3, 25, 3)))
    del flat["keypoint_score"]
    with pytest.raises(UserError, match="three dimensions, which only graph networks take"):
        read(tmp_path / "s.pkl", [flat])


def test_read_skeletons_unknown_split_lists_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no split 'test'; it has train"):
        read(tmp_path / "s.pkl", {"split": {"train": ["a"]}, "annotations": [entry("a")]}, subset="test")
    with pytest.raises(UserError, match="has no split 'test'; it has no splits"):
        read(tmp_path / "s.pkl", [entry("a")], subset="test")
    with pytest.raises(UserError, match="is no list of skeletons"):
        read(tmp_path / "s.pkl", {"a": 1})


def rows_file(path: Path, frames: list[int], scores: list[float]) -> None:
    joints = np.zeros((len(frames), 2, 3), np.float16)
    joints[..., 0] = np.arange(len(frames))[:, None]
    joints[..., 2] = np.array(scores)[:, None]
    path.write_bytes(pickle.dumps({"keypoint": joints, "frame_inds": np.array(frames)}))


def test_read_joints_arranges_rows_by_person_and_frame(tmp_path: Path) -> None:
    """Rows 0..5 are told apart by their x; frame 4 has three persons, frames 1 to 3 none."""
    rows_file(tmp_path / "a.pkl", [0, 0, 4, 4, 4, 5], [0.1, 0.9, 0.3, 0.2, 0.8, 0.5])

    def persons(**options: Any) -> list[list[float]]:
        joints = read_joints(tmp_path / "a.pkl", None, **{"max_person": 10, "squeeze": True, **options})
        return joints[:, :, 0, 0].tolist()

    assert persons() == [[0, 2, 5], [1, 3, 0], [0, 4, 0]]
    assert persons(squeeze=False) == [[0, 0, 0, 0, 2, 5], [1, 0, 0, 0, 3, 0], [0, 0, 0, 0, 4, 0]]
    assert persons(max_person=2) == [[1, 4, 5], [0, 2, 0]]  # the highest scores first


def test_read_joints_uses_some_rows(tmp_path: Path) -> None:
    rows_file(tmp_path / "a.pkl", [0, 1, 2], [1, 1, 1])
    joints = read_joints(tmp_path / "a.pkl", np.array([True, False, True]), max_person=10, squeeze=True)
    assert joints[0, :, 0, 0].tolist() == [0, 2]
    with pytest.raises(UserError, match="has no person"):
        read_joints(tmp_path / "a.pkl", np.zeros(3, bool), max_person=10, squeeze=True)
    with pytest.raises(UserError, match="has 3 rows, the box_score of the list has 2"):
        read_joints(tmp_path / "a.pkl", np.ones(2, bool), max_person=10, squeeze=True)
    with pytest.raises(UserError, match="no such file"):
        read_joints(tmp_path / "b.pkl", None, max_person=10, squeeze=True)
