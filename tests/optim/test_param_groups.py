"""Which parameter is trained at which rate: against what mmcv was recorded to do, and what it got wrong."""

import json
from dataclasses import replace

import pytest
import torch
from support.paths import GOLDEN_DIR
from torch import nn

from vexp import compose
from vexp.optim.optimizers import SGD
from vexp.optim.param_groups import build_optimizer, param_groups
from vexp.optim.paramwise import Paramwise

GOLDEN = json.loads((GOLDEN_DIR / "optim_groups.json").read_text())
CASES = {case["name"]: case for case in GOLDEN["cases"]}


def named_net(**parts):
    model = nn.Module()
    for name, part in parts.items():
        model.add_module(name, part)
    return model


def toy():
    """One layer of every kind that has a rule, a parameter of the model itself, a frozen layer."""
    model = named_net(
        backbone=named_net(
            conv1=nn.Conv3d(3, 4, 3),
            bn1=nn.BatchNorm3d(4),
            dw3d=nn.Conv3d(4, 4, 3, groups=4),
            dw2d=nn.Conv2d(4, 4, 3, groups=4),
            gray=nn.Conv2d(1, 4, 3),
            pw=nn.Conv2d(4, 8, 1, bias=False),
            gn=nn.GroupNorm(2, 8),
            ln=nn.LayerNorm(8),
            inorm=nn.InstanceNorm2d(8, affine=True),
            frozen=nn.Linear(8, 8).requires_grad_(False),
        ),
        attn=nn.MultiheadAttention(8, 2),
        cls_head=named_net(fc_cls=nn.Linear(8, 5)),
    )
    model.scale = nn.Parameter(torch.ones(1))
    return model


def tsm_toy(*, head_bias=True):
    return named_net(
        backbone=named_net(
            conv1=nn.Conv2d(3, 4, 7, bias=False),
            bn1=nn.BatchNorm2d(4),
            conv2=nn.Conv2d(4, 4, 3),
            bn2=nn.BatchNorm2d(4),
            down=nn.Conv2d(4, 8, 1),
        ),
        cls_head=named_net(dropout=nn.Dropout(0.5), fc_cls=nn.Linear(8, 5, bias=head_bias)),
    )


def from_names(names):
    """A model with these parameters: bn is a batch norm, fc_cls is linear, all other layers are convolutions."""
    model = nn.Module()
    for name in names:
        *path, layer, _ = name.split(".")
        parent = model
        for part in path:
            if part not in dict(parent.named_children()):
                parent.add_module(part, nn.Module())
            parent = parent.get_submodule(part)
        made = nn.BatchNorm2d(1) if layer == "bn" else nn.Linear(1, 1)
        parent.add_module(layer, made if layer in ("bn", "fc_cls") else nn.Conv2d(1, 1, 1, bias=False))
    return model


def net_of(name):
    if name == "TsmToy":
        return tsm_toy()
    if name.startswith("ResNet"):
        return from_names(GOLDEN["names"][name])
    model = toy()
    if "aux_head" in name:
        model.add_module("aux_head", named_net(fc=model.cls_head.fc_cls))
    return model


def groups_of(case):
    settings = dict(case["paramwise_cfg"] or {})
    if case["constructor"] == "TSMOptimizerConstructor":
        settings["rule"] = "tsm"
    built = compose([f"optimizer={case['type'].lower()}"]).optimizer
    given = {name: case[name] for name in ("lr", "weight_decay") if case[name] is not None}
    built = replace(built, **given, paramwise=Paramwise(**settings))
    model = net_of(case["model"])
    return param_groups(model, lr=built.lr, weight_decay=built.weight_decay, paramwise=built.paramwise)


def by_name(groups):
    return {name: (group["lr"], group["weight_decay"]) for group in groups for name in group["param_names"]}


#: Where vexp differs on purpose: parameter -> (its multipliers of lr and weight decay in mmcv, here), with the reason.
DIFFERENT = {
    "all": {
        "backbone.dw3d.weight": ((1, 1), (1, 0.125)),  # a depth-wise Conv3d is depth-wise
        "backbone.dw3d.bias": ((2, 0.5), (2, 0.125)),
        "backbone.gray.weight": ((1, 0.125), (1, 1)),  # a convolution of one input channel is not
        "backbone.gray.bias": ((2, 0.125), (2, 0.5)),
    },
}
#: Cases that mmcv accepts and vexp refuses.
REFUSED_HERE = {
    # nothing would have come of the setting, silently
    "custom_keys unmatched": "paramwise.custom_keys.nothing_like_this: matches no parameter name of Module",
    # AdamW's case has two keys that fit nothing in this model
    "AdamW": "paramwise.custom_keys.absolute_pos_embed: matches no parameter name",
}
#: Cases in which mmcv raises and vexp does not.
ACCEPTED_HERE = {
    "no weight_decay, custom decay_mult": "sgd always has a weight decay here",
    "no lr, custom lr_mult": "every optimizer has a base rate here",
    "duplicate module, no bypass": "both names of the parameters have the same multipliers",
    "duplicate module, bypass False explicit": "the same",
    "TSM model with LayerNorm": "a layer norm is a norm layer",
}
#: Cases in which both refuse, and what vexp says (mmcv: KeyError, AttributeError ...).
REFUSED_BY_BOTH = {
    "scalar custom key": r"custom_keys.backbone=0.1: must have lr_mult and decay_mult",
    "TSM other paramwise": "bias_lr_mult: conflicts with rule=tsm",
    "unknown optimizer": "optimizer=nosuch: no such option",
}
AGREE = [name for name, case in CASES.items() if "error" not in case and name not in REFUSED_HERE]


@pytest.mark.parametrize("name", AGREE)
def test_param_groups_equal_mmcv(name):
    case = CASES[name]
    found = by_name(groups_of(case))
    recorded = zip(GOLDEN["names"][case["model"]], case["lrs"], case["weight_decays"], strict=True)
    different = dict(DIFFERENT.get(name, {}))
    for parameter, lr, weight_decay in recorded:
        if "frozen" in parameter:
            assert parameter not in found  # mmcv keeps a group for it
            continue
        if parameter in different:
            theirs, here = different.pop(parameter)
            assert (lr, weight_decay) == pytest.approx((case["lr"] * theirs[0], case["weight_decay"] * theirs[1]))
            lr, weight_decay = case["lr"] * here[0], case["weight_decay"] * here[1]
        assert found.pop(parameter) == pytest.approx((lr, weight_decay), rel=1e-9), parameter
    assert (found, different) == ({}, {})


@pytest.mark.parametrize("name", [name for name in CASES if name not in AGREE])
def test_golden_cases_are_all_tested(name):
    refusal = REFUSED_HERE.get(name) or REFUSED_BY_BOTH.get(name)
    if refusal is None:
        assert ACCEPTED_HERE[name]
        assert groups_of(CASES[name])
    else:
        assert (name in REFUSED_HERE) == ("error" not in CASES[name])
        with pytest.raises(ValueError, match=refusal):
            groups_of(CASES[name])


def test_param_groups_adamw_case_with_matching_keys_equals_mmcv():
    keys = {"norm": {"decay_mult": 0.0}, "backbone": {"lr_mult": 0.1}}
    found = by_name(param_groups(toy(), lr=1.0, weight_decay=0.5, paramwise=Paramwise(custom_keys=keys)))
    recorded = zip(GOLDEN["names"]["Toy"], CASES["AdamW"]["lrs"], CASES["AdamW"]["weight_decays"], strict=True)
    for name, lr, weight_decay in recorded:
        if "frozen" not in name:
            assert found[name] == pytest.approx((lr / 1e-3, weight_decay / 0.05 * 0.5)), name


def test_param_groups_without_rules_is_single_group():
    (group,) = param_groups(toy(), lr=0.1, weight_decay=0.01, paramwise=None)
    assert {key: value for key, value in group.items() if "param" not in key} == {
        "name": "base", "lr": 0.1, "initial_lr": 0.1, "weight_decay": 0.01,
    }  # fmt: skip
    assert group["param_names"] == [name for name, p in toy().named_parameters() if p.requires_grad]


def test_param_groups_without_weight_decay_omit_it():
    (group,) = param_groups(toy(), lr=0.1, weight_decay=None, paramwise=None)
    assert "weight_decay" not in group
    with pytest.raises(ValueError, match=r"paramwise.bias_decay_mult: this optimizer has no weight decay"):
        param_groups(toy(), lr=0.1, weight_decay=None, paramwise=Paramwise(bias_decay_mult=0.0))


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"norm_decay_mult": 0.0}, {"base": (1, 1), "norm": (1, 0)}),
        ({"norm_decay_mult": 0.0, "bias_decay_mult": 0.0}, {"base": (1, 1), "bias+norm": (1, 0)}),
        ({"bias_lr_mult": 2.0}, {"base": (1, 1), "bias+dwconv_bias": (2, 1)}),
        ({"custom_keys": {"backbone": {"lr_mult": 0.1}}}, {"base": (1, 1), "backbone": (0.1, 1)}),
        ({"custom_keys": {"cls_head": {}}}, {"base": (1, 1)}),  # equal to the rest: one group
        # a key called as a rule is, with another multiplier
        (
            {"custom_keys": {"norm": {"decay_mult": 0.5}}, "norm_decay_mult": 0.0},
            {"base": (1, 1), "norm": (1, 0), "norm_2": (1, 0.5)},
        ),
        (
            {"custom_keys": {key: {"lr_mult": 3.0} for key in ("conv1", "dw2d", "gn", "ln", "pw")}},
            {"base": (1, 1), "conv1+dw2d+pw+2_more": (3, 1)},
        ),
    ],
)
def test_param_groups_equal_settings_are_merged(settings, names):
    groups = param_groups(toy(), lr=1.0, weight_decay=1.0, paramwise=Paramwise(**settings))
    assert {group["name"]: (group["lr"], group["weight_decay"]) for group in groups} == names


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"bias_lr_mult": 2.0, "norm_decay_mult": 0.0, "custom_keys": {"backbone": {"lr_mult": 0.1}}},
        {"rule": "tsm"},
        {"bypass_duplicate": True, "custom_keys": {"aux": {"lr_mult": 3.0}}},
    ],
)
def test_param_groups_contain_every_trainable_parameter_once(settings):
    model = toy()
    model.add_module("aux_head", named_net(fc=model.cls_head.fc_cls))
    groups = param_groups(model, lr=0.1, weight_decay=0.01, paramwise=Paramwise(**settings))
    found = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(found) == sorted({id(parameter) for parameter in model.parameters() if parameter.requires_grad})
    named = dict(model.named_parameters())
    assert all(
        named[name] is parameter
        for group in groups
        for name, parameter in zip(group["param_names"], group["params"], strict=True)
    )
    assert len({group["name"] for group in groups}) == len(groups)


def test_param_groups_unmatched_key_raises_with_suggestion():
    for key, hint in (
        ("bacbone", "did you mean backbone"),
        ("fc_cl5", "did you mean fc_cls"),
        ("zzz", "its submodules are"),
    ):
        with pytest.raises(ValueError, match=f"custom_keys.{key}: matches no parameter name.*{hint}"):
            param_groups(toy(), lr=1.0, weight_decay=0.0, paramwise=Paramwise(custom_keys={key: {"lr_mult": 2.0}}))


def test_param_groups_keys_match_frozen_and_root_parameters():
    keys = {"frozen": {"lr_mult": 2.0}, ".scale": {"lr_mult": 3.0}}  # mmcv's form of a root parameter's name
    found = by_name(param_groups(toy(), lr=1.0, weight_decay=0.0, paramwise=Paramwise(custom_keys=keys)))
    assert [name for name, (lr, _) in found.items() if lr != 1] == ["scale"]


def test_param_groups_shared_parameter_conflict_raises():
    model = toy()
    model.add_module("aux_head", named_net(fc=model.cls_head.fc_cls))
    keys = {"aux_head": {"lr_mult": 10.0}}
    with pytest.raises(ValueError, match=r"cls_head.fc_cls.weight and aux_head.fc.weight are the same parameter"):
        param_groups(model, lr=1.0, weight_decay=0.0, paramwise=Paramwise(custom_keys=keys))
    found = by_name(
        param_groups(model, lr=1.0, weight_decay=0.0, paramwise=Paramwise(custom_keys=keys, bypass_duplicate=True))
    )
    assert found["cls_head.fc_cls.weight"] == (1.0, 0.0)
    assert "aux_head.fc.weight" not in found


TSM = {
    # (fc_lr5, bias of the classifier): lr and decay of its weight, of its bias, of the last bias of the backbone
    (None, True): ((5, 1), (10, 0), (2, 0)),
    (True, True): ((5, 1), (10, 0), (2, 0)),
    (False, True): ((1, 1), (2, 0), (2, 0)),
    (True, False): ((5, 1), None, (2, 0)),  # mmaction2: the backbone's last bias got 10 x
}


@pytest.mark.parametrize(("fc_lr5", "head_bias"), TSM)
def test_param_groups_tsm_rule_equals_mmaction2(fc_lr5, head_bias):
    settings = Paramwise(rule="tsm", fc_lr5=fc_lr5)
    found = by_name(param_groups(tsm_toy(head_bias=head_bias), lr=1.0, weight_decay=1.0, paramwise=settings))
    names = ("cls_head.fc_cls.weight", "cls_head.fc_cls.bias", "backbone.down.bias")
    assert tuple(found.get(name) for name in names) == TSM[fc_lr5, head_bias]
    assert found["backbone.conv1.weight"] == (1, 1)
    assert found["backbone.bn1.weight"] == found["backbone.bn1.bias"] == (1, 0)


def test_param_groups_tsm_rule_supports_any_layer():
    """mmaction2 raised for a layer norm, and did not train a module's own parameters at all."""
    found = by_name(param_groups(toy(), lr=1.0, weight_decay=1.0, paramwise=Paramwise(rule="tsm")))
    assert found["backbone.ln.bias"] == (1, 0)
    assert found["scale"] == found["attn.in_proj_weight"] == (1, 1)
    assert found["cls_head.fc_cls.bias"] == (10, 0)


def test_param_groups_all_frozen_raises():
    with pytest.raises(ValueError, match="every parameter is frozen"):
        param_groups(toy().requires_grad_(False), lr=1.0, weight_decay=0.0, paramwise=None)


def test_build_optimizer_scales_rates_and_keeps_ratios():
    option = SGD(lr=0.1, base_batch_size=64, paramwise=Paramwise(custom_keys={"backbone": {"lr_mult": 0.1}}))
    built = build_optimizer(option, toy(), samples_per_step=16)
    rates = {group["name"]: (group["lr"], group["initial_lr"]) for group in built.param_groups}
    assert rates == {"base": (0.025, 0.025), "backbone": pytest.approx((0.0025, 0.0025))}
    assert built.defaults["lr"] == 0.025
    assert option.lr == 0.1


class OwnOption:
    """An option of the user's own that is no Optimizer: as a class of torch.optim by _target_ is."""

    def build(self, params):
        return torch.optim.SGD(params, lr=0.3)


def test_build_optimizer_plugin_keeps_rates_and_groups(monkeypatch):
    built = build_optimizer(OwnOption(), toy(), samples_per_step=16)
    (group,) = built.param_groups
    assert (group["name"], group["lr"], group["initial_lr"]) == ("base", 0.3, 0.3)
    assert len(group["params"]) == len(group["param_names"]) == 24
    made = [{"params": lambda given: given[:1], "lr": 0.1}, {"params": lambda given: given[1:]}]
    monkeypatch.setattr(OwnOption, "build", lambda self, given: torch.optim.SGD(
        [group | {"params": group["params"](given)} for group in made], lr=0.3
    ))  # fmt: skip
    first, second = build_optimizer(OwnOption(), toy(), samples_per_step=16).param_groups
    assert (first["name"], first["param_names"], first["initial_lr"]) == ("group_0", ["scale"], 0.1)
    assert (second["name"], len(second["param_names"]), second["initial_lr"]) == ("group_1", 23, 0.3)
