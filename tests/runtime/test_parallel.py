"""The strategies of several processes: FSDP2 in a group of one process gives the numbers of the plain model.

tests/training/test_distributed.py has the runs of two processes.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from support.tables import default_lane_has
from torch import nn

from vexp import compose
from vexp.config.options import options
from vexp.core.errors import ConfigError
from vexp.model.sharded import is_sharded
from vexp.model.zoo_transformers import TimeSformer
from vexp.optim.ema import Ema
from vexp.optim.gradients import Clip, Grad
from vexp.optim.param_groups import build_optimizer
from vexp.optim.paramwise import Paramwise
from vexp.runtime.activation_checkpointing import checkpoint_activations
from vexp.runtime.amp import Amp
from vexp.runtime.config import Dist
from vexp.runtime.distributed import World
from vexp.runtime.parallel import Ddp, Fsdp, SingleProcess, parallelize

CPU = torch.device("cpu")


@pytest.fixture(scope="module", autouse=True)
def group() -> Iterator[None]:
    """A process group of this process."""
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def small_model() -> nn.Module:
    """A transformer with three blocks and a buffer in its root."""
    torch.manual_seed(0)
    model = TimeSformer(num_frames=2, img_size=32, patch_size=16, width=16, depth=3, heads=2, drop_path=0.0).build(5)
    model.register_buffer("running", torch.tensor([1.5]))
    return model


def steps(parallel: SingleProcess, optimizer: Any, ema: Any, *, count: int = 2) -> list[float]:
    """Take steps of two batches with clipping and a moving average; return the norms of the gradients."""
    generator, norms = torch.Generator().manual_seed(1), []
    for _ in range(count):
        for is_last in (False, True):
            clips = torch.randn(2, 3, 2, 32, 32, generator=generator)
            if is_last:
                parallel.module(clips).square().mean().backward()
            else:
                with parallel.no_sync():
                    parallel.module(clips).square().mean().backward()
        norm = Grad(clip=Clip(max_norm=0.1)).clip_(optimizer)
        norms.append(float(parallel.gather(norm)))
        optimizer.step()
        optimizer.zero_grad()
        ema.update_parameters(parallel.model)
    return norms


def state_of(parallel: SingleProcess, optimizer: Any, ema: Any) -> dict[str, Any]:
    parts = {"model": parallel.model, "optimizer": optimizer, "ema": ema}
    return {name: parallel.gather(part.state_dict()) for name, part in parts.items()}


def train(strategy: str, option: Any, *, load: Any = None) -> tuple[list[float], dict[str, Any]]:
    """Train the small model, from a state if one is given; return norms and the state."""
    model = small_model()
    checkpoint_activations(model, True)
    ema: Any = Ema(decay=0.5).build(model)
    parallel = Fsdp(model, ema, Amp(), CPU, World()) if strategy == "fsdp" else SingleProcess(model)
    optimizer = build_optimizer(option, model, samples_per_step=4)
    if load is not None:
        parallel.load_model(model, load["model"])
        parallel.load_optimizer(optimizer, load["optimizer"])
        parallel.load_model(ema, load["ema"])
    assert all(map(is_sharded, model.parameters())) == (strategy == "fsdp")
    return steps(parallel, optimizer, ema), state_of(parallel, optimizer, ema)


def assert_same_state(actual: Any, expected: Any) -> None:
    """Check that nested containers are of the same types and hold the same numbers up to rounding."""
    assert type(actual) is type(expected)
    if isinstance(expected, dict):
        assert list(actual) == list(expected)
        for key in expected:
            assert_same_state(actual[key], expected[key])
    elif isinstance(expected, list):
        for a, b in zip(actual, expected, strict=True):
            assert_same_state(a, b)
    elif isinstance(expected, torch.Tensor):
        torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-6)
    else:
        assert actual == expected


@pytest.mark.parametrize(
    "name",
    default_lane_has(2, [name for name, cls in options()["optimizer"].items() if cls.supports_shards]),
)
def test_fsdp_trains_as_the_plain_model_and_saves_the_same_state(name: str) -> None:
    option = options()["optimizer"][name](paramwise=Paramwise(layer_decay=0.5))
    expected, plain = train("single", option)
    norms, sharded = train("fsdp", option)
    assert norms == pytest.approx(expected, rel=1e-5)
    for group in [*plain["optimizer"]["param_groups"], *sharded["optimizer"]["param_groups"]]:
        group.pop("fused", None)  # torch has fused kernels of SGD and Adagrad for whole parameters only
    assert_same_state(sharded, plain)


def test_state_of_one_strategy_is_continued_by_the_other() -> None:
    option = options()["optimizer"]["adamw"](lr=0.01)
    _, state = train("single", option)
    expected_norms, expected = train("single", option, load=copy.deepcopy(state))
    norms, sharded = train("fsdp", option, load=state)
    assert norms == pytest.approx(expected_norms, rel=1e-5)
    assert_same_state(sharded, expected)


def test_fsdp_shards_every_block_and_keeps_keys() -> None:
    from torch.distributed.fsdp import FSDPModule

    model = small_model()
    keys = list(model.state_dict())
    Fsdp(model, None, Amp(), CPU, World())
    assert list(model.state_dict()) == keys
    units = [path for path, module in model.named_modules() if isinstance(module, FSDPModule)]
    assert units == ["", *(f"backbone.blocks.{i}" for i in range(3))]


def test_whole_model_has_current_weights_and_no_shards() -> None:
    model = small_model()
    ema = Ema(decay=0.5).build(model)
    parallel = Fsdp(model, ema, Amp(), CPU, World())
    clips = torch.ones(1, 3, 2, 32, 32)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)
        model.running.fill_(3)  # type: ignore[union-attr, operator]
    for trained in (model, ema.module if ema is not None else model):
        with parallel.whole(trained) as whole, torch.no_grad():
            assert not any(map(is_sharded, whole.parameters()))
            assert torch.equal(whole.running, trained.running)  # type: ignore[arg-type]
            torch.testing.assert_close(whole(clips), trained(clips))
        assert all(parameter.is_meta for parameter in whole.parameters())  # the memory is free again


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_mixed_precision_is_near_that_of_the_plain_model(dtype: str) -> None:
    clips = torch.ones(1, 3, 2, 32, 32)
    amp, model, losses = Amp(dtype=dtype), small_model(), []
    for module in (model, Fsdp(copy.deepcopy(model), None, amp, CPU, World()).module):
        with amp.autocast(CPU):
            loss = module(clips).square().mean()
        loss.backward()
        losses.append(float(loss.detach()))
        gradients = [parameter.grad for parameter in module.parameters()]
        assert {gradient.dtype for gradient in gradients if gradient is not None} == {torch.float32}
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


def test_parallelize_chooses_strategy() -> None:
    model = small_model()
    two = World(0, 2, 0)
    assert type(parallelize(model, None, Dist(strategy="fsdp"), Amp(), CPU, World())) is SingleProcess
    assert type(parallelize(model, None, Dist(), Amp(), CPU, two)) is Ddp
    assert model is parallelize(model, None, Dist(), Amp(), CPU, two).model


@pytest.mark.parametrize("kind", ["scalar", "shared"])
def test_model_with_parameters_that_cannot_be_sharded_raises(kind: str) -> None:
    model = small_model()
    if kind == "scalar":
        model.scale = nn.Parameter(torch.tensor(1.0))
    else:
        model.tied = nn.Linear(16, 5)
        model.tied.weight = model.head.fc.weight  # type: ignore[union-attr]
    with pytest.raises(ConfigError, match=f"has {kind} parameters, which cannot be sharded: ") as raised:
        Fsdp(model, None, Amp(), CPU, World())
    assert (raised.value.key, raised.value.value) == ("dist.strategy", "fsdp")


@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        (["backend.compile=true"], "backend.compile"),
        (["backend.channels_last=true"], "backend.channels_last"),
        (["optimizer=adafactor"], "optimizer"),
        (["dist.find_unused_parameters=true"], "dist.find_unused_parameters"),
    ],
)
def test_compose_rejects_options_that_conflict_with_fsdp(overrides: list[str], key: str) -> None:
    with pytest.raises(ConfigError, match="fsdp") as raised:
        compose(["dist.strategy=fsdp", *overrides])
    assert raised.value.errors[0].key == key
