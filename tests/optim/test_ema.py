"""The running average of weights and buffers, against one computed by hand."""

import pytest
import torch
from torch import nn

from vexp.optim.ema import Ema


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3))
        self.register_buffer("running", torch.zeros(3))
        self.register_buffer("count", torch.tensor(0))


@pytest.mark.parametrize("decay", [0.5, 0.9, 0.999])
def test_ema_update_equals_definition(decay):
    model = Net()
    ema = Ema(decay=decay).build(model)
    generator = torch.Generator().manual_seed(0)
    weights, buffers = (torch.randn(6, 3, generator=generator) for _ in range(2))
    average = {"weight": weights[0].double(), "running": buffers[0].double()}  # it begins with the first step's
    for step in range(6):
        with torch.no_grad():
            model.weight.copy_(weights[step])
            model.running.copy_(buffers[step])
            model.count += 1
        ema.update_parameters(model)
        if step:
            for name, values in (("weight", weights), ("running", buffers)):
                average[name] = decay * average[name] + (1 - decay) * values[step].double()
    for name, value in average.items():
        torch.testing.assert_close(getattr(ema.module, name).double(), value, rtol=1e-5, atol=1e-6)
    assert torch.equal(model.weight, weights[-1])  # the model itself trains on
    assert ema.module.count.dtype == torch.int64


def test_ema_before_first_step_equals_model():
    model = Net()
    nn.init.constant_(model.weight, 3.0)
    ema = Ema(decay=0.9).build(model)
    assert torch.equal(ema.module.weight, model.weight)
    assert ema.module.weight is not model.weight
    assert not ema.module.weight.requires_grad or ema.module.weight.grad is None


def test_ema_continues_after_restart():
    model = Net()
    straight, before = (Ema(decay=0.9).build(model) for _ in range(2))
    resumed = None
    for step in range(6):
        with torch.no_grad():
            model.weight += step
        if step == 3:
            resumed = Ema(decay=0.9).build(Net())
            resumed.load_state_dict(before.state_dict())
        for ema in (straight, resumed or before):
            ema.update_parameters(model)
    assert torch.equal(resumed.module.weight, straight.module.weight)
    assert int(resumed.n_averaged) == 6


def test_ema_default_builds_none():
    assert Ema().build(Net()) is None


@pytest.mark.parametrize(("decay", "rule"), [(0.0, "> 0"), (1.0, "< 1"), (-0.1, "> 0"), (1.5, "< 1")])
def test_ema_invalid_decay_raises(decay, rule):
    with pytest.raises(ValueError, match=f"decay={decay}: must be {rule}"):
        Ema(decay=decay)
