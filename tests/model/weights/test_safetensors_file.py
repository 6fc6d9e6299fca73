"""Writing safetensors, and what is read from the files of others."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, load_model, save_file, save_model
from support.small_net import Net, State, TiedNet, other

from vexp.__main__ import main
from vexp.core.errors import UserError
from vexp.inference.checkpoint import open_checkpoint
from vexp.model import build_model
from vexp.model.weights.load import load_checkpoint, open_weights, read_checkpoint
from vexp.model.weights.safetensors_file import read_header, read_safetensors, write_safetensors
from vexp.model.weights.source import locate

TYPES = (
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2, torch.int64,
    torch.int32, torch.int16, torch.int8, torch.uint8, torch.uint16, torch.bool, torch.complex64,
)  # fmt: skip


def equal(a: State, b: State) -> bool:
    return a.keys() == b.keys() and all(a[k].dtype == b[k].dtype and torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_write_safetensors_library_reads_equal_tensors(dtype: torch.dtype, tmp_path: Path) -> None:
    values = torch.arange(6).reshape(2, 3).to(dtype)
    state = {"a": values, "b.c": values[1], "turned": values.T, "scalar": values[0, 1], "none": values[:0]}
    write_safetensors(tmp_path / "w.safetensors", {"model": state})
    for read in (load_file(tmp_path / "w.safetensors"), read_safetensors(tmp_path / "w.safetensors")["model"]):
        assert {key: (tensor.dtype, tensor.tolist()) for key, tensor in read.items()} == {
            key: (tensor.dtype, tensor.tolist()) for key, tensor in state.items()
        }


def test_write_safetensors_same_content_gives_same_bytes(tmp_path: Path) -> None:
    content = {"model": other(), "classes": ["a", "é"], "config": {"x": 1.5, "y": [None, True]}, "step": 3}
    digests = set()
    for name in "ab":
        write_safetensors(tmp_path / name, content)
        digests.add(hashlib.sha256((tmp_path / name).read_bytes()).hexdigest())
    assert len(digests) == 1
    (tmp_path / "plain").touch()
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_write_safetensors_metadata_are_texts(tmp_path: Path) -> None:
    norm = {"mean": [1.0, 2, 3], "std": [1.0, 1, 1], "to_bgr": True}
    write_safetensors(tmp_path / "w.safetensors", {"model": other(), "classes": ["a", "é"], "img_norm": norm})
    with safe_open(tmp_path / "w.safetensors", "pt") as file:
        metadata = file.metadata()
    assert (metadata["format"], metadata["classes"]) == ("pt", '["a", "é"]')
    assert json.loads(metadata["img_norm"]) == norm


def test_write_safetensors_header_is_aligned(tmp_path: Path) -> None:
    state = {"odd": torch.ones(3, dtype=torch.int8), "even": torch.ones(3, dtype=torch.float64)}
    write_safetensors(tmp_path / "w.safetensors", {"model": state})
    assert int.from_bytes((tmp_path / "w.safetensors").read_bytes()[:8], "little") % 8 == 0
    assert list(read_header(tmp_path / "w.safetensors").shapes) == ["even", "odd"]


def test_write_safetensors_tied_weights_are_stored_once(tmp_path: Path) -> None:
    state = TiedNet(seed=1).state_dict()
    write_safetensors(tmp_path / "w.safetensors", {"model": state})
    header = read_header(tmp_path / "w.safetensors")
    assert "second.weight" not in header.shapes
    assert header.metadata["second.weight"] == "head.weight"
    assert equal(read_safetensors(tmp_path / "w.safetensors")["model"], state)
    theirs = TiedNet()
    load_model(theirs, tmp_path / "w.safetensors")
    assert equal(theirs.state_dict(), state)


def test_read_safetensors_tied_weights_of_the_library(tmp_path: Path) -> None:
    model = TiedNet(seed=1)
    save_model(model, str(tmp_path / "w.safetensors"))
    assert equal(read_checkpoint(tmp_path / "w.safetensors"), model.state_dict())


def test_write_safetensors_overlapping_views_are_separate(tmp_path: Path) -> None:
    memory = torch.arange(6.0)
    write_safetensors(tmp_path / "w.safetensors", {"model": {"a": memory[:4], "b": memory[2:], "c": memory}})
    assert read_safetensors(tmp_path / "w.safetensors")["model"]["b"].tolist() == [2, 3, 4, 5]


@pytest.mark.parametrize("tensor", [torch.ones(2, device="meta"), torch.ones(2).to_sparse(), torch.ones(2).cdouble()])
def test_write_safetensors_tensor_without_values_raises(tensor: torch.Tensor, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the tensor x "):
        write_safetensors(tmp_path / "w.safetensors", {"model": {"x": tensor}})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "1e"])
def test_read_safetensors_damaged_metadata_raises(text: str, tmp_path: Path) -> None:
    save_file(other(), tmp_path / "w.safetensors", {"vexp": "0.1.0", "classes": text})
    with pytest.raises(UserError, match="the metadata: classes: is not valid JSON"):
        read_safetensors(tmp_path / "w.safetensors")


CONFIG_TEXT = "img_norm_cfg = dict(mean=[104, 117, 128], std=[1, 1, 1], to_bgr=True)"


def theirs(path: Path) -> State:
    """A file of mmaction2 with tiny3d's tensors and an average of other values; the tensors."""
    torch.manual_seed(0)
    state = build_model("tiny3d", 4).state_dict()
    torch.save({"state_dict": state, "meta": {"CLASSES": ("a", "b", "c", "d"), "config": CONFIG_TEXT}}, path)
    return state


def test_convert_pth_and_safetensors_are_equal(tmp_path: Path) -> None:
    """.pth -> .safetensors -> the same tensors, metadata and config as from .pth; and evaluate opens the file."""
    state = theirs(tmp_path / "in.pth")
    for suffix in (".pth", ".safetensors"):
        assert main(["convert", str(tmp_path / "in.pth"), str(tmp_path / f"model{suffix}"), "model=tiny3d"]) == 0
        assert main(["convert", str(tmp_path / "in.pth"), str(tmp_path / f"raw{suffix}")]) == 0
        assert main(["convert", str(tmp_path / "model.pth"), str(tmp_path / f"again{suffix}")]) == 0
    for name in ("model", "raw", "again"):
        pth, safe = (open_weights(locate(tmp_path / f"{name}{suffix}"), name) for suffix in (".pth", ".safetensors"))
        assert equal(pth.tensors, state)
        assert equal(safe.tensors, state)
        assert (safe.kind, safe.metadata, safe.config) == (pth.kind, pth.metadata, pth.config)
        assert (safe.metadata.mean, safe.metadata.to_bgr, safe.metadata.classes) == ([104, 117, 128], True, [*"abcd"])
    (pth_config, pth_content), (config, content) = (
        open_checkpoint(tmp_path / f"model{suffix}", []) for suffix in (".pth", ".safetensors")
    )
    assert config == pth_config
    assert {k: v for k, v in content.items() if k != "model"} == {k: v for k, v in pth_content.items() if k != "model"}


def test_export_safetensors_has_averaged_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = theirs(tmp_path / "in.pth")
    main(["convert", str(tmp_path / "in.pth"), str(tmp_path / "run.pth"), "model=tiny3d"])
    content = torch.load(tmp_path / "run.pth", weights_only=True)
    averaged = {f"module.{key}": value + 1 for key, value in state.items()}
    torch.save({**content, "ema": {"n_averaged": torch.tensor(2), **averaged}}, tmp_path / "ema.pth")
    out = tmp_path / "out.safetensors"
    assert main(["export", f"run={tmp_path / 'ema.pth'}", "format=safetensors", f"out={out}", "device=cpu"]) == 0
    assert equal(load_file(out), {key: value + 1 for key, value in state.items()})
    assert len(load_checkpoint(build_model("tiny3d", 4), out).matched) == 82
    assert "98 tensors, 4 classes" in capsys.readouterr().out
    again = tmp_path / "again.safetensors"
    assert main(["export", f"run={out}", "format=safetensors", f"out={again}", "device=cpu"]) == 0
    assert equal(load_file(again), load_file(out))


@pytest.mark.parametrize("arguments", [["convert", "{}/in.pth", "{}/out.bin"], ["convert", "{}/in.pth", "{}/out.json"]])
def test_convert_other_suffix_raises(arguments: list[str], tmp_path: Path, capsys: Any) -> None:
    torch.save(Net().state_dict(), tmp_path / "in.pth")
    assert main([argument.format(tmp_path) for argument in arguments]) == 2
    assert "must end in .pth or .safetensors" in capsys.readouterr().err
