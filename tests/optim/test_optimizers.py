"""The optimizer options: torch's arguments by torch's names, built, stepped, and where they differ on purpose."""

import inspect
from dataclasses import asdict, fields

import pytest
import torch

from vexp import compose
from vexp.config.options import options
from vexp.optim.optimizers import SGD, UNSUPPORTED, Adam, AdamW
from vexp.optim.optimizers_extra import Adafactor, Adagrad, NAdam, Rprop
from vexp.optim.paramwise import Multipliers, Paramwise

OPTIONS = list(options()["optimizer"].values())
OURS = {"base_batch_size", "paramwise"}  # of vexp, not handed to torch

#: Defaults that are not torch's, with the reason. All others are.
DIFFERENT = {
    "SGD": {
        "lr": (0.1, 1e-3),  # batches of video: torch's is a placeholder
        "momentum": (0.9, 0),  # what every video recipe uses
        "weight_decay": (1e-4, 0),  # mmaction2's
    },
}
#: Arguments of torch that are no fields.
LEFT_OUT = {
    "capturable",  # for CUDA graphs: the loop captures none
    "differentiable",  # for gradients through a step: the loop takes none
    "decoupled_weight_decay",  # of Adam: that is adamw. NAdam and RAdam, which have no such twin, keep it
}


def signature(option):
    return inspect.signature(getattr(torch.optim, option.torch_name)).parameters


def plain(value):
    return list(value) if isinstance(value, tuple) else float(value) if isinstance(value, torch.Tensor) else value


def test_options_cover_every_torch_optimizer():
    theirs = {
        name
        for name, cls in vars(torch.optim).items()
        if inspect.isclass(cls) and issubclass(cls, torch.optim.Optimizer) and cls is not torch.optim.Optimizer
    }
    offered = {option.torch_name for option in OPTIONS}
    assert not offered & UNSUPPORTED.keys()
    assert theirs <= offered | UNSUPPORTED.keys()
    assert offered <= theirs
    assert {option.torch_name.lower() for option in OPTIONS} == set(options()["optimizer"])


@pytest.mark.parametrize("option", OPTIONS)
def test_option_fields_equal_torch_arguments(option):
    theirs = {name: p.default for name, p in signature(option).items() if name != "params"}
    ours = {name: value for name, value in asdict(option()).items() if name not in OURS}
    assert ours.keys() <= theirs.keys()
    assert theirs.keys() - ours.keys() <= LEFT_OUT
    assert option.torch_name == option.__name__
    different = {name: (ours[name], plain(theirs[name])) for name in ours if ours[name] != plain(theirs[name])}
    assert different == DIFFERENT.get(option.__name__, {})
    assert all(field.metadata["doc"] for field in fields(option))
    assert bool(option.fused_on) == ("fused" in theirs)


#: Values that are no defaults, by field name.
OTHER = {
    "lr": 0.25, "weight_decay": 0.03, "momentum": 0.7, "dampening": 0.1, "nesterov": False, "betas": [0.8, 0.95],
    "eps": 1e-6, "amsgrad": True, "maximize": True, "foreach": False, "fused": None, "rho": 0.8, "beta2_decay": -0.7,
    "d": 1.5, "lr_decay": 0.01, "initial_accumulator_value": 0.2, "lambd": 1e-3, "alpha": 0.6, "t0": 2.0,
    "momentum_decay": 0.01, "decoupled_weight_decay": True, "centered": True, "etas": [0.4, 1.3],
    "step_sizes": [1e-5, 10.0],
}  # fmt: skip


@pytest.mark.parametrize("option", OPTIONS)
def test_build_every_field_steps_like_torch(option):
    values = {field.name: OTHER[field.name] for field in fields(option) if field.name not in OURS}
    if option is Adafactor:
        values["eps"] = [1e-20, 1e-2]
    start = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    ours, theirs = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    built = option(**values).build([ours])
    expected = getattr(torch.optim, option.torch_name)(
        [theirs], **{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    )
    assert type(built) is type(expected)
    for name, value in values.items():
        assert plain(built.param_groups[0][name]) == value, name
    for _ in range(4):
        for optimizer, parameter in ((built, ours), (expected, theirs)):
            optimizer.zero_grad()
            (parameter**2).sum().backward()
            optimizer.step()
    assert torch.equal(ours, theirs)
    assert not torch.equal(ours, start)


def test_build_parameter_groups_keep_rates():
    first, second = torch.nn.Parameter(torch.zeros(1)), torch.nn.Parameter(torch.zeros(1))
    built = SGD(lr=0.1, weight_decay=0.5).build(
        [{"params": [first]}, {"params": [second], "lr": 0.01, "weight_decay": 0}]
    )
    assert [(group["lr"], group["weight_decay"]) for group in built.param_groups] == [(0.1, 0.5), (0.01, 0)]


@pytest.mark.parametrize("option", OPTIONS)
def test_optimizer_state_loads_with_weights_only(option, tmp_path):
    parameter = torch.nn.Parameter(torch.ones(3, 2))
    built = option().build([parameter])
    parameter.sum().backward()
    built.step()
    torch.save(built.state_dict(), tmp_path / "state.pth")
    other = option().build([torch.nn.Parameter(torch.ones(3, 2))])
    other.load_state_dict(torch.load(tmp_path / "state.pth", weights_only=True))
    assert other.state_dict()["param_groups"] == built.state_dict()["param_groups"]


@pytest.mark.parametrize(
    ("option", "values", "text"),
    [
        (SGD, {"lr": -0.1}, "lr=-0.1: must be >= 0"),
        (SGD, {"momentum": -1}, "momentum=-1: must be >= 0"),
        (SGD, {"weight_decay": -1e-4}, "weight_decay=-0.0001: must be >= 0"),
        (SGD, {"nesterov": True, "momentum": 0}, r"nesterov=true: requires momentum > 0 and dampening=0"),
        (SGD, {"nesterov": True, "dampening": 0.1}, r"nesterov=true: requires momentum > 0 and dampening=0"),
        (SGD, {"base_batch_size": 0}, "base_batch_size=0: must be >= 1"),
        (SGD, {"foreach": True, "fused": True}, "foreach=true: conflicts with fused=true"),
        (Adam, {"betas": [0.9, 1.0]}, r"betas=\[0.9,1.0\]: must be < 1"),
        (Adam, {"betas": [0.9]}, r"betas=\[0.9\]: needs exactly 2 values, got 1"),
        (AdamW, {"eps": -1e-8}, "eps=-1e-08: must be >= 0"),
        (AdamW, {"lr": float("nan")}, "lr=nan: must be >= 0"),
        (Adafactor, {"eps": [None, None]}, r"eps=\[null,null\]: must be two numbers >= 0"),
        (Adafactor, {"d": 0.5}, "d=0.5: must be >= 1"),
        (Rprop, {"etas": [1.2, 0.5]}, r"etas=\[1.2,0.5\]: must be \[down, up\]"),
        (Rprop, {"step_sizes": [1.0, 0.1]}, r"step_sizes=\[1.0,0.1\]: must be \[smallest, largest\]"),
        (
            Rprop,
            {"paramwise": Paramwise(norm_decay_mult=0.0)},
            "paramwise.norm_decay_mult: Rprop has no weight decay",
        ),
    ],
)
def test_optimizer_invalid_value_raises(option, values, text):
    with pytest.raises(ValueError, match=text):
        option(**values)


def test_sgd_nesterov_with_default_momentum_builds():
    assert SGD(nesterov=True).build([torch.nn.Parameter(torch.ones(1))]).param_groups[0]["nesterov"]


@pytest.mark.parametrize(
    ("option", "dtype", "fused"),
    [
        (SGD(), torch.float32, True),  # null: the kernel where there is one
        (AdamW(), torch.float32, True),
        (Adagrad(), torch.float32, True),
        (AdamW(), torch.complex64, None),  # torch has none for these
        (AdamW(foreach=True), torch.float32, None),  # another way was asked for
        (AdamW(foreach=False), torch.float32, None),
        (AdamW(fused=False), torch.float32, False),
        (AdamW(fused=True), torch.float32, True),
    ],
)
def test_build_fused_null_uses_available_kernel(option, dtype, fused):
    given = torch.nn.Parameter(torch.ones(3, dtype=dtype))
    for params in ([given], iter([given]), [{"params": [given]}]):
        assert option.build(params).param_groups[0]["fused"] == fused


def test_build_fused_without_kernel_raises():
    with pytest.raises(
        ValueError, match="fused=true: torch has a fused kernel for floating-point parameters on cpu, cuda"
    ):
        AdamW(fused=True).build([torch.nn.Parameter(torch.ones(3, dtype=torch.complex64))])
    with pytest.raises(ValueError, match=r"fused=true: .* on cpu, got torch.float32 on meta"):
        Adagrad(fused=True).build([torch.nn.Parameter(torch.ones(3, device="meta"))])


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last_3d])
@pytest.mark.parametrize("option", [SGD, Adam, AdamW, Adagrad])
def test_build_fused_steps_equal_unfused(option, memory_format):
    """In every memory layout of a convolution's weight."""
    start = torch.randn(4, 3, 2, 3, 3, generator=torch.Generator().manual_seed(1)).to(memory_format=memory_format)
    data = torch.randn(2, 3, 4, 5, 5, generator=torch.Generator().manual_seed(2)).to(memory_format=memory_format)
    weights = []
    for fused in (True, False):
        weight = torch.nn.Parameter(start.clone())
        built = option(fused=fused, weight_decay=0.01).build([weight])
        for _ in range(3):
            built.zero_grad()
            torch.nn.functional.conv3d(data, weight).square().mean().backward()
            built.step()
        weights.append(weight.detach())
    torch.testing.assert_close(*weights, rtol=1e-5, atol=1e-6)
    assert not torch.equal(weights[0], start)


@pytest.mark.parametrize(
    ("base_batch_size", "samples", "lr"),
    [
        (None, 8, 0.1),  # off
        (8, 8, 0.1),  # the batch that the rate is meant for
        (8, 64, 0.8),  # linear scaling, Goyal et al. 2017
        (256, 8, 0.1 / 32),
    ],
)
def test_scaled_lr_is_linear_in_samples_per_step(base_batch_size, samples, lr):
    assert SGD(lr=0.1, base_batch_size=base_batch_size).scaled_lr(samples) == pytest.approx(lr, rel=1e-12)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (
            ["optimizer=lbfgs"],
            "optimizer=lbfgs: cannot train here: it evaluates the loss several times",
        ),
        (["optimizer=LBFGS"], "optimizer=LBFGS: cannot train here"),
        (["optimizer=sparse_adam"], "optimizer=sparse_adam: cannot train here: it requires sparse gradients"),
        (["optimizer=sparseadam"], "cannot train here: it requires sparse gradients"),
        (["optimizer=muon"], "optimizer=muon: cannot train here: it supports matrices only"),
        (["optimizer=sdg"], "optimizer=sdg: no such option"),
    ],
)
def test_compose_unsupported_optimizer_gives_reason(words, text):
    with pytest.raises(ValueError, match=text):
        compose(words)


def test_compose_unsupported_target_gives_reason(tmp_path):
    (tmp_path / "optimizer").mkdir()
    (tmp_path / "optimizer" / "second_order.yaml").write_text("_target_: torch.optim.LBFGS\n")
    with pytest.raises(ValueError, match=r"_target_=torch.optim.LBFGS: cannot train here: it evaluates the loss"):
        compose(["optimizer=second_order"], config_dirs=[tmp_path])


def test_compose_optimizer_overrides_are_typed():
    config = compose(["optimizer=nadam", "optimizer.betas=[0.8,0.99]", "optimizer.decoupled_weight_decay=true"])
    assert config.optimizer == NAdam(betas=[0.8, 0.99], decoupled_weight_decay=True)
    config = compose(["optimizer=adafactor", "optimizer.eps=[null,0.01]"])
    assert config.optimizer == Adafactor(eps=[None, 0.01])
    with pytest.raises(ValueError, match="RMSprop has no 'momentumm'"):
        compose(["optimizer=rmsprop", "optimizer.momentumm=0.9"])


def test_compose_paramwise_custom_keys_are_parsed():
    """As mmcv's paramwise_cfg=dict(custom_keys={'backbone': dict(lr_mult=0.1)})."""
    expected = SGD(paramwise=Paramwise(custom_keys={"backbone": Multipliers(lr_mult=0.1)}))
    for word in (
        "optimizer.paramwise.custom_keys.backbone.lr_mult=0.1",
        "optimizer.paramwise.custom_keys={backbone:{lr_mult:0.1}}",
    ):
        assert compose(["optimizer=sgd", word]).optimizer == expected


@pytest.mark.parametrize(
    ("word", "text"),
    [
        (
            "optimizer.paramwise.custom_keys.backbone.lr_mul=0.1",
            r"paramwise.custom_keys.backbone.lr_mul=0.1: must have lr_mult and decay_mult, .* \(command line\)",
        ),
        (
            "optimizer.paramwise.custom_keys.backbone=0.1",
            "custom_keys.backbone=0.1: must have lr_mult and decay_mult",
        ),
        (
            "optimizer.paramwise.custom_keys.backbone.lr_mult=fast",
            "custom_keys.backbone.lr_mult=fast: must be a number",
        ),
        ("optimizer.paramwise.custom_keys.backbone.lr_mult=inf", "custom_keys.backbone.lr_mult=inf: must be finite"),
        ("optimizer.paramwise.custom_keys.backbone.lr_mult=-1", "custom_keys.backbone.lr_mult=-1.0: must be >= 0"),
        ("optimizer.paramwise.norm_decay=0", "optimizer.paramwise.norm_decay: Paramwise has no"),
        ("optimizer.paramwise.rule=tms", "optimizer.paramwise.rule=tms: must be one of default, tsm"),
        ("optimizer.paramwise.fc_lr5=true", "paramwise.fc_lr5=true: has no effect without rule=tsm"),
    ],
)
def test_compose_invalid_paramwise_raises(word, text):
    with pytest.raises(ValueError, match=text):
        compose(["optimizer=sgd", word])


def test_compose_custom_keys_with_dots_are_parsed():
    """As a dict, and as words: there the last part is the multiplier, what stands before it the key."""
    keys = "optimizer.paramwise.custom_keys"
    expected = {
        "backbone": Multipliers(lr_mult=0.1),
        "backbone.layer1.0": Multipliers(lr_mult=0.5, decay_mult=0.0),
        "fc": Multipliers(decay_mult=2.0),
    }
    for words in (
        [f"{keys}={{backbone:{{lr_mult:0.1}},backbone.layer1.0:{{lr_mult:0.5,decay_mult:0}},fc:{{decay_mult:2}}}}"],
        [
            f"{keys}.backbone.lr_mult=0.1", f"{keys}.backbone.layer1.0.lr_mult=0.5",
            f"{keys}.backbone.layer1.0.decay_mult=0", f"{keys}.fc.decay_mult=2",
        ],
    ):  # fmt: skip
        assert compose(["optimizer=sgd", *words]).optimizer.paramwise.custom_keys == expected
