"""Detected persons: four formats with the same content, and files that are refused."""

from __future__ import annotations

import json
import os
import pickle

import numpy as np
import pytest

from vexp.core.errors import MissingInputError, UserError
from vexp.data.annotations.person_boxes import read_person_boxes

CONTENT = {
    "v,0902": np.array([[0.1, 0.2, 0.5, 0.6, 0.95], [0.0, 0.0, 1.0, 1.0, 0.5]]),
    "a,b,0903": np.array([[0.25, 0.25, 0.75, 0.75, 0.9]]),
    "w,0904": np.zeros((0, 5)),
}


def written(path, content=CONTENT):
    rows = [(name, row) for name, boxes in content.items() for row in boxes]
    if path.suffix == ".json":
        path.write_text(json.dumps({name: boxes.tolist() for name, boxes in content.items()}))
    elif path.suffix == ".pkl":
        path.write_bytes(pickle.dumps(content))
    elif path.suffix == ".npz":
        boxes = np.array([row for _, row in rows])
        np.savez(path, key_frames=np.array([name for name, _ in rows]), boxes=boxes[:, :4], scores=boxes[:, 4])
    else:
        lines = []
        for name, boxes in content.items():
            video, _, second = name.rpartition(",")
            lines += [f'"{video}",{second},{",".join(map(str, row[:4]))},,{row[4]}\n' for row in boxes]
            if not len(boxes):
                lines.append(f'"{video}",{second}\n')
        path.write_text("".join(lines))
    return path


@pytest.mark.parametrize("suffix", [".csv", ".json", ".npz", ".pkl"])
def test_read_person_boxes_every_format_has_the_same_content(suffix, tmp_path) -> None:
    found = read_person_boxes(written(tmp_path / f"persons{suffix}"))
    rows = found.rows()
    expected = [("v", 902), ("a,b", 903)] + ([("w", 904)] if suffix != ".npz" else [])
    assert list(rows) == expected
    for (video, second), part in rows.items():
        boxes = CONTENT[f"{video},{second:04d}"]
        assert np.allclose(found.box[part], boxes[:, :4])
        assert np.allclose(found.score[part], boxes[:, 4])


def test_read_person_boxes_reads_published_pickle_keys_and_boxes_without_score(tmp_path) -> None:
    path = tmp_path / "p.pkl"
    path.write_bytes(pickle.dumps({"v,0902": np.array([[0, 0, 0.5, 1.1]], np.float32)}, protocol=2))
    found = read_person_boxes(path)
    assert found.box.tolist() == [[0, 0, 0.5, 1.0]]  # clipped to the frame
    assert found.score.tolist() == [1.0]


class Evil:
    def __reduce__(self):
        return os.system, ("echo ran",)


BROKEN = {
    "a.csv": ["v,902,0.1,0.1,0.5\n", "must be video,second"],
    "b.csv": ["v,902,0.1,0.1,0.5,x,1,0.9\n", "must be video,second"],
    "c.csv": ["v,902.5,0.1,0.1,0.5,0.5,1,0.9\n", "must be video,second"],
    "d.csv": ["v,902,0.1,0.1,0.5,0.5,1,nan\n", "finite score"],
    "e.csv": ["v,902,0.1,nan,0.5,0.5,1,0.9\n", "finite numbers"],
    "f.csv": ["v,902,10,10,50,50,1,0.9\n", "shares of width and height"],
    "g.csv": ["v,902,0.5,0.1,0.1,0.5,1,0.9\n", "x1 <= x2"],
    "h.csv": ["v,inf,0.5,0.1,0.1,0.5,1,0.9\n", "must be video,second"],
    "a.json": ["{", "not valid JSON"],
    "b.json": ["[1, 2]", "must be a mapping"],
    "c.json": ['{"v": [[0, 0, 1, 1]]}', '"video,second"'],
    "d.json": ['{"v,0902": [[0, 0, 1]]}', "rows of 4 or 5 numbers"],
    "e.json": ['{"v,0902": "box"}', "rows of 4 or 5 numbers"],
    "f.json": ['{"v,0902": [[0,0,1,1]], "v,0902": [[0,0,1,1]]}', "twice"],
    "g.json": ['{"v,0902": [[0, 0, 1, 1, NaN]]}', "finite score"],
    "a.npz": ["PK", "damaged"],
    "a.txt": ["v,902", "are read from .csv, .json, .npz, .pkl"],
    "a.pkl": ["nothing", "pickle"],
}


@pytest.mark.parametrize("name", BROKEN)
def test_read_person_boxes_broken_file_names_place_and_rule(name, tmp_path) -> None:
    content, message = BROKEN[name]
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message) as error:
        read_person_boxes(tmp_path / name)
    assert name in str(error.value)


@pytest.mark.parametrize("value", [Evil(), {"v,0902": Evil()}, {"v,0902": np.array([Evil()], object)}])
def test_read_person_boxes_pickle_that_wants_more_is_refused(value, tmp_path, capfd) -> None:
    (tmp_path / "p.pkl").write_bytes(pickle.dumps(value))
    with pytest.raises(UserError):
        read_person_boxes(tmp_path / "p.pkl")
    assert "ran" not in capfd.readouterr().out


def test_read_person_boxes_missing_file_is_an_error(tmp_path) -> None:
    with pytest.raises(MissingInputError):
        read_person_boxes(tmp_path / "p.csv")
