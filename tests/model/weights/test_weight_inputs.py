"""Every kind of weight input that was tried, and what it gives; docs/explanation/weights.md has the table in short."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shlex
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from support.small_net import Net, State, TiedNet, other, prefixed

from vexp.__main__ import main
from vexp.core.errors import UserError
from vexp.model.weights.hf_folder import INDEX, SINGLE
from vexp.model.weights.load import load_checkpoint

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
Make = Callable[[Path], Any]  # writes an input in an empty folder, and returns its name; None is w.safetensors


class Runs:
    """A pickle of it would run code when it is read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder / "ran"),)


def tensors(state: State, name: str = "w.safetensors") -> Make:
    """A safetensors file."""
    return lambda folder: save_file({key: value.clone() for key, value in state.items()}, folder / name)


def pickled(content: Any, name: str = "w.pth") -> Make:
    """A file of torch.save; a function makes its content from the folder."""

    def make(folder: Path) -> Path:
        torch.save(content(folder) if callable(content) else content, folder / name)
        return folder / name

    return make


def raw(data: bytes | str, name: str = "w.safetensors") -> Make:
    """A file with these bytes."""

    def make(folder: Path) -> Path:
        (folder / name).write_bytes(data.encode() if isinstance(data, str) else data)
        return folder / name

    return make


def header(text: str, data: bytes = b"") -> bytes:
    """The bytes of a safetensors file with any header."""
    return len(text).to_bytes(8, "little") + text.encode() + data


def one(**changes: Any) -> bytes:
    """The bytes of a file with one tensor of two numbers, ``changes`` of its entry in the header, and its 8 bytes."""
    entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | changes
    return header(json.dumps({"x": entry}), b"\0" * 8)


def cut(make: Make, keep: float, name: str = "w.safetensors") -> Make:
    """Another input, whose file is cut off."""

    def changed(folder: Path) -> Any:
        source = make(folder)
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: int(len(data) * keep)])
        return source

    return changed


def sharded(folder: Path) -> Path:
    """A folder with two shards, the second of which has the head, and an index."""
    state = other()
    files = {key: SHARDS[key.startswith("head")] for key in state}
    for shard in SHARDS:
        save_file({key: state[key].clone() for key in state if files[key] == shard}, folder / shard)
    (folder / INDEX).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": files}))
    return folder


def damaged(change: Callable[[Path], Any]) -> Make:
    """The folder with shards after a change."""

    def make(folder: Path) -> Path:
        sharded(folder)
        change(folder)
        return folder

    return make


def mapped(key: str, file: str) -> Make:
    """The folder with shards whose index names another file for a key."""

    def change(folder: Path) -> None:
        content = json.loads((folder / INDEX).read_text())
        content["weight_map"][key] = file
        (folder / INDEX).write_text(json.dumps(content))

    return damaged(change)


def hub(make: Make, source: str = "hf://org/name") -> Make:
    """A repository in the cache of huggingface_hub, at the branch main; the test is offline."""

    def changed(folder: Path) -> str:
        repository = folder / "hub" / "models--org--name"
        snapshot = repository / "snapshots" / COMMIT
        snapshot.mkdir(parents=True)
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text(COMMIT)
        make(snapshot)
        return source

    return changed


def folder_of(make: Make) -> Make:
    """The folder of an input in place of its file."""

    def changed(folder: Path) -> Path:
        make(folder)
        return folder

    return changed


def archive(name: str) -> Make:
    """A zip archive with one file."""

    def make(folder: Path) -> Path:
        with zipfile.ZipFile(folder / "w.pth", "w") as file:
            file.writestr(name, "content")
        return folder / "w.pth"

    return make


def typed(dtype: torch.dtype) -> State:
    """The weights with the values of the head's weight as another type."""
    return other() | {"head.weight": other()["head.weight"].to(dtype)}


def halves(dtype: torch.dtype) -> State:
    return {key: value.to(dtype) if value.is_floating_point() else value for key, value in other().items()}


VJEPA = {"encoder": other(), "target_encoder": other(), "predictor": {"x": torch.ones(2)}, "opt": {"state": {}}}
NAMESPACE = argparse.Namespace(lr=0.1, output=Path("out"), betas=(0.9, 0.95))
#: name -> (input, number of matching tensors of the model's 8)
LOADED: dict[str, tuple[Make, int]] = {
    "safetensors": (tensors(other()), 8),
    "safetensors of DataParallel": (tensors(prefixed("module.", other())), 8),
    "safetensors under another suffix": (lambda f: (tensors(other(), "w.bin")(f), f / "w.bin")[1], 8),
    "folder with model.safetensors": (folder_of(tensors(other(), SINGLE)), 8),
    "folder with shards": (sharded, 8),
    "index of shards": (lambda folder: sharded(folder) / INDEX, 8),
    "hub name": (hub(tensors(other(), SINGLE)), 8),
    "hub name of shards": (hub(sharded), 8),
    "hub name with a commit": (hub(sharded, f"hf://org/name@{COMMIT}"), 8),
    "hub name with a file": (hub(pickled(other(), "old.pth"), "hf://org/name@main/old.pth"), 8),
    "float16": (tensors(halves(torch.float16)), 8),
    "bfloat16": (tensors(halves(torch.bfloat16)), 8),
    "another class count": (tensors(other(5)), 6),
    "pytorch_model.bin by its path": (pickled(other(), "pytorch_model.bin"), 8),
    "numpy arrays": (pickled({key: value.numpy() for key, value in other().items()}), 8),
    "{'model', 'args': Namespace}": (pickled({"model": other(), "args": NAMESPACE}), 8),
    "{'module', 'args': Namespace}": (pickled({"module": other(), "args": NAMESPACE}), 8),
    "{'model', 'model_ema'}": (pickled({"model": other(), "model_ema": other()}), 8),
    "{'encoder'}": (pickled({"encoder": prefixed("module.", other()), "epoch": 3}), 8),
}
#: name -> (input, distinctive fragment of the error)
REFUSED: dict[str, tuple[Make, str]] = {
    "empty file": (raw(""), r"w\.safetensors: is an empty file"),
    "empty .pth": (raw("", "w.pth"), r"w\.pth: is an empty file"),
    "half a file": (cut(tensors(other()), 0.9), r"is incomplete: has \d+ of \d+ bytes of tensors"),
    "half a header": (cut(tensors(other()), 0.1), r"is incomplete: the header has \d+ of \d+ bytes"),
    "half a .pth": (cut(pickled(other()), 0.5, "w.pth"), r"is no checkpoint that torch\.load"),
    "bytes after the tensors": (raw(one() + b"x"), "is longer than its header states: has 9 of 8 bytes"),
    "HTML page": (raw("<!DOCTYPE html><title>Log in"), r"'<!DOCTYPE html>.*a web page in place of the file"),
    "HTML page as .pth": (raw("\n<html>404", "w.pth"), "a web page in place of the file; download it again"),
    "LFS pointer": (raw("version https://git-lfs.github.com/spec/v1\n"), "a Git LFS pointer .* `git lfs pull`"),
    "LFS pointer as .pth": (raw("version https://git-lfs.github.com/spec/v1\n", "w.pth"), "a Git LFS pointer"),
    "LFS pointer as a shard": (
        damaged(raw("version https://git-lfs.github.com/spec/v1\n", SHARDS[1])), r"00002-of.*a Git LFS pointer",
    ),
    ".pth named .safetensors": (pickled(other(), "w.safetensors"), r"the name of a file of torch\.save must end in"),
    "pickle with code": (pickled(lambda folder: {"model": other(), "x": Runs(folder)}), r"refused: .*\.mkdir"),
    "pickled module": (pickled(lambda folder: Net()), r"refused: .*small_net\.Net"),
    "TorchScript": (archive("w/constants.pkl"), r"is a TorchScript program .* which contains code"),
    "zip of something": (archive("README.txt"), r"is a zip archive but no checkpoint: it holds README\.txt"),
    "tar of something": (raw("name" + "\0" * 96 + "0000644", "w.pth"), "is no checkpoint, it begins with 'name"),
    "other architecture": (tensors({"blocks.0.weight": torch.ones(4, 4)}), "0 of 8 tensors match"),
    "no tensors": (raw(header("{}")), "contains no weights"),
    "int8": (tensors(typed(torch.int8)), "head.weight is int8, that of the model float32: .* without their scales"),
    "float8": (tensors(typed(torch.float8_e4m3fn)), "head.weight is float8_e4m3fn, .* without their scales"),
    "complex": (tensors(typed(torch.complex64)), "head.weight is complex64"),
    "type of four bits": (raw(one(dtype="F4")), "the tensor x has the type F4, which cannot be read"),
    "key twice": (raw(header('{"x": {}, "x": {}}')), "the header: has the key 'x' twice"),
    "overlapping tensors": (
        raw(header('{"x":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"y":{"dtype":"U8","shape":[2],'
                   '"data_offsets":[1,3]}}', b"abc")), "the bytes of y begin at 1 instead of 2",
    ),
    "negative shape": (raw(one(shape=[-2])), r"the header is wrong: x is F32 of shape \[-2\]"),
    "shape of other bytes": (raw(one(shape=[1 << 62, 1 << 62])), "the header is wrong: x is F32 of shape"),
    "header of a list": (raw(header("[1]")), "is no safetensors file"),
    "header without JSON": (raw(header("{x}")), "the header: is not valid JSON"),
    "header nested deeply": (raw(header('{"x":' + "[" * 100_000)), "the header: is not valid JSON"),
    "header of 10^18 bytes": (raw((10**18).to_bytes(8, "little") + b"{}"), "is no safetensors file"),
    "header entry without shape": (raw(header('{"x": {"dtype": "F32"}}')), "the header: x: has no 'shape'"),
    "missing file": (lambda folder: folder / "none.safetensors", "no such checkpoint or run folder"),
    "folder without weights": (folder_of(raw("{}", "config.json")), "has no weights: no model.safetensors, no"),
    "folder with pytorch_model.bin": (
        folder_of(pickled(other(), "pytorch_model.bin")), "as a pickle only, .*: vexp convert .*/pytorch_model.bin",
    ),
    "folder with shards of .bin": (folder_of(raw("{}", "pytorch_model.bin.index.json")), "as pickles only"),
    "folder with one other file": (folder_of(tensors(other(), "adapter.safetensors")), r"as in /.*/adapter\.safete"),
    "folder with file and index": (
        damaged(tensors(other(), SINGLE)), "has model.safetensors and model.safetensors.index.json; give the path",
    ),
    "shards without index": (damaged(lambda f: (f / INDEX).unlink()), r"has shards .* but no model\.safetensors\.ind"),
    "shard missing": (
        damaged(lambda f: (f / SHARDS[0]).unlink()), "00001-of-.*: is missing; it is one of the 2 shards",
    ),
    "shard cut off": (damaged(lambda f: cut(lambda _: f, 0.9, SHARDS[1])(f)), "00002-of.*: is incomplete"),
    "index pointing outside": (mapped("head.bias", "../w.safetensors"), "refused: the file of head.bias is outside"),
    "index with an absolute path": (mapped("head.bias", "/w.safetensors"), "refused: the file of head.bias is outside"),
    "index naming a pickle": (mapped("head.bias", "w.pth"), r"head\.bias, w\.pth, does not end in \.safetensors"),
    "index naming another shard": (mapped("head.bias", SHARDS[0]), "states that head.bias is in .*00001-of"),
    "index without a tensor": (
        damaged(lambda f: (f / INDEX).write_text(json.dumps({"weight_map": {"head.bias": SHARDS[1]}}))),
        "is wrong: head.weight in .* is not listed",
    ),
    "tensor in two shards": (
        damaged(lambda f: tensors({"head.bias": torch.ones(3), **Net().backbone.state_dict(prefix="backbone.")},
                                  SHARDS[0])(f)), "is wrong: head.bias is in .*00002.* and in .*00001",
    ),
    "index of a list": (damaged(raw("[]", INDEX)), r"index\.json: must be a mapping"),
    "index that is cut off": (damaged(raw('{"weight_map": {"a', INDEX)), "is not valid JSON"),
    "index with a number as file": (damaged(raw('{"weight_map": {"a": 5}}', INDEX)), "weight_map: a: must be text"),
    "pipe": (lambda f: (os.mkfifo(f / "w.safetensors"), f / "w.safetensors")[1], "is neither a file nor a run folder"),
    "pipe as a shard": (
        damaged(lambda f: ((f / SHARDS[0]).unlink(), os.mkfifo(f / SHARDS[0]))), "is not a regular file",
    ),
    "folder as a shard": (damaged(lambda f: ((f / SHARDS[0]).unlink(), (f / SHARDS[0]).mkdir())), "is a folder"),
    "hub name without organization": (lambda f: "hf://name", "is no name of a model on the Hugging Face Hub"),
    "hub name with .. in the file": (lambda f: "hf://org/name/../w.pth", "names no file of the repository"),
    "hub name not in the cache": (lambda f: "hf://org/none", "not in the cache .*not asked because HF_HUB_OFFLINE"),
    "hub revision not in the cache": (hub(sharded, "hf://org/name@v2"), "not in the cache"),
    "hub file not in the cache": (hub(sharded, "hf://org/name/w.pth"), r"w\.pth is not in the cache"),
    "hub shard not in the cache": (
        hub(damaged(lambda f: (f / SHARDS[0]).unlink())), "00001-of-00002.safetensors is not in the cache",
    ),
    "student, teacher": (
        pickled({"student": other(), "teacher": other()}), r"has several sets of weights: student \(9 tensors\), teach",
    ),
    "V-JEPA 2": (pickled(VJEPA), "several sets of weights: encoder .*, target_encoder .*, predictor"),
    "two known names": (pickled({"model": other(), "state_dict": other()}), "several sets of weights: model .*, state"),
}  # fmt: skip


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if importlib.util.find_spec("huggingface_hub") is None:
        return
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


def source_of(make: Make, folder: Path) -> Any:
    """The input, made in a folder; ``w.safetensors`` if the function returns nothing."""
    source = make(folder)
    if str(source).startswith("hf://"):
        pytest.importorskip("huggingface_hub")
    return source or folder / "w.safetensors"


@pytest.mark.parametrize("name", LOADED)
def test_load_checkpoint_supported_input_matches(name: str, tmp_path: Path) -> None:
    make, count = LOADED[name]
    model = Net()
    report = load_checkpoint(model, source_of(make, tmp_path))
    assert report.match.matching == count
    for key in report.matched:
        tolerance = 1e-2 if "16" in name else 0.0
        torch.testing.assert_close(model.state_dict()[key], other()[key], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", REFUSED)
def test_load_checkpoint_unsupported_input_raises(name: str, tmp_path: Path) -> None:
    make, fragment = REFUSED[name]
    source = source_of(make, tmp_path)
    model = Net()
    with pytest.raises(UserError, match=fragment):
        load_checkpoint(model, source)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), Net().state_dict().values(), strict=True))
    assert not (tmp_path / "ran").exists()


def test_weight_inputs_are_more_than_thirty() -> None:
    assert len(LOADED) + len(REFUSED) > 60


def test_load_checkpoint_tied_weights_need_one_key(tmp_path: Path) -> None:
    """As transformers saves them: the second name of a tied parameter is not in the file."""
    state = TiedNet(seed=1).state_dict()
    save_file({key: value for key, value in state.items() if key != "second.weight"}, tmp_path / "w.safetensors")
    model = TiedNet()
    report = load_checkpoint(model, tmp_path / "w.safetensors", strict=True)
    assert (report.match.matching, report.reinitialized) == (10, [])
    assert torch.equal(model.second.weight, state["head.weight"])


@pytest.mark.parametrize(("key", "count"), [("target_encoder", 8), ("encoder", 8), ("nested.student", 8)])
def test_load_checkpoint_key_selects_state_dict(key: str, count: int, tmp_path: Path) -> None:
    torch.save(VJEPA | {"nested": {"student": other()}}, tmp_path / "w.pt")
    report = load_checkpoint(Net(), tmp_path / "w.pt", key=key)
    assert len(report.matched) == count
    assert f"its {key!r}" in str(report)
    for wrong in ("teacher", "encoder.x", "encoder.head.bias"):
        with pytest.raises(UserError, match=f"key={wrong}: .* has no entry"):
            load_checkpoint(Net(), tmp_path / "w.pt", key=wrong)


def test_folder_with_pytorch_model_bin_is_accepted_after_its_command(tmp_path: Path) -> None:
    folder = tmp_path / "two words"
    folder.mkdir()
    torch.save(other(), folder / "pytorch_model.bin")
    with pytest.raises(UserError) as caught:
        load_checkpoint(Net(), folder)
    command = shlex.split(str(caught.value).partition("its code: ")[2])
    assert main(command[1:]) == 0
    assert len(load_checkpoint(Net(), folder).matched) == 8


def test_load_report_states_ignored_and_unread_entries(tmp_path: Path) -> None:
    content = {"model": other(), "model_ema": other(), "args": NAMESPACE, "best": np.float64(0.5)}
    torch.save(content, tmp_path / "w.pth")
    report = str(load_checkpoint(Net(), tmp_path / "w.pth"))
    assert "its 'model'; model.weights.key loads 'model_ema' instead" in report
    assert "the file's 'args' (argparse.Namespace) was ignored" in report
    assert "best" not in report
