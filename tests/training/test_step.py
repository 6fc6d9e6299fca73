"""Single optimizer steps: the recorded arithmetic of mmcv's optimizer hooks, accumulation and skipped steps."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support.paths import GOLDEN_DIR
from torch import nn

from vexp.data.batch.batch import Batch
from vexp.data.loading.dataloader import StepPlan
from vexp.evaluation.best_score import Best
from vexp.optim.gradients import Clip, Grad
from vexp.runtime.amp import Amp
from vexp.runtime.distributed import SINGLE_PROCESS
from vexp.runtime.parallel import SingleProcess
from vexp.tracking.meter import Meter
from vexp.training.state import TrainState
from vexp.training.step import train_step

GOLDEN = json.loads((GOLDEN_DIR / "optimizerhook.json").read_text())
CPU = torch.device("cpu")


class LinearModel(nn.Module):
    """Logit w . [k, 0.5] for a clip whose pixels are k, and a buffer with the maximum of k."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([1.0, 2.0]))
        self.unused = nn.Parameter(torch.zeros(1))
        self.register_buffer("largest", torch.zeros(()))

    def forward(self, k: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            self.largest.copy_(torch.maximum(self.largest, k.max()))
        return (self.w * torch.stack([k, torch.full_like(k, 0.5)], 1)).sum(1, keepdim=True)


class MeanOfOutputs:
    """A task whose loss is the mean of the model's outputs for the values of the first pixels."""

    def inputs(self, batch: Batch, *, training: bool) -> Any:
        return (batch.frames[:, 0, 0, 0, 0, 0].float(),), batch.labels

    def with_other_processes(self, targets: Any, world: Any, *, counts: bool) -> Any:
        return targets

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> Any:
        return {"loss": outputs.mean()}

    def accuracy_labels(self, batch: Batch) -> torch.Tensor:
        return batch.labels


def experiment(*, grad: Grad, amp: Amp | None = None, num_samples: int = 7) -> Any:
    config = SimpleNamespace(grad=grad, amp=amp or Amp())
    plan = StepPlan(num_samples, 1, grad.accumulate, drop_last=False)
    return SimpleNamespace(
        config=config,
        device=CPU,
        plan=plan,
        task=MeanOfOutputs(),
        world=SINGLE_PROCESS,
    )


def new_state(exp: Any, model: nn.Module) -> TrainState:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    scaler = exp.config.amp.scaler(CPU)
    best, meter = Best("top1_acc", True), Meter(10, reset=False)
    return TrainState(model, optimizer, scaler, None, meter, best, parallel=SingleProcess(model))


def clip_of(k: float) -> Batch:
    return Batch.of_views(torch.full((1, 1, 1, 1, 1, 3), k), torch.zeros(1, dtype=torch.int64), torch.zeros(1))


def take_steps(exp: Any, state: TrainState, ks: list[float]) -> list[dict[str, Any]]:
    """Train on clips with the pixel values ``ks``; return the metrics of each step."""
    batches = (clip_of(k) for k in ks)
    values = []
    while state.step * exp.plan.samples_per_step < len(ks):
        values.append(train_step(exp, state, batches))
        state.step += 1
    return values


OPTIONS = {
    "plain": Grad(),
    "clip 1": Grad(clip=Clip(max_norm=1)),
    "clip l1": Grad(clip=Clip(max_norm=1, norm_type=1)),
    "cumulative 2": Grad(accumulate=2),  # the last step has one batch
    "cumulative 10 > total": Grad(accumulate=10),
}
DIFFERENT = {
    "cumulative 3 over 2 epochs of 4: windows cross the epoch": "here a step ends with the epoch",
    "cumulative 0": "an AssertionError in mmcv, an error that names the option here",
}


def test_recorded_cases_are_tested_or_listed() -> None:
    assert {case["tag"] for case in GOLDEN["cases"]} == {*OPTIONS, *DIFFERENT}


@pytest.mark.parametrize("tag", OPTIONS)
def test_train_step_equals_recorded_trace(tag: str) -> None:
    case = next(case for case in GOLDEN["cases"] if case["tag"] == tag)
    exp = experiment(grad=OPTIONS[tag])
    state = new_state(exp, LinearModel())
    ks = [float(k) for k in range(1, case["iters"] + 1)]
    values = take_steps(exp, state, ks)
    assert state.model.w.tolist() == pytest.approx(case["trace"][-1]["w"], rel=1e-6)  # type: ignore[union-attr, operator]
    norms = [float(value["grad_norm"]) for value in values if "grad_norm" in value]
    assert norms == pytest.approx(case["trace"][-1]["grad_norms"], rel=1e-6)


def test_accumulation_ends_with_the_epoch() -> None:
    """Two epochs of 4 batches, 3 per step: the steps have the batches 1 2 3, 4, 5 6 7 and 8."""
    exp = experiment(grad=Grad(accumulate=3), num_samples=4)
    state = new_state(exp, LinearModel())
    batches = (clip_of(float(k)) for k in range(1, 9))
    losses = []
    for step in range(4):
        before = state.model.w.detach().clone()
        state.step = step
        values = train_step(exp, state, batches)
        losses.append((values["loss"] - before[1] * 0.5) / before[0])
    assert [float(loss) for loss in losses] == pytest.approx([2, 4, 6, 8])


def test_clipping_scales_only_gradients_above_max_norm() -> None:
    """With grad_clip=dict(max_norm=40, norm_type=2), a gradient of (96, 0.5) is scaled, one of (24, 0.5) is not."""
    exp = experiment(grad=Grad(clip=Clip(max_norm=40, norm_type=2)), num_samples=2)
    state = new_state(exp, LinearModel())
    (first,) = take_steps(exp, state, [96.0])
    assert float(first["grad_norm"]) == pytest.approx(math.hypot(96, 0.5))
    change = torch.tensor([1.0, 2.0]) - state.model.w.detach()  # lr 0.01
    assert float(change.norm()) == pytest.approx(0.4, rel=1e-5)
    unclipped = new_state(exp, LinearModel())
    (second,) = take_steps(exp, unclipped, [24.0])
    assert float(second["grad_norm"]) == pytest.approx(math.hypot(24, 0.5))
    assert (torch.tensor([1.0, 2.0]) - unclipped.model.w.detach()).tolist() == pytest.approx([0.24, 0.005], rel=1e-5)


@pytest.mark.parametrize("amp", [Amp(), Amp(dtype="fp16")])
def test_clipping_of_fused_optimizer_uses_unscaled_gradients(amp: Amp) -> None:
    """Lightning clipped gradients that the fused kernel was to unscale later, so that nothing was clipped (#21435)."""
    exp = experiment(grad=Grad(clip=Clip(max_norm=40)), amp=amp, num_samples=2)
    weights = []
    for fused in (True, False):
        state = new_state(exp, LinearModel())
        state.optimizer = torch.optim.SGD(state.model.parameters(), lr=0.01, fused=fused)
        first, _ = take_steps(exp, state, [96.0, 24.0])
        assert float(first["grad_norm"]) == pytest.approx(math.hypot(96, 0.5), rel=1e-3)
        weights.append(state.model.w.tolist())
    assert weights[0] == pytest.approx(weights[1], rel=1e-6)
    assert weights[0][0] == pytest.approx(1 - 0.4 - 0.24, abs=1e-3)  # 96 is clipped to 40


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("amp", [Amp(), Amp(dtype="fp16")])
def test_nonfinite_step_is_skipped_and_counted(value: float, amp: Amp, caplog: pytest.LogCaptureFixture) -> None:
    exp = experiment(grad=Grad(max_nonfinite_steps=1), amp=amp, num_samples=3)
    state = new_state(exp, LinearModel())
    first, second, third = take_steps(exp, state, [1.0, value, 3.0])
    without = new_state(exp, LinearModel())
    take_steps(exp, without, [1.0, 3.0])
    assert torch.equal(state.model.w, without.model.w)  # weights, momentum and buffers are those without the step
    assert float(state.model.largest) == 3.0
    assert state.nonfinite == 1
    assert set(second) == {"time/data", "time/step"}  # its values are not averaged
    assert {"loss", "top1_acc"} <= set(first) & set(third)
    (message,) = caplog.messages
    assert message.startswith("step 2 is skipped, not finite: loss ")
    assert message.endswith("(1 of 1 allowed)")


def test_step_beyond_the_nonfinite_budget_keeps_its_values() -> None:
    exp = experiment(grad=Grad(max_nonfinite_steps=1), num_samples=2)
    state = new_state(exp, LinearModel())
    _, second = take_steps(exp, state, [math.nan, math.nan])
    assert state.nonfinite == 2
    assert math.isnan(float(second["loss"]))
    assert state.model.w.tolist() == [1.0, 2.0]


def test_fp16_overflow_does_not_count_as_nonfinite() -> None:
    exp = experiment(grad=Grad(max_nonfinite_steps=1), amp=Amp(dtype="fp16"), num_samples=2)
    state = new_state(exp, LinearModel())
    state.scaler = torch.amp.GradScaler("cpu", init_scale=3e38)  # 2 x 3e38 is beyond float32
    take_steps(exp, state, [2.0])
    assert (state.skipped, state.nonfinite) == (1, 0)
    assert state.model.w.tolist() == [1.0, 2.0]
    assert state.scaler.get_scale() == pytest.approx(1.5e38)


def test_parameters_without_a_gradient_are_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    exp = experiment(grad=Grad(detect_anomalous_params=True))
    take_steps(exp, new_state(exp, LinearModel()), [1.0, 2.0, 3.0])
    assert caplog.messages == ["step 1 gave 1 parameters no gradient: unused"]
