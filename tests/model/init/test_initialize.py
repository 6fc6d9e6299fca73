"""init_cfg: the values of mmcv 1.7 (recorded, with its versions' numbers), and its silent faults as errors."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from vexp import compose
from vexp.core.errors import UserError
from vexp.model.init import check_init, initialize

SET = -9.0  # what every parameter was before


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv2, self.conv3 = nn.Conv2d(1, 2, 1), nn.Conv3d(1, 2, 1)
        self.lin, self.bn = nn.Linear(2, 2), nn.BatchNorm2d(2)
        self.sub = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.Linear(1, 1))
        for parameter in self.parameters():
            nn.init.constant_(parameter, SET)


def changed(init_cfg: Any) -> dict[str, float]:
    """First value of every parameter that is no longer what it was."""
    torch.manual_seed(3)
    block = Block()
    initialize(block, init_cfg)
    firsts = {name: parameter.flatten()[0].item() for name, parameter in block.named_parameters()}
    return {name: value for name, value in firsts.items() if value != SET}


def weight_and_bias(layers: str, weight: float, bias: float) -> dict[str, float]:
    return {f"{layer}.{kind}": v for layer in layers.split() for kind, v in (("weight", weight), ("bias", bias))}


CONSTANT = {"type": "Constant", "val": 1, "bias": 2}

#: (what the row shows, init_cfg, changed parameters): recorded from mmcv 1.7.0, but where a comment says otherwise
TABLE: list[tuple[str, Any, dict[str, float]]] = [
    (
        "the user's example, base classes do not matter",
        {**CONSTANT, "layer": "Conv2d"}, weight_and_bias("conv2", 1, 2) | {"sub.0.weight": 1},
    ),  # mmcv's recording had no sub.0: there it was an identity
    ("layers", {**CONSTANT, "layer": ["Conv3d", "Linear"]}, weight_and_bias("conv3 lin sub.1", 1, 2)),
    ("a base class", {**CONSTANT, "layer": "_ConvNd"}, weight_and_bias("conv2 conv3", 1, 2) | {"sub.0.weight": 1}),
    (
        "a base of a base: mmcv looks at the nearest only and misses the others",
        {**CONSTANT, "layer": "Module"}, weight_and_bias("conv2 conv3 lin bn sub.1", 1, 2) | {"sub.0.weight": 1},
    ),
    (
        "bias_prob",
        {"type": "Constant", "val": 1, "bias_prob": 0.01, "layer": "Linear"},
        weight_and_bias("lin sub.1", 1, -4.595119953155518),
    ),
    (
        "override by name alone: the same on the whole part",
        {**CONSTANT, "layer": "Conv3d", "override": {"name": "sub"}},
        weight_and_bias("conv3 sub.1", 1, 2) | {"sub.0.weight": 1},
    ),
    (
        "override with a type of its own, on a part of a part",
        {**CONSTANT, "layer": "Conv3d", "override": {"name": "sub.1", "type": "Constant", "val": 3}},
        weight_and_bias("conv3", 1, 2) | weight_and_bias("sub.1", 3, 0),
    ),
    ("override without layer", {**CONSTANT, "override": [{"name": "lin"}]}, weight_and_bias("lin", 1, 2)),
    (
        "a list, the later wins, the bias is 0 unless given",
        [{**CONSTANT, "layer": "Conv3d"}, {"type": "Constant", "val": 2, "bias": 1, "layer": "Conv3d"}],
        weight_and_bias("conv3", 2, 1),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("init_cfg", "wanted"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_initialize_equals_mmcv(init_cfg: Any, wanted: dict[str, float]) -> None:
    assert check_init(init_cfg) is None
    assert changed(init_cfg) == pytest.approx(wanted)


def weights_of(init_cfg: dict[str, Any], size: int = 400) -> torch.Tensor:
    torch.manual_seed(0)
    layer = nn.Linear(size, size // 2)
    initialize(layer, init_cfg | {"layer": "Linear"})
    assert not layer.bias.any()
    return layer.weight.detach()


#: (init_cfg, standard deviation, largest magnitude) of a layer with fan_in 400 and fan_out 200
SPREAD: list[tuple[dict[str, Any], float, float]] = [
    ({"type": "Normal", "std": 0.01}, 0.01, math.inf),
    ({"type": "Normal", "mean": 0.0}, 1.0, math.inf),
    ({"type": "TruncNormal", "std": 1.0, "a": -0.5, "b": 0.5}, 0.2852, 0.5),  # bounds are values, not multiples of std
    ({"type": "Uniform", "a": -0.3, "b": 0.3}, 0.3 / 3**0.5, 0.3),
    ({"type": "Xavier"}, (2 / 600) ** 0.5, math.inf),
    ({"type": "Xavier", "gain": 2, "distribution": "uniform"}, 2 * (2 / 600) ** 0.5, 2 * (6 / 600) ** 0.5),
    ({"type": "Kaiming"}, (2 / 200) ** 0.5, math.inf),  # fan_out, relu, normal
    ({"type": "Kaiming", "mode": "fan_in", "distribution": "uniform"}, (2 / 400) ** 0.5, (6 / 400) ** 0.5),
    ({"type": "Kaiming", "a": 1, "nonlinearity": "leaky_relu"}, (1 / 200) ** 0.5, math.inf),
    ({"type": "Caffe2Xavier"}, (1 / 400) ** 0.5, (3 / 400) ** 0.5),
]


@pytest.mark.parametrize(("init_cfg", "std", "largest"), SPREAD)
def test_initialize_distribution_has_expected_spread(init_cfg: dict[str, Any], std: float, largest: float) -> None:
    weight = weights_of(init_cfg)
    assert weight.std(correction=0).item() == pytest.approx(std, rel=0.02)
    assert weight.abs().max().item() <= largest


@pytest.mark.parametrize(
    ("init_cfg", "message"),
    [
        ({"type": "Nrmal", "layer": "Linear"}, "type=Nrmal: unknown initialization; did you mean Normal?"),
        ({"layer": "Linear"}, "type=None: unknown initialization"),
        ({"type": "Normal", "sdt": 1, "layer": "Linear"}, "Normal: unknown argument 'sdt'; did you mean std?"),
        ({"type": "Constant", "layer": "Linear"}, "Constant: the argument val is missing"),
        ({"type": "Constant", "val": 1, "bias": "x", "layer": "Linear"}, "Constant: bias=x: must be a number"),
        ({"type": "Kaiming", "mode": "fan", "layer": "Linear"}, "mode=fan: must be one of fan_in, fan_out"),
        ({"type": "Normal"}, "Normal: has no effect without layer"),
        ({"type": "Normal", "override": {"type": "Normal"}}, "must have the name of a submodule"),
        ({"type": "Normal", "override": {"name": "sub", "std": 3}}, "override sub: std need a type"),
        ({"type": "Pretrained", "checkpoint": "w.pth", "layer": "Linear"}, "layer and override are not allowed"),
        ("Normal", "must be a rule"),
        ([3], "must be a rule"),
    ],
)
def test_check_init_invalid_rule_returns_reason(init_cfg: Any, message: str) -> None:
    assert message in (check_init(init_cfg) or "")
    with pytest.raises(UserError, match=message.split("=")[0].split("'")[0].replace("?", "")):
        initialize(Block(), init_cfg)


@pytest.mark.parametrize(
    ("init_cfg", "message"),
    [
        ({"type": "Normal", "layer": "Liner"}, "layer=Liner: the model has no such layer; did you mean Linear?"),
        ({"type": "Normal", "layer": ["Linear", "Conv1d"]}, "layer=Conv1d: the model has no such layer"),
        ({"type": "Normal", "layer": "Block"}, "layer=Block: has no weight and no bias"),
        ({"type": "Xavier", "layer": "_BatchNorm"}, "the weight of BatchNorm2d bn has one dimension"),
        (
            {"type": "Normal", "layer": "Linear", "override": {"name": "subb"}},
            "override subb: the model has no such submodule",
        ),
    ],
)
def test_initialize_rule_without_effect_changes_nothing(init_cfg: Any, message: str) -> None:
    """In mmcv, such a rule silently initializes nothing."""
    block = Block()
    with pytest.raises(UserError) as refused:
        initialize(block, [{"type": "Constant", "val": 1, "layer": "Linear"}, init_cfg])
    assert message in str(refused.value)
    assert all((parameter == SET).all() for parameter in block.parameters())


def test_initialize_pretrained_loads_prefix(tmp_path: Any, caplog: pytest.LogCaptureFixture) -> None:
    torch.manual_seed(5)
    torch.save({"state_dict": {f"m.{k}": v + 1 for k, v in Block().state_dict().items()}}, tmp_path / "w.pth")
    block = Block()
    with caplog.at_level("INFO", "vexp"):
        (report,) = initialize(block, {"type": "Pretrained", "checkpoint": str(tmp_path / "w.pth"), "prefix": "m"})
    assert (block.lin.weight == SET + 1).all()
    assert report.match.matching == 13
    assert "13 of 13 tensors match" in caplog.text


def test_compose_checks_init() -> None:
    config = compose(["model.init={type:Normal,std:0.01,layer:Linear}"])
    assert config.model.init == {"type": "Normal", "std": 0.01, "layer": "Linear"}  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=r"model.init=.*type=Nrmal: unknown initialization; did you mean Normal\?"):
        compose(["model.init={type:Nrmal,layer:Linear}"])
