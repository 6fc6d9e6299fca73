"""The rules of paramwise, without a model."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vexp.optim.paramwise import BASE, Multipliers, Paramwise


@pytest.mark.parametrize(
    ("keys", "name", "key"),
    [
        (["backbone"], "backbone.conv1.weight", "backbone"),
        (["backbone"], "head.weight", None),
        (["conv1", "backbone", "backbone.conv1"], "backbone.conv1.weight", "backbone.conv1"),  # the longest
        (["zz", "aa"], "aa.zz.weight", "aa"),  # equally long: the alphabet's first
        (["bias"], "attn.in_proj_bias", "bias"),  # any part of the name
        ([".scale"], ".scale", ".scale"),  # a parameter of the model itself
        ([".scale"], "head.scale", ".scale"),
    ],
)
def test_key_of_overlapping_keys_returns_longest(keys, name, key):
    settings = Paramwise(custom_keys={key: {"lr_mult": 0.1} for key in keys})
    assert settings.keys_of(name) == ([] if key is None else [key])


EVERY = Paramwise(bias_lr_mult=2.0, bias_decay_mult=0.5, norm_decay_mult=0.25, dwconv_decay_mult=0.125)


@pytest.mark.parametrize(
    ("name", "kind", "multipliers"),
    [
        ("conv.weight", {}, (1.0, 1.0)),
        ("conv.bias", {}, (2.0, 0.5)),
        ("bn.weight", {"norm": True}, (1.0, 0.25)),
        ("bn.bias", {"norm": True}, (1.0, 0.25)),  # a norm layer's bias is no bias
        ("dw.weight", {"depthwise": True}, (1.0, 0.125)),
        ("dw.bias", {"depthwise": True}, (2.0, 0.125)),  # depth-wise goes before bias for the decay
        ("attn.in_proj_bias", {}, (1.0, 1.0)),  # only what is called bias
    ],
)
def test_multipliers_of_layer_type_are_applied(name, kind, multipliers):
    kind = {"norm": False, "depthwise": False} | kind
    assert EVERY.multipliers_of(name, **kind).multipliers == multipliers
    assert Paramwise().multipliers_of(name, **kind).multipliers == BASE.multipliers


def test_multipliers_of_custom_key_has_precedence():
    settings = Paramwise(bias_lr_mult=2.0, bias_decay_mult=0.0, custom_keys={"head": {"lr_mult": 10.0}})
    assert settings.multipliers_of("head.bias", norm=False, depthwise=False) == ("head", 10.0, 1.0, "")


def test_paramwise_nested_dicts_become_dotted_keys():
    """What the dots of the command line make of a key with dots."""
    nested = {"backbone": {"lr_mult": 0.1, "layer1": {"0": {"decay_mult": 0}}}, "head": Multipliers(lr_mult=2.0)}
    assert Paramwise(custom_keys=nested).custom_keys == {
        "backbone": Multipliers(lr_mult=0.1),
        "backbone.layer1.0": Multipliers(decay_mult=0.0),
        "head": Multipliers(lr_mult=2.0),
    }


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"bias_lr_mult": -1.0}, "bias_lr_mult=-1.0: must be >= 0"),
        ({"norm_decay_mult": float("inf")}, "norm_decay_mult=inf: must be finite"),
        ({"layer_decay": 0.0}, "layer_decay=0.0: must be > 0"),
        ({"layer_decay": 1.5}, "layer_decay=1.5: must be <= 1"),
        ({"rule": "tsn"}, "rule=tsn: must be one of default, tsm"),
        ({"fc_lr5": False}, "fc_lr5=false: has no effect without rule=tsm"),
        ({"rule": "tsm", "layer_decay": 0.75}, "layer_decay: conflicts with rule=tsm"),
        ({"rule": "tsm", "custom_keys": {"a": {"lr_mult": 2}}}, "custom_keys: conflicts with rule=tsm"),
        ({"custom_keys": {"": {"lr_mult": 2}}}, "custom_keys.=.*: must have"),
        ({"custom_keys": {"a": {"lr_mult": True}}}, "custom_keys.a.lr_mult=true: must be a number"),
        ({"custom_keys": {"a": {"lr_mult": 2, "momentum": 0.5}}}, "custom_keys.a.momentum=0.5: must have lr_mult"),
        ({"custom_keys": {"a": {"decay_mult": -1}}}, "custom_keys.a.decay_mult=-1.0: must be >= 0"),
    ],
)
def test_paramwise_invalid_value_raises(values, text):
    with pytest.raises(ValueError, match=text):
        Paramwise(**values)


@pytest.mark.parametrize(
    ("values", "first"),
    [
        ({"custom_keys": {"a": {"decay_mult": 0}}}, "custom_keys.a.decay_mult"),
        ({"bias_decay_mult": 0.0}, "bias_decay_mult"),
        ({"rule": "tsm"}, "rule=tsm"),
    ],
)
def test_refuse_decay_with_decay_multiplier_raises(values, first):
    with pytest.raises(ValueError, match=f"paramwise.{first}: rprop has no weight decay"):
        Paramwise(**values).refuse_decay("rprop")
    Paramwise(custom_keys={"a": {"lr_mult": 2}}, bias_lr_mult=2.0).refuse_decay("rprop")


@given(keys=st.lists(st.text("ab.", min_size=1, max_size=4), unique=True, max_size=6), name=st.text("ab.", max_size=8))
def test_key_of_returns_longest_contained_key(keys, name):
    settings = Paramwise(custom_keys={key: {"lr_mult": 2.0} for key in keys})
    fitting = [key for key in keys if key in name]
    chosen = settings.keys_of(name)
    assert len(chosen) == bool(fitting)
    if chosen:
        assert chosen[0] == min(key for key in fitting if len(key) == max(map(len, fitting)))


def test_multiply_keys_multiplies_the_factors_of_all_keys():
    """The recipe of mmaction2's Swin: norm layers of the backbone have a lower rate and no decay."""
    keys = {"backbone": {"lr_mult": 0.1}, "norm": {"decay_mult": 0.0}, "norm1": {"lr_mult": 0.5}}
    settings = Paramwise(custom_keys=keys, multiply_keys=True)
    for name, rule, lr_mult, decay_mult in (
        ("backbone.layers.0.norm1.weight", "backbone+norm1+norm", 0.05, 0.0),
        ("backbone.layers.0.attn.qkv.weight", "backbone", 0.1, 1.0),
        ("head.norm.weight", "norm", 1.0, 0.0),
        ("head.fc.weight", "base", 1.0, 1.0),
    ):
        assert settings.multipliers_of(name, norm=False, depthwise=False) == (
            rule,
            pytest.approx(lr_mult),
            decay_mult,
            "",
        )
