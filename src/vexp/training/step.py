"""One optimizer step: gradients over ``grad.accumulate`` batches, then the update of the weights."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import torch

from vexp.data.batch.batch import Batch
from vexp.data.loading.step_plan import ListPlan
from vexp.experiment.setup import Experiment
from vexp.model.auxiliary import logits_of
from vexp.model.sharded import local_part, whole_tensor
from vexp.optim.gradients import params_without_grad
from vexp.tracking.meter import DeferredTop1
from vexp.training.state import TrainState

logger = logging.getLogger(__name__)

Values = dict[str, Any]  # the values of Meter.add: floats, and tensors on the device


def set_learning_rates(exp: Experiment, state: TrainState) -> None:
    """Set the learning rate of the next step in every parameter group."""
    groups = state.optimizer.param_groups
    rates = {base_lr: exp.lr_at(base_lr, state.step) for base_lr in {group["initial_lr"] for group in groups}}
    for group in groups:
        group["lr"] = rates[group["initial_lr"]]


def train_step(exp: Experiment, state: TrainState, batches: Iterator[Batch]) -> Values:
    """Take one optimizer step and return its metrics; the caller increments ``state.step``."""
    start = time.perf_counter()
    grad, optimizer = exp.config.grad, state.optimizer
    may_skip = grad.max_nonfinite_steps > 0
    buffers = [buffer.clone() for buffer in state.model.buffers()] if may_skip else []
    values = accumulate_gradients(exp, state, batches)
    if grad.detect_anomalous_params:
        _report_params_without_grad(state)
    state.scaler.unscale_(optimizer)
    grad_norm = grad.clip_(optimizer)
    if grad_norm is not None:
        values["grad_norm"] = whole_tensor(grad_norm)
    if may_skip and not _all_finite(exp, state, values):
        values = _skip_step(exp, state, values, buffers)
    else:
        update_weights(exp, state)
    optimizer.zero_grad(set_to_none=True)
    values["time/step"] = time.perf_counter() - start
    return values


def accumulate_gradients(exp: Experiment, state: TrainState, batches: Iterator[Batch]) -> Values:
    """Run forward and backward over the batches of a step; the gradient is that of the mean loss over its samples.

    Each process has a part of every batch, and gradients are averaged over the processes. The loss of a batch is
    therefore weighted by its share of the step's samples times the number of processes (1 if all parts are equal).
    With data.train.mix=losses these are the step's samples of its list, and the losses of the lists are added.
    """
    config, device, world = exp.config, exp.device, exp.world
    planned, world_size = exp.plan.batches(state.step), world.world_size
    local_total = 0
    task, data_time, losses, top1 = exp.task, 0.0, [], DeferredTop1()
    for number, share in enumerate(planned, 1):
        local_size = exp.plan.own(share.size, world.rank)  # 0: the process gets one sample, which must not count
        start = time.perf_counter()
        batch = next(batches)
        data_time += time.perf_counter() - start
        batch = batch.to(device)
        inputs, targets = task.inputs(batch, training=True)
        targets = task.with_other_processes(targets, world, counts=local_size > 0)
        is_last = number == len(planned)  # gradients are averaged over the processes once per step
        with nullcontext() if is_last else state.parallel.no_sync():
            with config.amp.autocast(device):
                outputs = state.parallel.module(*inputs)
                parts = task.loss(outputs, targets)
            if local_size * world_size != share.averaged:  # also if the last batch is smaller
                parts = {name: part * (local_size * world_size / share.averaged) for name, part in parts.items()}
            with config.amp.backward(device, state.model):
                state.scaler.scale(parts["loss"]).backward()  # type: ignore[no-untyped-call]
        losses.append({name: part.detach() for name, part in parts.items()})
        if isinstance(exp.plan, ListPlan):
            losses[-1][f"loss_list{share.part}"] = losses[-1]["loss"]
        if share.part != planned[0].part:
            continue  # with data.train.mix=losses the accuracy is that of the first list
        local_total += local_size
        if (labels := task.accuracy_labels(batch)) is not None and local_size:
            top1.logits.append(logits_of(outputs).detach())
            top1.labels.append(labels)
    top1.weight = local_total * world_size / planned[0].averaged
    accuracy = {"top1_acc": top1 if top1.labels else 0.0} if labels is not None else {}
    return {**_summed(losses), **accuracy, "time/data": data_time}


def _summed(losses: Sequence[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Return the sums over the batches of a step."""
    if len(losses) == 1:
        return losses[0]
    names = dict.fromkeys(name for parts in losses for name in parts)
    return {name: torch.stack([parts[name] for parts in losses if name in parts]).sum() for name in names}


def update_weights(exp: Experiment, state: TrainState) -> None:
    """Update the weights and their moving average; ``state.skipped`` counts fp16 overflows, which have no update."""
    scaler, loss_scale = state.scaler, exp.config.amp.loss_scale
    scale = scaler.get_scale()
    scaler.step(state.optimizer)
    scaler.update()
    state.skipped += scaler.get_scale() < scale  # the scaler lowers its scale after an overflow
    if loss_scale is not None:
        scaler.update(loss_scale)
    exp.world.sync_batch_norm_stats(state.model)
    if state.ema is not None:
        state.ema.update_parameters(state.model)


def _all_finite(exp: Experiment, state: TrainState, values: Values) -> bool:
    """Return whether loss and gradients are finite in all processes; the scaler handles overflows of fp16 gradients."""
    checked = [values["loss"]]
    if not state.scaler.is_enabled():
        parameters = (p for group in state.optimizer.param_groups for p in group["params"])
        gradients = [local_part(p.grad) for p in parameters if p.grad is not None]
        norm = values.get("grad_norm")
        checked += [norm] if norm is not None else torch._foreach_norm(gradients, float("inf"))
    is_finite = bool(torch.stack([value.detach().float() for value in checked]).isfinite().all())
    return exp.world.all_reduce_max(not is_finite) == 0


def _skip_step(exp: Experiment, state: TrainState, values: Values, buffers: list[torch.Tensor]) -> Values:
    """Restore the buffers (running means) and return the timings only, which keeps averages finite.

    If ``grad.max_nonfinite_steps`` is exceeded all values are returned, for the report.
    """
    state.nonfinite += 1
    for buffer, saved in zip(state.model.buffers(), buffers, strict=True):
        buffer.copy_(saved)
    if state.scaler.is_enabled():
        state.scaler.update()  # lowers the scale: unscale_ has recorded the overflow
    budget = exp.config.grad.max_nonfinite_steps
    if state.nonfinite > budget:
        return values
    shown = ", ".join(f"{name} {float(values[name]):g}" for name in ("loss", "grad_norm") if name in values)
    logger.warning(f"step {state.step + 1} is skipped, not finite: {shown} ({state.nonfinite} of {budget} allowed)")
    return {name: value for name, value in values.items() if name.startswith("time/")}


def _report_params_without_grad(state: TrainState) -> None:
    new = [name for name in params_without_grad(state.model) if name not in state.without_gradient]
    if new:
        state.without_gradient.update(new)
        logger.warning(f"step {state.step + 1} gave {len(new)} parameters no gradient: {', '.join(new)}")
