"""Pickles of plain data and arrays: read as NumPy writes them, everything else refused by name."""

from __future__ import annotations

import collections
import datetime
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vexp.core.array_pickle import read_pickle
from vexp.core.errors import UserError

CONTENT: dict[Any, Any] = {
    "text": "a", 1: None, "flags": [True, False], "numbers": (1, 2.5, -(10**30)), "bytes": b"\x00\xff", "empty": b"",
    "half": np.arange(12, dtype=np.float16).reshape(2, 3, 2),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big endian": np.arange(3, dtype=">i4"), "bool": np.array([True, False]), "scalar": np.float32(1.5),
    "integer": np.int64(7), "no dimension": np.array(3), "no entry": np.zeros((0, 2), np.uint8),
}  # fmt: skip


def written(folder: Path, value: Any, protocol: int = 4) -> Path:
    path = folder / "file.pkl"
    path.write_bytes(pickle.dumps(value, protocol))
    return path


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_read_pickle_plain_data_equals_written(tmp_path: Path, protocol: int) -> None:
    content = read_pickle(written(tmp_path, CONTENT, protocol))
    assert list(content) == list(CONTENT)
    for key, value in CONTENT.items():
        if isinstance(value, np.ndarray):
            assert content[key].dtype == value.dtype.newbyteorder("=")
            assert np.array_equal(content[key], value)
        else:
            assert content[key] == value
            assert type(content[key]) in (type(value), int, float)


class Runs:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("made",)


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (Runs(), "posix.mkdir"),
        (collections.OrderedDict(a=1), "collections.OrderedDict"),
        (datetime.date(2020, 1, 1), "datetime.date"),
        (np.datetime64("2020-01-01"), "datetime64|type M8"),
        ({"inner": [np.array([{}], object)]}, "array of objects"),
        ({1, 2}, "set"),
        (np.random.RandomState(0), "numpy.random"),
        (type, "builtins.type"),
    ],
)
def test_read_pickle_other_value_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: Any, named: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=rf"file\.pkl: .*({named})"):
        read_pickle(written(tmp_path, value))
    assert not (tmp_path / "made").exists()


def test_read_pickle_that_changes_a_function_is_refused(tmp_path: Path) -> None:
    """BUILD with a state would set attributes of the function that the name stands for."""
    path = tmp_path / "file.pkl"
    path.write_bytes(b"c_codecs\nencode\n(N}\x8c\x05_callNstb.".replace(b"\x8c\x05_call", b"U\x05_call"))
    with pytest.raises(UserError, match=r"changes the attribute|damaged"):
        read_pickle(path)


def test_read_pickle_damaged_file_is_one_error(tmp_path: Path) -> None:
    whole = written(tmp_path, CONTENT).read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(whole[: rng.integers(len(whole))])
        if len(damaged) > 2:
            damaged[rng.integers(len(damaged))] = rng.integers(256)
        (tmp_path / "file.pkl").write_bytes(damaged)
        with pytest.raises(UserError, match=r"file\.pkl"):
            read_pickle(tmp_path / "file.pkl")


def test_read_pickle_list_within_itself_is_refused(tmp_path: Path) -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(UserError, match="within itself"):
        read_pickle(written(tmp_path, value))
