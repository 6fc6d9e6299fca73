"""Activation checkpointing: equal gradients and buffers, unchanged keys, and no effect in evaluation."""

from __future__ import annotations

import copy
import shutil
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor, nn

from vexp import compose
from vexp.core.errors import ConfigError
from vexp.model import build_model
from vexp.model.zoo import X3d
from vexp.model.zoo_transformers import TimeSformer
from vexp.optim.ema import Ema
from vexp.runtime.activation_checkpointing import checkpoint_activations
from vexp.runtime.backend import Backend

CPU = torch.device("cpu")


def make_model(name: str) -> tuple[nn.Module, tuple[int, ...]]:
    """Build a small model with dropout or stochastic depth, or with batch norm; return it and the size of its clips."""
    torch.manual_seed(0)
    if name == "timesformer":
        option = TimeSformer(num_frames=2, img_size=32, patch_size=16, width=16, depth=3, heads=2, drop_path=0.5)
        return option.build(5), (3, 2, 32, 32)
    if name == "x3d":
        return X3d(width_factor=0.25, depth_factor=1.0).build(5), (3, 2, 32, 32)
    if name == "tiny3d":
        return build_model("tiny3d", 5), (3, 4, 32, 32)
    transformers = pytest.importorskip("transformers")
    config = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
    config |= {"num_frames": 2, "frames_per_clip": 2, "tubelet_size": 2, "image_size": 32, "crop_size": 32}
    config |= {"hidden_dropout_prob": 0.3, "drop_path_rate": 0.3, "patch_size": 16, "num_labels": 5}
    known = getattr(transformers, f"{name}Config")
    accepted = {key: value for key, value in config.items() if hasattr(known(), key)}
    accepted |= {"Vivit": {"tubelet_size": [2, 16, 16]}, "Timesformer": {"drop_path_rate": 0}}.get(name, {})
    return HuggingFace(getattr(transformers, f"{name}ForVideoClassification")(known(**accepted))), (3, 2, 32, 32)


class HuggingFace(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, clips: Tensor) -> Tensor:
        return self.model(clips.transpose(1, 2)).logits  # type: ignore[no-any-return]


def gradients(model: nn.Module, size: tuple[int, ...]) -> dict[str, Tensor]:
    """Return the gradients and buffers after two backward passes in training."""
    torch.manual_seed(1)
    clips = torch.randn(2, *size)
    for _ in range(2):  # an accumulated gradient
        model.train()(clips).square().mean().backward()
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return found | {name: buffer.clone() for name, buffer in model.named_buffers()}


def saved_bytes(model: nn.Module, size: tuple[int, ...]) -> int:
    """Return the bytes of the tensors that a forward pass keeps for the backward pass, without weights."""
    sizes: dict[int, int] = {}
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = model(torch.zeros(2, *size))  # which keeps the tensors alive
    return sum(sizes.values()) + 0 * output.numel()


@pytest.mark.parametrize(
    ("name", "blocks"),
    [
        ("timesformer", True),
        ("x3d", True),
        ("tiny3d", ["stage*"]),
        ("VideoMAE", True),
        ("VJEPA2", True),
        ("Vivit", True),
        ("Timesformer", ["model.timesformer.encoder.layer.[01]"]),
    ],
)
def test_gradients_and_running_statistics_are_equal_to_the_bit(name: str, blocks: Any) -> None:
    model, size = make_model(name)
    checkpointed = copy.deepcopy(model)
    checkpoint_activations(checkpointed, blocks)
    assert checkpointed.state_dict().keys() == model.state_dict().keys()
    expected, actual = gradients(model, size), gradients(checkpointed, size)
    assert actual.keys() == expected.keys()
    assert [key for key in expected if not torch.equal(actual[key], expected[key])] == []
    assert saved_bytes(checkpointed, size) < 0.8 * saved_bytes(model, size)


def test_evaluation_does_not_checkpoint() -> None:
    model, size = make_model("timesformer")
    checkpoint_activations(model, True)
    with mock.patch("vexp.runtime.activation_checkpointing.checkpoint", side_effect=AssertionError):
        model.eval()(torch.zeros(1, *size))
        with torch.no_grad():
            model.train()(torch.zeros(1, *size))
        with pytest.raises(AssertionError):
            model(torch.zeros(1, *size))


def test_moving_average_is_checkpointed_on_its_own() -> None:
    """The copy computes with its own weights."""
    model, size = make_model("timesformer")
    checkpoint_activations(model, True)
    average = Ema(decay=0.5).build(model)
    assert average is not None
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    average.module.eval()
    assert not torch.equal(average.module(torch.ones(1, *size)), model.eval()(torch.ones(1, *size)))


@pytest.mark.integration
def test_model_in_eval_mode_is_exported() -> None:
    model, size = make_model("timesformer")
    expected = model.eval()(torch.ones(2, *size))
    checkpoint_activations(model, True)
    program = torch.export.export(model.eval(), (torch.ones(2, *size),))
    torch.testing.assert_close(program.module()(torch.ones(2, *size)), expected)


def test_of_nested_modules_the_outermost_are_checkpointed() -> None:
    model, _ = make_model("timesformer")
    assert checkpoint_activations(model, ["backbone.blocks.*"]) == [f"backbone.blocks.{i}" for i in range(3)]


@pytest.mark.parametrize(
    ("blocks", "rule"),
    [(True, "Tiny3d has no blocks"), (["stage5"], "no module of Tiny3d matches 'stage5'")],
)
def test_model_without_such_modules_raises(blocks: Any, rule: str) -> None:
    with pytest.raises(ConfigError, match=rule) as raised:
        Backend(activation_checkpointing=blocks).prepare(build_model("tiny3d", 5), CPU)
    assert raised.value.key == "backend.activation_checkpointing"


@pytest.mark.parametrize("value", ["blocks", 1, [""], [1]])
def test_option_accepts_bool_and_patterns_only(value: Any) -> None:
    with pytest.raises(ConfigError, match="must be true, false or a list of module paths"):
        Backend(activation_checkpointing=value)


def test_option_is_typed_on_the_command_line() -> None:
    config = compose(["backend.activation_checkpointing=[stage1,stage2]"])
    assert config.backend.activation_checkpointing == ["stage1", "stage2"]
    assert compose(["backend.activation_checkpointing=true"]).backend.activation_checkpointing is True
    assert compose([]).backend.activation_checkpointing is False


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on the CPU")
@pytest.mark.filterwarnings("ignore")  # warnings of torch's compiler
def test_compiled_model_gives_equal_gradients_and_running_statistics() -> None:
    model, size = make_model("tiny3d")
    compiled = copy.deepcopy(model)
    Backend(compile=True, activation_checkpointing=["stage*"]).prepare(compiled, CPU)
    model.compile()
    expected, actual = gradients(model, size), gradients(compiled, size)
    for key, value in expected.items():
        torch.testing.assert_close(actual[key], value, rtol=1e-4, atol=1e-6)
