"""One optimizer step: gradients over ``grad.accumulate`` batches, then the update."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from vexp.data.batch.batch import Batch
from vexp.experiment.setup import Experiment
from vexp.optim.gradients import params_without_grad
from vexp.tracking.meter import DeferredTop1
from vexp.training.state import TrainState

Values = dict[str, Any]  # what Meter.add takes: floats, and what is still on the device


def train_step(
    exp: Experiment, state: TrainState, batches: Iterator[Batch], sizes: Sequence[int], say: Callable[[str], None]
) -> Values:
    """Take one step over batches of ``sizes``, of all processes together; what is logged of it. ``state.step`` is the
    caller's to move on."""
    begin = time.perf_counter()
    grad, optimizer = exp.config.grad, state.optimizer
    guarded = grad.max_nonfinite_steps > 0
    buffers = [buffer.clone() for buffer in state.model.buffers()] if guarded else []
    values = accumulate_gradients(exp, state, batches, sizes)
    if grad.detect_anomalous_params:
        _name_without_gradient(state, say)
    state.scaler.unscale_(optimizer)
    grad_norm = grad.clip_(optimizer)
    if grad_norm is not None:
        values["grad_norm"] = grad_norm
    if guarded and not _all_finite(exp, state, values):
        values = _skip_step(exp, state, values, buffers, say)
    else:
        update_weights(exp, state)
    optimizer.zero_grad(set_to_none=True)
    values["time/step"] = time.perf_counter() - begin
    return values


def accumulate_gradients(exp: Experiment, state: TrainState, batches: Iterator[Batch], sizes: Sequence[int]) -> Values:
    """Forward and backward over the batches of a step; the gradients are those of the mean over all its samples.

    Of several processes each has a part of every batch. Their gradients are averaged, hence the weight of its loss: its
    share of the step's samples times the number of processes, 1 where all have as many.
    """
    config, device, processes = exp.config, exp.device, exp.processes
    channels_last = config.backend.channels_last_on(device)
    samples, seen = sum(sizes), 0
    waited, losses, top1 = 0.0, [], DeferredTop1()
    for number, size in enumerate(sizes, 1):
        own = exp.plan.own(size, processes.rank)  # 0: its one sample must not count
        seen += own
        asked = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - asked
        batch = batch.to(device)
        frames = config.img_norm.prepare_input(batch, channels_last=channels_last)  # float (N*V, C, T, H, W)
        labels, views = batch.labels, batch.views
        if views > 1:
            labels = labels.repeat_interleave(views, dim=0)
        frames, targets = config.blending.apply(frames, labels, len(exp.classes))
        with _no_sync_until_last(state, last=number == len(sizes)):
            with config.amp.autocast(device):
                logits = state.trained(frames)
                loss = exp.criterion(logits, targets)
            if own * processes.size != samples:
                loss = loss * (own * processes.size / samples)  # also where the last batch is smaller
            state.scaler.scale(loss).backward()
        losses.append(loss.detach())
        if labels.ndim == 1 and own:  # of several labels a video none is the right one
            top1.logits.append(logits.detach())
            top1.labels.append(labels)
    top1.weight = seen * processes.size / samples
    accuracy = {"top1_acc": top1 if top1.labels else 0.0} if labels.ndim == 1 else {}
    return {"loss": _total(losses), **accuracy, "time/data": waited}


def _no_sync_until_last(state: TrainState, *, last: bool) -> AbstractContextManager[Any]:
    """The gradients of a step go to the other processes once, with its last batch."""
    if state.parallel is None or last:
        return nullcontext()
    return state.parallel.no_sync()  # type: ignore[no-any-return, operator]


def update_weights(exp: Experiment, state: TrainState) -> None:
    """The optimizer's step and the average of the weights; ``state.skipped`` counts those that fp16 left out."""
    scaler, loss_scale = state.scaler, exp.config.amp.loss_scale
    before = scaler.get_scale()
    scaler.step(state.optimizer)
    scaler.update()
    state.skipped += scaler.get_scale() < before  # an overflow: the step was left out and the scale lowered
    if loss_scale is not None:
        scaler.update(loss_scale)
    exp.processes.sync_batch_norm_stats(state.model)
    if state.ema is not None:
        state.ema.update_parameters(state.model)


def _all_finite(exp: Experiment, state: TrainState, values: Values) -> bool:
    """Whether the step may be taken, in every process. An fp16 gradient that overflows is the scaler's business, its
    loss is not."""
    checked = [values["loss"]]
    if not state.scaler.is_enabled():
        gradients = [p.grad for group in state.optimizer.param_groups for p in group["params"] if p.grad is not None]
        norm = values.get("grad_norm")
        checked += [norm] if norm is not None else torch._foreach_norm(gradients, float("inf"))
    finite = bool(torch.stack([value.detach().float() for value in checked]).isfinite().all())
    return exp.processes.largest(not finite) == [0]


def _skip_step(
    exp: Experiment, state: TrainState, values: Values, buffers: list[torch.Tensor], say: Callable[[str], None]
) -> Values:
    """Undo what the forward pass left in the buffers (running means); the values of the step, without the numbers that
    would spoil an average, as long as the run may survive it."""
    state.nonfinite += 1
    for buffer, before in zip(state.model.buffers(), buffers, strict=True):
        buffer.copy_(before)
    if state.scaler.is_enabled():
        state.scaler.update()  # it has seen the overflow: the scale falls
    budget = exp.config.grad.max_nonfinite_steps
    if state.nonfinite > budget:
        return values
    found = ", ".join(f"{name} {float(values[name]):g}" for name in ("loss", "grad_norm") if name in values)
    say(f"warning: step {state.step + 1} is left out, not finite: {found} ({state.nonfinite} of {budget} allowed)")
    return {name: value for name, value in values.items() if name.startswith("time/")}


def _name_without_gradient(state: TrainState, say: Callable[[str], None]) -> None:
    new = [name for name in params_without_grad(state.model) if name not in state.without_gradient]
    if new:
        state.without_gradient.update(new)
        say(f"warning: step {state.step + 1} gave {len(new)} parameters no gradient: {', '.join(new)}")


def _total(parts: list[torch.Tensor]) -> torch.Tensor:
    return parts[0] if len(parts) == 1 else torch.stack(parts).sum()
