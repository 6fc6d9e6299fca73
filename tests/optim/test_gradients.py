"""Clipping: norms and clipped gradients by hand."""

import math

import pytest
import torch

from vexp.optim.gradients import Clip, Grad, params_without_grad

GRADIENTS = [[3.0, 0.0], [0.0, -4.0]]  # of two parameters: one vector of length 5


def optimizer_of(parameters):
    return torch.optim.SGD(parameters, lr=0.1)


def parameters():
    made = []
    for gradient in GRADIENTS:
        parameter = torch.nn.Parameter(torch.ones(2))
        parameter.grad = torch.tensor(gradient)
        made.append(parameter)
    return [*made, torch.nn.Parameter(torch.ones(2))]  # one that took no part


@pytest.mark.parametrize(
    ("max_norm", "norm_type", "norm", "factor"),
    [
        (1.0, 2.0, 5.0, 0.2),  # all gradients are one vector
        (10.0, 2.0, 5.0, 1.0),  # short enough: left as it is
        (2.0, math.inf, 4.0, 0.5),  # the largest entry
        (3.5, 1.0, 7.0, 0.5),  # the sum of the entries
        (math.inf, 2.0, 5.0, 1.0),  # only measured
    ],
)
def test_clip_max_norm_equals_torch(max_norm, norm_type, norm, factor):
    given = parameters()
    found = Grad(clip=Clip(max_norm=max_norm, norm_type=norm_type)).clip_(optimizer_of(given))
    assert float(found) == pytest.approx(norm)  # before clipping
    assert found.shape == ()
    for parameter, gradient in zip(given, GRADIENTS, strict=False):
        assert parameter.grad.tolist() == pytest.approx([factor * value for value in gradient], rel=1e-5)
    assert given[2].grad is None


@pytest.mark.parametrize(
    ("clip", "norm", "clipped"),
    [
        (Clip(max_value=3.5), None, [[3.0, 0.0], [0.0, -3.5]]),  # each entry on its own, and nothing is measured
        (Clip(max_value=3.0, max_norm=math.inf), math.sqrt(18), [[3.0, 0.0], [0.0, -3.0]]),  # entries first
    ],
)
def test_clip_max_value_clips_before_norm(clip, norm, clipped):
    given = parameters()
    found = Grad(clip=clip).clip_(optimizer_of(given))
    assert found is None if norm is None else float(found) == pytest.approx(norm)
    assert [parameter.grad.tolist() for parameter in given[:2]] == clipped


def test_params_without_grad_returns_unreached_names():
    model = torch.nn.ModuleDict({"used": torch.nn.Linear(2, 2), "left": torch.nn.Linear(2, 2, bias=False)})
    model["used"].bias.requires_grad_(False)  # frozen: not expected to have one
    model["used"](torch.ones(1, 2)).sum().backward()
    assert params_without_grad(model) == ["left.weight"]


def test_clip_default_returns_none():
    given = parameters()
    assert Grad().clip_(optimizer_of(given)) is None
    assert [parameter.grad.tolist() for parameter in given[:2]] == GRADIENTS
    assert Grad().accumulate == 1


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Clip(max_norm=0), "max_norm=0: must be > 0"),
        (lambda: Clip(max_norm=-1.0), "max_norm=-1.0: must be > 0"),
        (lambda: Clip(norm_type=0), "norm_type=0: must be > 0"),
        (lambda: Grad(accumulate=0), "accumulate=0: must be >= 1"),
        (lambda: Clip(max_value=0), "max_value=0: must be > 0"),
        (lambda: Grad(max_nonfinite_steps=-1), "max_nonfinite_steps=-1: must be >= 0"),
    ],
)
def test_grad_invalid_option_raises(make, text):
    with pytest.raises(ValueError, match=text):
        make()
