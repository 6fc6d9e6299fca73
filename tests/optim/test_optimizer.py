"""The optimizer options: torch's arguments by torch's names, built, stepped, and where the defaults differ."""

import inspect
from dataclasses import asdict, fields

import pytest
import torch

from vexp.optim.optimizer import SGD, Adam, AdamW

OPTIONS = [SGD, Adam, AdamW]

#: Defaults that are not torch's, with the reason. All others are.
DIFFERENT = {
    "SGD": {
        "lr": (0.1, 1e-3),  # batches of video: torch's is a placeholder
        "momentum": (0.9, 0),  # what every video recipe uses
        "weight_decay": (1e-4, 0),  # mmaction2's
    },
    "Adam": {},
    "AdamW": {},
}


def torch_defaults(option):
    signature = inspect.signature(getattr(torch.optim, option.torch_name))
    return {name: p.default for name, p in signature.parameters.items() if name != "params"}


@pytest.mark.parametrize("option", OPTIONS)
def test_fields_are_torchs_arguments_with_torchs_defaults_unless_listed(option):
    theirs = torch_defaults(option)
    ours = asdict(option())
    assert ours.keys() <= theirs.keys()
    assert option.torch_name == option.__name__

    def plain(value):
        return list(value) if isinstance(value, tuple) else float(value) if isinstance(value, torch.Tensor) else value

    different = {name: (ours[name], plain(theirs[name])) for name in ours if ours[name] != plain(theirs[name])}
    assert different == DIFFERENT[option.__name__]
    assert all(field.metadata["doc"] for field in fields(option))


OTHER = {
    "lr": 0.25, "weight_decay": 0.03, "momentum": 0.7, "dampening": 0.1, "nesterov": False, "betas": [0.8, 0.95],
    "eps": 1e-6, "amsgrad": True,
}  # fmt: skip


@pytest.mark.parametrize("option", OPTIONS)
def test_every_field_reaches_torch_and_steps_like_it(option):
    values = {field.name: OTHER[field.name] for field in fields(option)}
    start = torch.randn(5, generator=torch.Generator().manual_seed(0))
    ours, theirs = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    built = option(**values).build([ours])
    expected = getattr(torch.optim, option.torch_name)(
        [theirs], **{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    )
    assert type(built) is type(expected)
    for name, value in values.items():
        found = built.param_groups[0][name]  # betas: some versions of torch keep the list, some make it a tuple
        assert (list(found) if name == "betas" else found) == value, name
    for _ in range(4):
        for optimizer, parameter in ((built, ours), (expected, theirs)):
            optimizer.zero_grad()
            (parameter**2).sum().backward()
            optimizer.step()
    assert torch.equal(ours, theirs)
    assert not torch.equal(ours, start)


def test_parameter_groups_keep_their_own_rates():
    first, second = torch.nn.Parameter(torch.zeros(1)), torch.nn.Parameter(torch.zeros(1))
    built = SGD(lr=0.1, weight_decay=0.5).build(
        [{"params": [first]}, {"params": [second], "lr": 0.01, "weight_decay": 0}]
    )
    assert [(group["lr"], group["weight_decay"]) for group in built.param_groups] == [(0.1, 0.5), (0.01, 0)]


@pytest.mark.parametrize("option", OPTIONS)
def test_the_state_can_be_loaded_without_trust(option, tmp_path):
    parameter = torch.nn.Parameter(torch.ones(3))
    built = option().build([parameter])
    parameter.sum().backward()
    built.step()
    torch.save(built.state_dict(), tmp_path / "state.pth")
    other = option().build([torch.nn.Parameter(torch.ones(3))])
    other.load_state_dict(torch.load(tmp_path / "state.pth", weights_only=True))
    assert other.state_dict()["param_groups"] == built.state_dict()["param_groups"]


@pytest.mark.parametrize(
    ("option", "values", "text"),
    [
        (SGD, {"lr": -0.1}, "lr=-0.1: must be >= 0"),
        (SGD, {"momentum": -1}, "momentum=-1: must be >= 0"),
        (SGD, {"weight_decay": -1e-4}, "weight_decay=-0.0001: must be >= 0"),
        (SGD, {"nesterov": True, "momentum": 0}, r"nesterov=true: needs momentum > 0 and dampening=0"),
        (SGD, {"nesterov": True, "dampening": 0.1}, r"nesterov=true: needs momentum > 0 and dampening=0"),
        (Adam, {"betas": [0.9, 1.0]}, r"betas=\[0.9,1.0\]: must be < 1"),
        (Adam, {"betas": [0.9]}, r"betas=\[0.9\]: needs exactly 2 values, got 1"),
        (AdamW, {"eps": -1e-8}, "eps=-1e-08: must be >= 0"),
        (AdamW, {"lr": float("nan")}, "lr=nan: must be >= 0"),
    ],
)
def test_what_torch_would_refuse_is_refused_before_it_is_imported(option, values, text):
    with pytest.raises(ValueError, match=text):
        option(**values)


def test_nesterov_with_the_default_momentum():
    assert SGD(nesterov=True).build([torch.nn.Parameter(torch.ones(1))]).param_groups[0]["nesterov"]
