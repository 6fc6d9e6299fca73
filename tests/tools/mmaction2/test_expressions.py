"""The static evaluator: supported expressions, and that no code of a config is ever run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.imported import read

from vexp.core.errors import UserError
from vexp.tools.mmaction2.config_file import read_config
from vexp.tools.mmaction2.tree import ScalarNode, UnreadableError

EXPRESSIONS: list[tuple[str, Any]] = [
    ("1e-3", 1e-3),
    ("-1", -1),
    ("None", None),
    ("(1, 0.875)", (1, 0.875)),
    ("[]", []),
    ("dict()", {}),
    ("dict(a=1, b=dict(c='x'))", {"a": 1, "b": {"c": "x"}}),
    ("{'backbone': dict(lr_mult=0.1)}", {"backbone": {"lr_mult": 0.1}}),
    ("{86: 87}", {"86": 87}),  # keys are text: YAML's are
    ("dict(known, b=2)", {"a": 1, "b": 2}),
    ("dict(b=2, **known)", {"b": 2, "a": 1}),
    ("dict(type='N', **norm)", {"type": "N", "mean": [1, 2, 3]}),
    ("norm['mean'][1]", 2),
    ("numbers[-1]", 3),
    ("steps[0]['type']", "A"),
    ("steps[1:] + [dict(type='C')]", [{"type": "B"}, {"type": "C"}]),
    ("[dict(type='Z'), *steps]", [{"type": "Z"}, {"type": "A"}, {"type": "B"}]),
    ("[1] * 3", [1, 1, 1]),
    ("numbers + [4]", [1, 2, 3, 4]),
    ("0.01 / 8 * 32", 0.04),
    ("2 ** 3 - 7 // 2 % 4", 5),
    ("f'{root}/train_{1:02d}.txt'", "data/train_01.txt"),
    ("root + '/val'", "data/val"),
    ("'%s/val' % root", "data/val"),
    ("'{}/{}'.format(root, 'x')", "data/x"),
    ("'-'.join(['a', 'b'])", "a-b"),
    ("osp.join(root, 'lists', 'a.txt')", "data/lists/a.txt"),
    ("len(numbers) + max(1, 2)", 5),
    ("list(range(3))", [0, 1, 2]),
    ("'a' if 3 > 2 else 'b'", "a"),
    ("not True or 0", 0),
    ("copy.deepcopy(known)", {"a": 1}),
    ("known.copy()", {"a": 1}),
    ("dict(type=SGD)", {"type": "SGD"}),  # a class by its name
    ("dict(type=torch.optim.AdamW)", {"type": "AdamW"}),
    ("'{{ fileBasenameNoExtension }}'", "config"),
    ("join(root, 'x')", "data/x"),
    ("[i * 2 for i in range(1, 4)]", [2, 4, 6]),
    ("[a + b for a in (2, 4) for b in (1, 2) if a > b + 1]", [5, 6]),
    ("[dict(type=t, p=i) for i, t in enumerate('AB')]", [{"type": "A", "p": 0}, {"type": "B", "p": 1}]),
    ("[step for step in steps if step['type'] != 'B']", [{"type": "A"}]),
    ("[key for key in known]", ["a"]),
    ("[len(value) for value in norm.values()]", [3]),
    ("{str(i): str(1 - i) for i in range(2)}", {"0": "1", "1": "0"}),
    ("{key: value for key, value in known.items()}", {"a": 1}),
    ("sum(n for n in numbers)", 6),
    ("dict(zip(['a', 'b'], numbers))", {"a": 1, "b": 2}),
    ("dict([('a', 1)])", {"a": 1}),
    ("known | norm | dict(a=3)", {"a": 3, "mean": [1, 2, 3]}),
    ("known.get('a') + known.get('z', 7)", 8),
]
BEFORE = """
import copy
import os.path as osp
from os.path import join
import torch
from torch.optim import SGD
root = 'data'
numbers = [1, 2, 3]
known = dict(a=1)
norm = dict(mean=[1, 2, 3])
steps = [dict(type='A'), dict(type='B')]
"""


@pytest.mark.parametrize(("text", "value"), EXPRESSIONS, ids=[text for text, _ in EXPRESSIONS])
def test_expressions(tmp_path: Path, text: str, value: Any) -> None:
    source = read(tmp_path / "config.py", f"{BEFORE}x = {text}\n")
    assert source.config.items["x"].to_python() == value
    assert source.unread == []


@pytest.mark.parametrize(
    "text",
    [
        "os.environ['HOME']",
        "open('config.py').read()",
        "__import__('os').system('touch ran')",
        "eval('1')",
        "[f(i) for i in range(3)]",
        "[1 for a in range(9999) for b in range(9999)]",
        "[['a' * 9999 for b in range(9999)] for c in range(9999)]",
        "{i for i in (1,)}",
        "known | 5",
        "[known] | [known]",
        "lambda: 1",
        "unknown",
        "10 ** 10 ** 10",
        "'x' * 10 ** 9",
        "f'{1:99999999}'",
        "().__class__.__bases__",
        "known['b']",
        "1 / 0",
    ],
)
def test_unreadable_expression_is_not_run(tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = read(tmp_path / "config.py", f"import os\nknown = dict(a=1)\nx = dict(y={text}, z=f'{{1}}')\n")
    node = source.config.get("x", "y")
    assert isinstance(node, ScalarNode)
    assert (node.where.line, "cannot be evaluated without running the file" in node.unread) == (3, True)
    with pytest.raises(UnreadableError):
        node.to_python()
    assert not (tmp_path / "ran").exists()


def test_statements(tmp_path: Path) -> None:
    """Every statement that changes a name, and those that are only reported."""
    source = read(tmp_path / "config.py", (
        "a, b = 1, 2\n"
        "c = d = dict(x=1, y=2)\n"
        "c['x'] = 5\n"
        "steps = [dict(type='A')]\n"
        "steps += [dict(type='B')]\n"
        "steps.append(dict(type='C'))\n"
        "steps.insert(0, dict(type='Z'))\n"
        "d.update(dict(y=3), z=4)\n"
        "d.pop('z')\n"
        "e: int = 7\n"
        "if a > 0:\n    f = 'yes'\nelse:\n    f = 'no'\n"
        "g = 1\n"
        "del g\n"
        "for i in range(3):\n    h = i\n"
        "print('hello')\n"
        "def k():\n    return 1\n"
    ))  # fmt: skip
    values = source.config.to_python()
    assert [step["type"] for step in values.pop("steps")] == ["Z", "A", "B", "C"]
    assert values == {"a": 1, "b": 2, "c": {"x": 5, "y": 3}, "d": {"x": 5, "y": 3}, "e": 7, "f": "yes"}
    assert [leaf.where.line for leaf in source.unread] == [17, 19, 20]
    assert {path for path, _, _ in source.replaced} == {"c['x']", "d.y", "d.z", "g"}


def test_names_of_a_comprehension_are_gone(tmp_path: Path) -> None:
    source = read(tmp_path / "config.py", "i = 5\na = [i for i in (1, 2)]\nb = i\nc = [j for j in (1,)]\nd = j\n")
    assert source.config.scalar("b") == 5
    assert source.config.items["d"].unread


def test_dict_is_changed_in_place(tmp_path: Path) -> None:
    text = "a = dict(x=1, z=[dict(c=1)])\nb = dict(a=a)\na |= dict(y=2)\na['x'] *= 3\na['z'] += [dict(c=2)]\n"
    source = read(tmp_path / "config.py", text)
    assert source.config.to_python()["b"] == {"a": {"x": 3, "y": 2, "z": [{"c": 1}, {"c": 2}]}}
    assert [(path, where.line) for path, _, where in source.replaced] == [("a['x']", 4)]


def test_inheritance(tmp_path: Path) -> None:
    """Dicts are merged key by key, lists are replaced, _delete_ replaces a dict; references to the base."""
    (tmp_path / "base.py").write_text("a = dict(x=1, y=dict(z=2))\nsteps = [dict(type='A')]\nlr = 0.1\n")
    (tmp_path / "other.py").write_text("b = dict(c=1, d=2)\n")
    source = read(tmp_path / "config.py", (
        "_base_ = ['base.py', './other.py']\n"
        "a = dict(y=dict(w=3))\n"
        "b = dict(_delete_=True, e=5)\n"
        "more = {{_base_.steps}} + [dict(type='B')]\n"
        "rate = _base_.lr * 2\n"
    ))  # fmt: skip
    assert source.config.to_python() == {
        "a": {"x": 1, "y": {"z": 2, "w": 3}}, "steps": [{"type": "A"}], "lr": 0.1, "b": {"e": 5},
        "more": [{"type": "A"}, {"type": "B"}], "rate": 0.2,
    }  # fmt: skip
    gone = {path: where.line for start, node, where in source.replaced for path, _ in node.leaves(start)}
    assert gone == {"b.c": 3, "b.d": 3, "b._delete_": 3}


def test_every_leaf_comes_once(tmp_path: Path) -> None:
    """Shared parts, a base that two files build on, and what was replaced."""
    (tmp_path / "root.py").write_text("deep = dict(x=1)\n")
    (tmp_path / "left.py").write_text("_base_ = 'root.py'\nleft = 1\n")
    (tmp_path / "right.py").write_text("_base_ = 'root.py'\nright = 1\n")
    source = read(tmp_path / "config.py", "_base_ = ['left.py', 'right.py']\nn = dict(m=1)\na = [n, n]\nleft = 2\n")
    lines = [(path, leaf.where.file.name, leaf.where.line) for path, leaf in source.lines()]
    assert sorted(lines) == [
        ("deep.x", "root.py", 1), ("left", "config.py", 4), ("left", "left.py", 2), ("n.m", "config.py", 2),
        ("right", "right.py", 2),
    ]  # fmt: skip


def test_read_base(tmp_path: Path) -> None:
    (tmp_path / "base.py").write_text("a = dict(x=1)\nb = 2\n")
    (tmp_path / "below").mkdir()
    source = read(tmp_path / "below" / "config.py", (
        "from mmengine.config import read_base\n"
        "with read_base():\n    from ..base import a, b as c\n"
        "a.update(dict(y=2))\n"
    ))  # fmt: skip
    assert source.config.to_python() == {"a": {"x": 1, "y": 2}, "c": 2}


def test_update_of_a_base_merges_nested_dicts(tmp_path: Path) -> None:
    """As mmengine 0.10.7 was seen to read these two files; a dict of the file's own is Python's."""
    (tmp_path / "base.py").write_text("model = dict(type='A', backbone=dict(depth=50, stem=dict(a=1, b=2)))\n")
    source = read(tmp_path / "config.py", (
        "with read_base():\n    from .base import *\n"
        "own = dict(x=dict(a=1))\n"
        "own.update(dict(x=dict(b=2)))\n"
        "model.update(dict(backbone=dict(stem=dict(b=3), more=dict(c=1))))\n"
        "model['backbone'].update(stem=dict(d=4))\n"
        "joined = model['backbone'] | dict(stem=dict(a=0))\n"
    ))  # fmt: skip
    assert source.config.to_python() == {
        "model": {"type": "A", "backbone": {"depth": 50, "stem": {"a": 1, "b": 3, "d": 4}, "more": {"c": 1}}},
        "own": {"x": {"b": 2}},
        "joined": {"depth": 50, "stem": {"a": 0, "b": 3, "d": 4}, "more": {"c": 1}},
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = (\n", r"config.py:1: not Python: '\(' was never closed"),
        ("a = 1\nb == = 2\n", "config.py:2: not Python: invalid syntax"),
        ("a = 1\n_base_ = 'gone.py'\n", r"config.py:2: _base_ gone.py does not exist"),
        ("_base_ = 'mmaction::_base_/x.py'\n", r"config.py:1: _base_ mmaction::_base_/x.py does not exist; copy that"),
        ("_base_ = 'config.py'\n", "config.py:1: _base_ config.py is based on this file itself"),
        ("with read_base():\n    from mmaction.x import *\n", "config.py:2: read_base.. reads relative imports alone"),
    ],
)
def test_read_config_rejects(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        read(tmp_path / "config.py", text)
    assert "\n" not in str(caught.value)


def test_place_in_a_base_has_a_short_path(tmp_path: Path) -> None:
    """Unless .. leads elsewhere, after a symbolic link."""
    (tmp_path / "real" / "below").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real" / "below")
    (tmp_path / "base.py").write_text("a = 1\n")
    (tmp_path / "real" / "base.py").write_text("a = 2\n")
    for folder, name in (("real", "real/base.py"), ("link", "link/../base.py")):
        source = read(tmp_path / folder / "config.py", "_base_ = '../base.py'\n")
        assert source.config.items["a"].where.file == (tmp_path / "base.py" if folder == "real" else tmp_path / name)


def test_scope_of_a_type_is_left_out(tmp_path: Path) -> None:
    config = read(tmp_path / "config.py", "a = dict(type='mmaction.TSN', b=[dict(type='mmpretrain.ResNet')])\n").config
    assert (config.scalar("a", "type"), config.get("a", "b").items[0].text("type")) == ("TSN", "mmpretrain.ResNet")


def test_read_config_of_missing_file_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone.py: cannot be read: No such file"):
        read_config(tmp_path / "gone.py")
