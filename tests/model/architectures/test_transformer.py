"""The shared blocks of the transformers against their definitions."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from vexp.model.architectures.transformer import Attention, DropPath, drop_path_rates, sinusoid_table


def test_drop_path_rates_rise_linearly_as_in_timm() -> None:
    assert drop_path_rates(0.3, 4) == pytest.approx(torch.linspace(0, 0.3, 4).tolist())
    assert drop_path_rates(0.3, 1) == [0]


def test_drop_path_skips_samples_and_preserves_mean() -> None:
    torch.manual_seed(0)
    branch = torch.ones(4000, 2, 3)
    y = DropPath(0.25).train()(branch)
    kept = y[:, 0, 0] != 0
    assert torch.equal(y, kept[:, None, None] / 0.75 * branch)  # a whole sample at once
    assert kept.float().mean().item() == pytest.approx(0.75, abs=0.03)


@pytest.mark.parametrize("layer", [DropPath(0.5).eval(), DropPath(0.0).train()])
def test_drop_path_in_eval_mode_or_without_rate_draws_nothing(layer: DropPath) -> None:
    state = torch.get_rng_state()
    branch = torch.ones(4, 2)
    assert layer(branch) is branch
    assert torch.equal(torch.get_rng_state(), state)


def test_sinusoid_table_equals_formula() -> None:
    table = sinusoid_table(50, 6)
    for position, channel in ((0, 0), (0, 1), (7, 2), (49, 3), (49, 5)):
        angle = position / 10000 ** (channel // 2 * 2 / 6)
        assert table[position, channel].item() == pytest.approx((math.sin, math.cos)[channel % 2](angle), abs=1e-6)


def test_attention_without_key_bias_equals_one_projection_with_bias_of_zero_for_keys() -> None:
    torch.manual_seed(0)
    layer, x = Attention(8, 2, key_bias=False), torch.randn(3, 5, 8)
    assert layer.qkv.bias is None
    assert layer.q_bias is not None
    assert layer.v_bias is not None
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    bias = torch.cat((layer.q_bias, torch.zeros(8), layer.v_bias))
    q, k, v = functional.linear(layer.norm(x), layer.qkv.weight, bias).unflatten(2, (3, 2, 4)).permute(2, 0, 3, 1, 4)
    expected = ((q @ k.mT / math.sqrt(4)).softmax(-1) @ v).transpose(1, 2).flatten(2)
    torch.testing.assert_close(layer(x), layer.proj(expected))


def test_attention_in_lower_precision_keeps_its_type() -> None:
    layer, x = Attention(8, 2, key_bias=False), torch.randn(1, 4, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
