"""Weights from every kind of file: what each gave, and that a refusal leaves the model as it was."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.small_net import Net, State, other, prefixed
from torch import nn

from vexp import checkpoint
from vexp.core.errors import UserError
from vexp.model import build_model
from vexp.model.config import Tiny3d
from vexp.model.weights.config import Weights
from vexp.model.weights.load import (
    _rename,
    load_checkpoint,
    load_exactly,
    load_state_dict,
    read_checkpoint,
    read_checkpoint_with_prefix,
)


class Runs:
    """A pickle of it would run code when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def vexp_checkpoint() -> State:
    trained, averaged = other(), Net(3, seed=2).state_dict()
    return {"model": trained, "ema": {"n_averaged": torch.tensor(3), **prefixed("module.", averaged)}, "classes": ["a"]}


def numpy_meta() -> State:
    """What mmcv leaves in ``meta``: the best score as a NumPy number."""
    best = {"best_score": np.float64(0.25), "epoch": np.int64(4), "half": np.float32(0.5), "ok": np.bool_(True)}
    return {"meta": {"hook_msgs": best, "CLASSES": ("a", "b", "c")}, "state_dict": other()}


#: name -> (content, tensors that fit of the 8 that count, kind)
READ: dict[str, tuple[Callable[[], State], int, str]] = {
    "bare": (other, 8, "plain"),
    "DataParallel": (lambda: prefixed("module.", other()), 8, "plain"),
    "DataParallel, compiled": (lambda: {"model": prefixed("module._orig_mod.", other())}, 8, "plain"),
    "{'state_dict': ...}": (lambda: {"state_dict": other(), "epoch": 3}, 8, "plain"),
    "{'model': ...}": (lambda: {"model": other(), "args": {"lr": 0.1}}, 8, "plain"),
    "PySlowFast": (lambda: {"model_state": other(), "epoch": 3, "cfg": "TRAIN: ..."}, 8, "slowfast"),
    "mmaction2": (numpy_meta, 8, "mmaction2"),
    "Lightning": (
        lambda: {"state_dict": prefixed("model.", other()), "pytorch-lightning_version": "2.5"}, 8, "lightning",
    ),
    "a teacher beside it": (lambda: prefixed("student.", other()) | {"teacher.x": torch.ones(2)}, 8, "plain"),
    "another class count": (lambda: other(5), 6, "plain"),
    "no head": (lambda: {k: v for k, v in other().items() if not k.startswith("head")}, 6, "plain"),
    "no counters of batch norm": (lambda: {k: v for k, v in other().items() if "num_batches" not in k}, 8, "plain"),
    "head as a 1 x 1 convolution": (
        lambda: other() | {"head.weight": other()["head.weight"][..., None, None]}, 8, "plain",
    ),
    "half precision": (lambda: {key: value.half() for key, value in other().items()}, 8, "plain"),
    "vexp": (vexp_checkpoint, 8, "vexp"),
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
def test_load_checkpoint_supported_file_matches(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    content, fits, kind = READ[name]
    torch.save(content(), tmp_path / "w.pth")
    model, fresh = Net(), Net().state_dict()
    with caplog.at_level("INFO", "vexp"):
        report = load_checkpoint(model, tmp_path / "w.pth")
    assert (len(report.matched) + len(report.reshaped), report.kind) == (fits, kind)
    assert f"{fits} of 8 tensors match" in caplog.text
    wanted = Net(3, seed=2).state_dict() if name == "vexp" else other()
    for key, value in model.state_dict().items():
        source = fresh if key in report.reinitialized else wanted
        tolerance = 1e-3 if name == "half precision" else 0.0
        torch.testing.assert_close(value, source[key], rtol=tolerance, atol=tolerance)


def broken_zip(path: Path) -> None:
    torch.save(other(), path)
    path.write_bytes(path.read_bytes()[:-900])


#: name -> (how the file is made, what the message says)
REFUSED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "state dict of another model": (
        lambda p: torch.save(build_model("tiny3d", 3).state_dict(), p),
        r"does not belong to this model: 1 of 8 tensors match, \d+ tensors of the file are not in the model",
    ),
    "truncated": (broken_zip, "can read, or it is damaged"),
    "empty": (lambda p: p.write_bytes(b""), "is an empty file"),
    "HTML error page": (lambda p: p.write_text("<!DOCTYPE html><title>404"), "is no checkpoint, it begins with '<!DOC"),
    "another kind of archive": (lambda p: p.write_bytes(b"PK\x03\x04nothing"), "is no checkpoint that torch.load"),
    "a video": (lambda p: p.write_bytes(b"\0\0\0 ftypisom"), "is no checkpoint, it begins with"),
    "a lone tensor": (lambda p: torch.save(torch.ones(3), p), "holds a Tensor"),
    "no tensors": (lambda p: torch.save({"epoch": 3, "meta": {}}, p), "contains no weights; its keys are epoch, meta"),
    "malicious pickle": (lambda p: torch.save({"x": Runs(p.parent / "ran")}, p), "refused: holds more than .*mkdir"),
    "whole module pickled": (lambda p: torch.save(Net(), p), "refused: holds more than tensors"),
    "missing": (lambda p: None, "no such checkpoint"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_load_checkpoint_unsupported_file_raises(name: str, tmp_path: Path) -> None:
    make, message = REFUSED[name]
    make(tmp_path / "w.pth")
    model = Net()
    with pytest.raises(UserError, match=message):
        load_checkpoint(model, tmp_path / "w.pth")
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), Net().state_dict().values(), strict=True))
    assert not (tmp_path / "ran").exists()


#: name -> (content, keyword arguments, what the message says)
STRICT: dict[str, tuple[Callable[[], State], dict[str, Any], str]] = {
    "missing head": (
        lambda: {k: v for k, v in other().items() if "head" not in k},
        {"strict": True},
        "not in the file",
    ),
    "unexpected key": (
        lambda: other() | {"extra": torch.ones(1)},
        {"strict": True},
        "1 tensors of the file are not in the model",
    ),
    "other classes": (lambda: other(5), {"strict": True}, "head.weight .5 x 4 in the file, 3 x 4 here"),
    "too little": (lambda: other(5), {"min_match": 0.8}, "at least min_match=0.8"),
    "nothing, though nothing is asked": (lambda: {"a": torch.ones(1)}, {"min_match": 0.0}, "0 of 8"),
    "no share": (other, {"min_match": 50}, "min_match=50: must be a fraction"),
}


@pytest.mark.parametrize("name", STRICT)
def test_load_state_dict_refused_leaves_model_unchanged(name: str) -> None:
    """The strict load of mmcv copies what fits and then raises."""
    content, how, message = STRICT[name]
    model = Net()
    with pytest.raises(UserError, match=message):
        load_state_dict(model, content(), **how)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), Net().state_dict().values(), strict=True))


def test_load_report_lists_every_tensor(tmp_path: Path) -> None:
    torch.save(other(5) | {"extra.a": torch.ones(1), "extra.b": torch.ones(1)}, tmp_path / "w.pth")
    report = load_checkpoint(Net(), tmp_path / "w.pth")
    assert str(report).splitlines() == [
        f"weights from {tmp_path}/w.pth (a state dict): 6 of 8 tensors match",
        "  matched           6  backbone.conv.weight, backbone.conv.bias, backbone.bn.weight ...",
        "  reshaped          0",
        "  re-initialized    2  head.weight (5 x 4 in the file, 3 x 4 here), head.bias (5 in the file, 3 here)",
        "  ignored           2  extra.a, extra.b",
    ]
    assert report.match.heads == ["head.weight", "head.bias"]
    assert report.share == 6 / 8


def test_load_report_warns_of_missing_layers() -> None:
    """A deeper model of the same names: most fits, and what does not is no classifier."""
    partly = {key: value for key, value in other().items() if "bn" not in key}
    report = load_state_dict(Net(), partly, min_match=0.4)
    assert "4 tensors outside the classifier" in report.warnings()[0]
    assert "backbone.bn.weight" in report.warnings()[0]


def test_load_state_dict_data_parallel_loads_module() -> None:
    model = nn.DataParallel(Net())
    load_state_dict(model, other())
    assert torch.equal(model.module.head.weight, other()["head.weight"])


def test_load_checkpoint_class_map_selects_rows_of_the_classifier(tmp_path: Path) -> None:
    """Of a file with more classes than the model, in another order."""
    theirs, model = other(classes=5), Net(classes=3)
    torch.save(theirs, tmp_path / "w.pth")
    (tmp_path / "map.json").write_text("[4, 0, 2]")
    Weights(class_map=str(tmp_path / "map.json"), strict=True).load(model, str(tmp_path / "w.pth"))
    assert torch.equal(model.head.weight, theirs["head.weight"][[4, 0, 2]])
    assert torch.equal(model.head.bias, theirs["head.bias"][[4, 0, 2]])
    assert torch.equal(model.backbone["conv"].weight, theirs["backbone.conv.weight"])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[0, 5, 1]", "numbers from 0 to 4"),
        ("{}", "must be a list"),
        ("[0, 1.0]", "must be a list"),
        ("x", "not a JSON"),
    ],
)
def test_load_checkpoint_invalid_class_map_raises(text: str, problem: str, tmp_path: Path) -> None:
    torch.save(other(classes=5), tmp_path / "w.pth")
    (tmp_path / "map.json").write_text(text)
    with pytest.raises(UserError, match=problem):
        load_checkpoint(Net(classes=3), tmp_path / "w.pth", class_map=tmp_path / "map.json")


def test_load_checkpoint_prefix_loads_part(tmp_path: Path) -> None:
    torch.save({"state_dict": prefixed("module.", other())}, tmp_path / "w.pth")
    for prefix in ("backbone", "backbone."):
        below = read_checkpoint_with_prefix(prefix, tmp_path / "w.pth")
        assert sorted(below) == [
            "bn.bias", "bn.num_batches_tracked", "bn.running_mean", "bn.running_var", "bn.weight", "conv.bias",
            "conv.weight",
        ]  # fmt: skip
    model = Net()
    load_checkpoint(model.backbone, tmp_path / "w.pth", prefix="backbone")
    assert torch.equal(model.backbone["conv"].weight, other()["backbone.conv.weight"])
    with pytest.raises(UserError, match=r"prefix=bakbone: no key of .* starts with 'bakbone.'; .* backbone, head"):
        read_checkpoint_with_prefix("bakbone", tmp_path / "w.pth")


def test_load_checkpoint_backbone_only_adds_prefix(tmp_path: Path) -> None:
    torch.save(Net(seed=1).backbone.state_dict(), tmp_path / "w.pth")
    report = load_checkpoint(Net(), tmp_path / "w.pth")
    assert report.reinitialized == ["head.weight", "head.bias"]
    assert "prefix 'backbone.' added to every key" in str(report)


def test_load_checkpoint_ambiguous_prefix_is_refused(tmp_path: Path) -> None:
    torch.save(prefixed("student.", other()) | prefixed("teacher.", other()), tmp_path / "w.pth")
    with pytest.raises(UserError, match="0 of 8 tensors match"):
        load_checkpoint(Net(), tmp_path / "w.pth")
    assert len(load_checkpoint(Net(), tmp_path / "w.pth", prefix="teacher").matched) == 8


def test_rename_rules_change_keys_or_raise() -> None:
    tensors = {"a.x": torch.ones(1), "b.x": torch.zeros(1)}
    assert list(_rename(tensors, [("^a", "c"), (r"^c\.x", "d")], "f")) == ["d", "b.x"]
    for rules, message in (
        ([("^z", "y")], "rename '.z': matches no key of f; the keys are a.x, b.x"),
        ([("^[ab]", "c")], "renames both a.x and b.x to c.x"),
        ([("(", "c")], "not a valid regular expression"),
    ):
        with pytest.raises(UserError, match=message):
            _rename(tensors, rules, "f")


def test_weights_rename_is_parsed_to_pairs() -> None:
    assert Weights(rename=[r"^backbone\. -> ", "a->b"]).rename_pairs() == [(r"^backbone\.", ""), ("a", "b")]
    with pytest.raises(ValueError, match="must be 'PATTERN -> REPLACEMENT'"):
        Weights(rename=["backbone"])


def test_read_checkpoint_returns_content_unchanged(tmp_path: Path) -> None:
    torch.save(numpy_meta(), tmp_path / "w.pth")
    content = read_checkpoint(tmp_path / "w.pth")
    assert list(content) == ["meta", "state_dict"]
    read = content["meta"]["hook_msgs"]
    assert read == {"best_score": 0.25, "epoch": 4, "half": 0.5, "ok": True}
    assert [type(value) for value in read.values()] == [float, int, float, bool]


def test_read_checkpoint_numpy_replacements_end_after_reading(tmp_path: Path) -> None:
    torch.save(numpy_meta(), tmp_path / "w.pth")
    read_checkpoint(tmp_path / "w.pth")
    with pytest.raises(UserError, match="refused"):
        checkpoint.load(tmp_path / "w.pth")


@pytest.mark.parametrize("dtype", ["O", "U3", "V8"])
def test_read_checkpoint_numpy_scalar_without_number_raises(dtype: str, tmp_path: Path) -> None:
    value = np.array([("abc")], dtype="U3")[0] if dtype == "U3" else np.zeros(1, dtype)[0]
    torch.save({"x": Scalar(dtype, value)}, tmp_path / "w.pth")
    with pytest.raises(UserError):
        read_checkpoint(tmp_path / "w.pth")


class Scalar:
    """Pickles as a NumPy scalar of any type."""

    def __init__(self, dtype: str, value: Any) -> None:
        self.dtype, self.value = dtype, value

    def __reduce__(self) -> tuple[Any, ...]:
        return np.array([1.0])[0].__reduce__()[0], (np.dtype(self.dtype), b"\0" * 8)


def test_load_exactly_other_model_raises() -> None:
    model = Net()
    load_exactly(model, vexp_checkpoint(), "x.pth")
    assert torch.equal(model.head.weight, Net(3, seed=2).head.weight)
    with pytest.raises(UserError, match=r"x.pth: does not belong to this model"):
        load_exactly(Net(5), vexp_checkpoint(), "x.pth")


def test_build_applies_init_then_weights(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Without ``pretrained`` neither is applied, so that a run from a checkpoint needs no other file."""
    trained = build_model("tiny3d", 4)
    torch.save(trained.state_dict(), tmp_path / "w.pth")
    option = Tiny3d(
        weights=Weights(path=str(tmp_path / "w.pth")), init={"type": "Constant", "val": 7, "layer": "Linear"}
    )
    with caplog.at_level("INFO", "vexp"):
        model = build_model(option, 8)
    assert torch.equal(model.stem[0].weight, trained.stem[0].weight)  # type: ignore[index, union-attr]
    assert (model.head.weight == 7).all()  # type: ignore[union-attr]
    assert [message.split()[0] for message in caplog.messages] == ["init:", "weights"]
    (tmp_path / "w.pth").unlink()
    assert not (build_model(option, 8, pretrained=False).head.weight == 7).any()  # type: ignore[union-attr]


def test_load_checkpoint_applies_adapt(tmp_path: Path) -> None:
    class Known(Tiny3d):
        def adapt(self, tensors: Mapping[str, torch.Tensor], model: nn.Module) -> dict[str, torch.Tensor]:
            return {key.replace("backbone.", "").replace("cls_head.fc.", "head."): t for key, t in tensors.items()}

    trained = build_model("tiny3d", 4).state_dict()
    theirs = {"cls_head.fc." + k[5:] if k.startswith("head.") else f"backbone.{k}": v for k, v in trained.items()}
    torch.save({"state_dict": theirs, "meta": {}}, tmp_path / "w.pth")
    report = load_checkpoint(build_model(Known(), 4), tmp_path / "w.pth")
    assert (len(report.matched), report.ignored, report.kind) == (82, [], "mmaction2")
    assert "98 keys renamed for this model" in str(report)


def bad_tensors() -> dict[str, tuple[torch.Tensor, str]]:
    """Values of ``head.weight``, and what the message states about each."""
    weight = build_model("tiny3d", 4).state_dict()["head.weight"]
    return {
        "sparse": (weight.to_sparse(), "is sparse or quantized"),
        "csr": (weight.to_sparse_csr(), "is sparse or quantized"),
        "meta": (weight.to("meta"), "has no values"),
    }


@pytest.mark.parametrize("name", ["sparse", "csr", "meta"])
@pytest.mark.filterwarnings("ignore:Sparse")
def test_load_checkpoint_tensor_without_values_raises(name: str, tmp_path: Path) -> None:
    tensor, text = bad_tensors()[name]
    state = build_model("tiny3d", 4).state_dict()
    torch.save({**state, "head.weight": tensor}, tmp_path / "w.pth")
    with pytest.raises(UserError, match=rf"w\.pth: the tensor head\.weight {text}"):
        load_checkpoint(build_model("tiny3d", 4), tmp_path / "w.pth")
    torch.save({**state, "of another model": tensor}, tmp_path / "w.pth")  # such a tensor is ignored
    assert load_checkpoint(build_model("tiny3d", 4), tmp_path / "w.pth").share == 1


@pytest.mark.parametrize("value", [None, 5, "x", [], [1], {}, {1: 2}, torch.zeros(2), b"x", float("nan")])
@pytest.mark.parametrize(
    "key", ["ema", "classes", "config", "img_norm", "config.img_norm", "meta.CLASSES", "meta.config", "model", "net", 7]
)
def test_load_checkpoint_odd_value_is_ignored_or_refused(key: Any, value: Any, tmp_path: Path) -> None:
    """Whatever a file from elsewhere contains, it is one message that names the file."""
    name, _, inner = str(key).partition(".")
    nested = {inner: value} if inner else value
    model, state = Net(4), other(4)
    contents = [{"model": state, "classes": list("abcd"), name: nested}, {"state_dict": state, name: nested}]
    for content in [*contents, {**state, key: value}]:
        torch.save(content, tmp_path / "w.pth")
        message = ""
        try:
            load_checkpoint(model, tmp_path / "w.pth")
        except UserError as error:
            message = str(error)
        assert message.startswith(str(tmp_path / "w.pth")) or not message
