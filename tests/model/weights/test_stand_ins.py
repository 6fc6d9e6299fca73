"""Other people's values in a file of torch.save: what becomes of them, and that no file runs code."""

from __future__ import annotations

import argparse
import builtins
import collections
import datetime
import functools
import importlib
import operator
import pickle
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from vexp import checkpoint
from vexp.core.errors import UserError
from vexp.model.weights.load import read_checkpoint
from vexp.model.weights.stand_ins import STAND_INS, Ignored, ignored_types


class Calls:
    """A pickle of it calls a function when it is read."""

    def __init__(self, function: Any, *arguments: Any, state: Any = None) -> None:
        self.call = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


def reread(value: Any, folder: Path) -> Any:
    torch.save({"x": value}, folder / "w.pth")
    return read_checkpoint(folder / "w.pth")["x"]


#: name -> (value, names of the types that are ignored in it)
IGNORED: dict[str, tuple[Any, list[str]]] = {
    "Namespace": (argparse.Namespace(a=1, path=Path("x"), inner=argparse.Namespace()), ["argparse.Namespace"]),
    "SimpleNamespace": (types.SimpleNamespace(a=1), ["types.SimpleNamespace"]),
    "DictConfig": (OmegaConf.create({"a": [1, None, 2.5, {"b": "${a}"}]}), ["omegaconf.dictconfig.DictConfig"]),
    "ListConfig": (OmegaConf.create([1, {"a": True}]), ["omegaconf.listconfig.ListConfig"]),
    "path": (Path("x"), [f"{type(Path()).__module__}.{type(Path()).__name__}"]),
    "date": (datetime.datetime(2024, 5, 6), ["datetime.datetime"]),
    "range": (range(3), ["builtins.range"]),
    "frozenset": (frozenset([1]), ["builtins.frozenset"]),
    "class": (dict, ["builtins.dict"]),
    "random state": (np.random.RandomState(0), ["numpy.random._pickle.__randomstate_ctor"]),
    "array of objects": (np.array([None, {}]), ["numpy.ndarray"]),
    "array of texts": (np.array(["ab", "c"]), ["numpy.ndarray"]),
    "nested": ({"a": [(1, argparse.Namespace())], "b": range(2)}, ["argparse.Namespace", "builtins.range"]),
}


@pytest.mark.parametrize("name", IGNORED)
def test_read_checkpoint_foreign_value_is_ignored(name: str, tmp_path: Path) -> None:
    value, types_ = IGNORED[name]
    assert sorted(ignored_types(reread(value, tmp_path))) == types_


#: name -> (value, what it is read as)
KEPT: dict[str, tuple[Any, Any]] = {
    "defaultdict": (collections.defaultdict(list, {"a": [1]}), {"a": [1]}),
    "OrderedDict": (collections.OrderedDict(a=1), {"a": 1}),
    "deque": (collections.deque([1, 2]), [1, 2]),
    "set": ({1, 2}, {1, 2}),
    "numpy number": (np.float32(0.5), 0.5),
    "float array": (np.arange(6, dtype=np.float32).reshape(2, 3), torch.arange(6.0).reshape(2, 3)),
    "array in Fortran's order": (np.asfortranarray([[1.0, 2], [3, 4]]), torch.tensor([[1.0, 2], [3, 4]]).double()),
    "big-endian array": (np.array([1, 2], ">i4"), torch.tensor([1, 2], dtype=torch.int32)),
    "array without dimensions": (np.array(2.5), torch.tensor(2.5).double()),
    "empty array": (np.zeros((0, 3), np.int64), torch.zeros(0, 3, dtype=torch.int64)),
    "bool array": (np.array([True, False]), torch.tensor([True, False])),
}


@pytest.mark.parametrize("name", KEPT)
def test_read_checkpoint_plain_value_is_kept(name: str, tmp_path: Path) -> None:
    value, expected = KEPT[name]
    read = reread(value, tmp_path)
    if isinstance(expected, torch.Tensor):
        assert read.dtype == expected.dtype
        assert torch.equal(read, expected)
    else:
        assert read == expected


def imported(monkeypatch: pytest.MonkeyPatch, name: str, base: type, **members: Any) -> Any:
    """A class of a package that is not installed, as pickle finds it when a file is written."""
    module, _, word = name.rpartition(".")
    kind = type(word, (base,), {"__module__": module, **members})
    for end in [index for index, letter in enumerate(module) if letter == "."] + [len(module)]:
        monkeypatch.setitem(sys.modules, module[:end], types.ModuleType(module[:end]))
    monkeypatch.setattr(sys.modules[module], word, kind, raising=False)
    return kind


def test_read_checkpoint_dicts_of_other_packages_are_dicts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    easy = imported(monkeypatch, "easydict.EasyDict", dict)({"a": 1})
    easy.a = 1  # such dicts have their items as attributes, too
    reduce = {"__reduce_ex__": lambda self, protocol: (type(self), (dict(self),))}
    config = imported(monkeypatch, "mmengine.config.config.ConfigDict", dict, **reduce)({"b": {"c": 2}})
    assert reread([easy, config], tmp_path) == [{"a": 1}, {"b": {"c": 2}}]


def test_read_checkpoint_mmengine_message_hub_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = imported(monkeypatch, "mmengine.logging.history_buffer.HistoryBuffer", object)()
    buffer._log_history, buffer._max_length = np.ones(3), 100
    hub = reread({"log_scalars": {"train/loss": buffer}}, tmp_path)
    assert ignored_types(hub) == ["mmengine.logging.history_buffer.HistoryBuffer"]


@pytest.mark.parametrize(
    "function",
    [
        eval, exec, getattr, setattr, compile, open, __import__, map, print, subprocess.Popen, subprocess.run,
        functools.partial, importlib.import_module, operator.attrgetter, pickle.loads, torch.load, torch.hub.load,
        np.load, OmegaConf.create, OmegaConf.register_new_resolver, Path.write_text,
        argparse.ArgumentParser, collections.namedtuple, Calls,
    ],
    ids=lambda function: f"{function.__module__}.{function.__qualname__}",
)  # fmt: skip
def test_read_checkpoint_function_outside_the_list_is_refused(function: Any, tmp_path: Path) -> None:
    torch.save({"x": Calls(function, "a")}, tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"refused: holds more than tensors|is no checkpoint"):
        read_checkpoint(tmp_path / "w.pth")


@pytest.mark.parametrize(
    "wrap",
    [
        lambda attack: argparse.Namespace(a=attack),
        lambda attack: Calls(argparse.Namespace, attack),
        lambda attack: Calls(argparse.Namespace, state={"a": attack}),
        lambda attack: Calls(types.SimpleNamespace, state=(None, {"a": attack})),
        lambda attack: collections.defaultdict(list, {"a": attack}),
        lambda attack: np.array([attack], dtype=object),
        lambda attack: {attack},
    ],
)
def test_read_checkpoint_code_within_ignored_value_is_refused(wrap: Callable[[Any], Any], tmp_path: Path) -> None:
    torch.save({"x": wrap(Calls(builtins.exec, f"open({str(tmp_path / 'ran')!r}, 'w')"))}, tmp_path / "w.pth")
    with pytest.raises(UserError, match="refused: holds more than tensors and plain containers: exec"):
        read_checkpoint(tmp_path / "w.pth")
    assert not (tmp_path / "ran").exists()


def test_read_checkpoint_state_of_listed_class_does_not_run(tmp_path: Path) -> None:
    """``typing.Any`` and the like may be called in a file: nothing but an ignored value comes of it."""
    for function in (type, dict, int, object, types.SimpleNamespace, Path):
        value = reread(Calls(function, "X", (), {}, state={"__setstate__": 1, "__class__": "x"}), tmp_path)
        assert isinstance(value, Ignored)
        assert vars(value) == {}


def test_stand_ins_create_nothing_of_other_packages() -> None:
    allowed = (Ignored, collections.OrderedDict, list)
    for stand_in, name in STAND_INS:
        assert stand_in.__module__ in ("vexp.model.weights.stand_ins", "vexp.core.array_pickle")
        if not name.endswith(("scalar", "dtype")):
            assert isinstance(stand_in("x", [], {}), allowed)


def test_stand_ins_end_after_reading(tmp_path: Path) -> None:
    reread(argparse.Namespace(), tmp_path)
    with pytest.raises(UserError, match=r"refused: .* argparse\.Namespace"):
        checkpoint.load(tmp_path / "w.pth")


@pytest.mark.parametrize("shape", [(3,), (-1,), (1 << 60,), ("a",), 5])
def test_read_checkpoint_array_of_wrong_shape_is_refused(shape: Any, tmp_path: Path) -> None:
    reconstruct, arguments, (version, _, dtype, order, data) = np.ones(2).__reduce__()
    torch.save({"x": Calls(reconstruct, *arguments, state=(version, shape, dtype, order, data))}, tmp_path / "w.pth")
    if shape in ((-1,),):  # reshape accepts it, as one unknown dimension
        assert read_checkpoint(tmp_path / "w.pth")["x"].shape == (2,)
        return
    with pytest.raises(UserError, match="is no checkpoint"):
        read_checkpoint(tmp_path / "w.pth")
