"""Files that are damaged, enormous or malicious: one sentence each, quickly, and nothing of them is run."""

from __future__ import annotations

import os
import random
import re
from pathlib import Path

import pytest
from support.imported import ALL, SMALL_0, convert_source, read

from vexp.cli.import_mmaction import imported
from vexp.core.errors import UserError
from vexp.tools.mmaction2.config_file import read_config
from vexp.tools.mmaction2.tree import ScalarNode

DOUBLED = "".join(f"a{i} = dict(x=a{i - 1}, y=a{i - 1})\n" for i in range(1, 25))
REFUSED = [
    ("_base_ = [os.environ['BASE']]\n", "config.py:1: _base_: .* cannot be evaluated"),
    ("_base_ = bases()\n", r"_base_: bases\(\) cannot be evaluated"),
    ("_base_ = 5\n", "_base_ must be a file name or a list"),
    ("_base_ = [5]\n", "_base_ must be a file name or a list"),
    ("_base_ = '..\\\\in\\\\small.py'\n", "does not exist; write its path with /"),
    ("with read_base():\n    from .other import missing\n", "config.py:2: .*other.py has no missing"),
    (f"x = {'-' * 30_000}1\n", "nested too deeply"),
    ("x = 1\n" + "x = dict(a=x)\n" * 100, "nested more than 60 levels deep"),
    ("model = dict(a=1)\nmodel['me'] = model\n", "or within itself"),
    ("_base_ = 'other.py'\n_base_.d['me'] = _base_.d\n", "or within itself"),
    ("if True:\n    _base_ = 'other.py'\n", "config.py:2: _base_ = 'other.py': changes the bases"),
    ("_base_ = 'other.py'\n_base_ += ['more.py']\n", "config.py:2: .*: changes the bases"),
    ("_base_ = 'other.py'\n_base_.append('more.py')\n", "config.py:2: .*: changes the bases"),
    ("x = dict(\n    lr={{$LR:0.1}})\n", r"config.py:2: \{\{\$LR:0.1\}\} is read from the environment: write its"),
    ("s = [dict()]\ns.append(s)\n", "or within itself"),
    ("a0 = dict(z=1)\n" + DOUBLED, "more than 20000 values"),
    ("a0 = dict(z=1)\n" + DOUBLED + "b = copy.deepcopy(a24)\n", "more than 20000 values"),
    ("a0 = ['z']\n" + DOUBLED.replace("dict(x=", "[").replace("y=", "").replace(")", "]"), "more than 20000 values"),
    ("s = [dict(a=1), dict(b=2)]\n" + "s = s + s\n" * 20, "more than 20000 values"),
    ("x = '" + "a" * 1_000_000 + "'\n", "larger than 500 kB"),
]


@pytest.mark.parametrize(("text", "message"), REFUSED, ids=[str(i) for i in range(len(REFUSED))])
def test_read_refuses(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "other.py").write_text("x = 1\nd = dict(a=1)\n")
    with pytest.raises(UserError, match=message) as caught:
        read(tmp_path / "config.py", text)
    assert "\n" not in str(caught.value)


UNREAD = [
    "n = 10\n" + "n = n * n\n" * 14,
    "n = 1000 ** 100 * 1000 ** 100",
    "n = 'x'\n" + "n += n\n" * 24,
    "n = '{:{w}}'.format(1, w=4 * 10 ** 8)",
    "n = '%*d' % (10 ** 8, 1)",
    "n = ('a' * 9000).replace('a', 'b' * 9000).replace('b', 'c' * 9000)",
    "n = '{{$DATA_ROOT:data}}/a.txt'",
    "from my_paths import DATA_ROOT\nn = DATA_ROOT",
    "from my_paths import DATA_ROOT\nn = DATA_ROOT + '/a.txt'",
    "n = 1j",
    "n = 1e999",
    "n = 1e300 * 1e300",
    "n = b'a.txt'",
    "n = 10 ** 101",
    f"n = {'9' * 102}",
    "n = '{0.__class__}'.format(1)",
]


@pytest.mark.parametrize("text", UNREAD, ids=[str(i) for i in range(len(UNREAD))])
def test_value_is_named_as_unread(text: str, tmp_path: Path) -> None:
    source = read(tmp_path / "config.py", f"{text}\n")
    node = source.config.items["n"]
    assert isinstance(node, ScalarNode)
    assert node.unread or source.unread


@pytest.mark.parametrize(
    "written",
    [b"\xef\xbb\xbf" + b"x = 1\n", "# -*- coding: latin-1 -*-\nx = 1  # \xe9\n".encode("latin-1"), b"x = 1\r\n"],
)
def test_encodings_that_python_reads_are_read(written: bytes, tmp_path: Path) -> None:
    (tmp_path / "config.py").write_bytes(written)
    assert read_config(tmp_path / "config.py").config.scalar("x") == 1


@pytest.mark.parametrize("written", ["x = '\xe9'\n".encode("latin-1"), "x = 1\n".encode("utf-16")])
def test_other_encodings_are_refused(written: bytes, tmp_path: Path) -> None:
    (tmp_path / "config.py").write_bytes(written)
    with pytest.raises(UserError, match=r"config\.py: not text in UTF-8; save it so"):
        read_config(tmp_path / "config.py")


def test_files_of_other_kinds_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.py")
    with pytest.raises(UserError, match="not a file"):
        read_config(tmp_path / "pipe.py")
    with pytest.raises(UserError, match="only configs in Python, YAML and JSON are read"):
        read_config(tmp_path / "config.toml")


@pytest.mark.parametrize(
    "names",
    ["= ['./base.py']", "= [d + 'base.py']", "= f'{d}base.py'", "= [d + name for name in ('base.py',)]",
     "= osp.join(d, 'base.py')", ": list = ['base.py']", "= 'gone.py'\n_base_ = 'base.py'"],
)  # fmt: skip
def test_bases_may_be_expressions(names: str, tmp_path: Path) -> None:
    (tmp_path / "base.py").write_text("x = 1\n")
    source = read(tmp_path / "config.py", f"import os.path as osp\nd = './'\n_base_ {names}\n")
    assert source.config.scalar("x") == 1


def test_star_import_brings_the_classes_of_the_base(tmp_path: Path) -> None:
    (tmp_path / "base.py").write_text("from mmaction.datasets import VideoDataset\n")
    source = read(tmp_path / "config.py", "with read_base():\n    from .base import *\nx = dict(type=VideoDataset)\n")
    assert source.config.text("x", "type") == "VideoDataset"


@pytest.mark.parametrize(("more", "message"), [("* 41", "more than 40 transforms"), ("+ f()", "cannot be evaluated")])
def test_pipeline_that_cannot_be_converted_is_refused(more: str, message: str, tmp_path: Path) -> None:
    text = SMALL_0.replace("frame_interval=2)]", f"frame_interval=2)] {more}")
    with pytest.raises(UserError, match=message):
        convert_source(read(tmp_path / "config.py", text))


_TOKENS = (
    "None", "[]", "dict()", "-1", "0", "1e999", "'x'", "os.environ['X']", "model", "True", "'${x}'", "[[1], 'a']", "()",
    "dict(type='SGD')", "10 ** 99", "f()", "(", "'", "unknown",
)  # fmt: skip


def damaged(text: str, random_: random.Random) -> str:
    """Return a config with one to four values replaced, and sometimes a line lost, doubled or cut."""
    for _ in range(random_.randint(1, 4)):
        places = [match.span(1) for match in re.finditer(r"= ?([\w.'\"-]+)", text)]
        start, end = random_.choice(places)
        text = text[:start] + random_.choice(_TOKENS[: random_.choice((-4, None))]) + text[end:]
    lines = text.splitlines()
    if random_.random() < 0.2:
        i = random_.randrange(len(lines))
        lines[i] = random_.choice(["", f"{lines[i]}\n{lines[i]}", lines[i][: random_.randint(0, len(lines[i]))]])
    return "\n".join(lines) + "\n"


def check_damaged(count: int, folder: Path, *, compose_every: int) -> None:
    random_ = random.Random(15)
    texts = [path.read_text() for path in ALL if "_base_ =" not in path.read_text()]
    converted = 0
    for number in range(count):
        try:
            source = read(folder / "config.py", damaged(random_.choice(texts), random_))
            if number % compose_every == 0:
                imported(source)
            else:
                convert_source(source)
            converted += 1
        except UserError:
            pass
    assert converted > count // 4  # most of the damage is more than a syntax error


def test_damaged_configs_end_in_a_sentence(tmp_path: Path) -> None:
    check_damaged(100, tmp_path, compose_every=1000)


@pytest.mark.slow
def test_two_thousand_damaged_configs_end_in_a_sentence(tmp_path: Path) -> None:
    check_damaged(2000, tmp_path, compose_every=20)
