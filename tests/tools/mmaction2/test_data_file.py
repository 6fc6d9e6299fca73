"""Configs in YAML and JSON: the same experiment as in Python, and nothing of them is run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.imported import SMALL_0, convert_source, read

from vexp.core.errors import UserError
from vexp.tools.mmaction2.config_file import read_config
from vexp.tools.mmaction2.tree import ScalarNode


def small(tmp_path: Path) -> tuple[dict[str, object], dict[str, object]]:
    """A config as plain values, and the values of its experiment."""
    source = read(tmp_path / "config.py", SMALL_0)
    result = convert_source(source)
    return source.config.to_python(), {key: given.value for key, given in result.values.items()} | {"run_name": "small"}


@pytest.mark.parametrize("suffix", [".json", ".yaml", ".yml"])
def test_data_file_is_the_same_experiment_as_in_python(suffix: str, tmp_path: Path) -> None:
    content, values = small(tmp_path)
    path = tmp_path / f"small{suffix}"
    path.write_text(json.dumps(content, indent=1))
    result = convert_source(read_config(path))
    assert {key: given.value for key, given in result.values.items()} == values
    assert result.values["data.train.ann_file"].node.where.line > 1


def test_base_of_data_file_is_merged(tmp_path: Path) -> None:
    (tmp_path / "base.py").write_text("optimizer = dict(type='SGD', lr=0.1)\n")
    (tmp_path / "config.yaml").write_text("_base_: base.py\noptimizer: {lr: 0.5}\n")
    assert read_config(tmp_path / "config.yaml").config.to_python() == {"optimizer": {"type": "SGD", "lr": 0.5}}


def test_merge_keys_and_anchors_are_read(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: [*a, *a]\n")
    content = read_config(tmp_path / "config.yaml").config.to_python()
    assert content == {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}, "c": [{"x": 1, "y": 2}] * 2}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.yaml", "n: !!python/object/apply:os.system ['true']\n"), ("a.yaml", "n: 2024-01-01\n"),
        ("a.yaml", "n: '{{ _base_.x }}'\n"), ("a.json", '{"n": 1e999}'),
    ],
)  # fmt: skip
def test_value_that_is_no_plain_value_is_unread(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    node = read_config(tmp_path / name).config.items["n"]
    assert isinstance(node, ScalarNode)
    assert node.unread


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", '{"a": 1,}', r"a.json: not JSON"), ("a.yaml", "a: 1\nb: [1\n", r"a.yaml:\d: not YAML"),
        ("a.yaml", "- 1\n", "it contains no dict"), ("a.json", "", "not JSON"), ("a.yaml", "", "it contains no dict"),
        ("a.yaml", "a: &a {b: *a}\n", "nested too deeply"),
        ("a.yaml", "a0: &a0 [{}, {}]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 30)),
         "more than 20000 values"),
        ("a.yaml", "_base_: a.yaml\n", "based on this file itself"),
        ("a.yaml", "_base_: [1]\n", "_base_ must be a file name"),
    ],
)  # fmt: skip
def test_damaged_data_file_ends_in_a_sentence(name: str, text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        read_config(tmp_path / name)
    assert "\n" not in str(caught.value)
