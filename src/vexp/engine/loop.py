"""The training loop, top to bottom."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from vexp.data.balance import BalancedOrder
from vexp.data.dataset import Batch
from vexp.data.loader import TrainingOrder, batches_of, make_loader
from vexp.engine.experiment import Experiment
from vexp.engine.outputs import Outputs
from vexp.engine.preemption import StopRequest
from vexp.engine.state import TrainState
from vexp.errors import UserError
from vexp.optim.lr_policy import LrPolicy


def train(exp: Experiment, state: TrainState, out: Outputs) -> str:
    """Train from ``state.step`` to the end of the run; "done", or the name of the signal that ended it early."""
    config, plan = exp.config, exp.plan
    evaluate_due, save_due = config.eval.every(), config.checkpoint.every()
    timer = Timer()
    state.model.train()
    if config.eval.before_training(state.step, plan.steps_per_epoch):
        out.evaluate(state)
    with StopRequest() as stop, out.progress(state.step):
        batches = training_batches(exp, state.step)
        while state.step < exp.total_steps and stop.requested is None:
            if config.log.by_epoch and state.step % plan.steps_per_epoch == 0:
                state.meter.restart()
            set_learning_rates(state.optimizer, config.lr_policy, state.step, plan.steps_per_epoch, exp.total_steps)
            timer.start()
            values = train_step(exp, state, batches, timer)
            state.step += 1
            state.meter.add(state.step, sum(plan.batch_sizes(state.step - 1)), values | timer.stop())
            out.advance()

            last = state.step == exp.total_steps
            if config.log.due(state.step, plan.steps_per_epoch):
                stop_if_not_finite(exp, state)
                out.log_training(state)
            best = False
            if evaluate_due.due(state.step, plan.steps_per_epoch) or (last and config.eval.at_end):
                stop_if_not_finite(exp, state)
                best = out.evaluate(state)
            periodic = save_due.due(state.step, plan.steps_per_epoch) or (last and config.checkpoint.save_last)
            if periodic or best or stop.requested is not None:
                stop_if_not_finite(exp, state)
                out.save(state, best=best, periodic=periodic or stop.requested is not None)
    stop_if_not_finite(exp, state)
    return stop.requested if stop.requested is not None and state.step < exp.total_steps else "done"


def train_step(exp: Experiment, state: TrainState, batches: Iterator[Batch], timer: Timer) -> dict[str, Any]:
    """One optimizer step over ``grad.accumulate`` batches; what is logged of it, still on the device."""
    config, device = exp.config, exp.device
    sizes = exp.plan.batch_sizes(state.step)
    loss_sum = torch.zeros((), device=device)
    correct = torch.zeros((), device=device)
    for size in sizes:
        with timer.waiting():
            batch = next(batches)
        frames = config.img_norm.apply(batch.frames.flatten(0, 1).to(device, non_blocking=True))  # (N*V, 3, T, H, W)
        labels = batch.labels.to(device, non_blocking=True)
        views = batch.frames.shape[1]
        with config.amp.autocast(device):
            logits = state.model(frames)
            loss = exp.criterion(logits, labels if views == 1 else labels.repeat_interleave(views))
        share = size / sum(sizes)  # the mean over all samples of the step, also where its last batch is smaller
        state.scaler.scale(loss * share if len(sizes) > 1 else loss).backward()
        loss_sum += loss.detach() * share
        correct += (logits.detach().argmax(1).view(size, views) == labels[:, None]).float().mean() * share
    values: dict[str, Any] = {"loss": loss_sum, "top1_acc": correct}
    state.scaler.unscale_(state.optimizer)
    grad_norm = config.grad.clip_norm_(state.model.parameters())
    if grad_norm is not None:
        values["grad_norm"] = grad_norm
    scale = state.scaler.get_scale()
    state.scaler.step(state.optimizer)
    state.scaler.update()
    state.skipped += state.scaler.get_scale() < scale  # an overflow: the step was left out and the scale lowered
    if config.amp.loss_scale is not None:
        state.scaler.update(config.amp.loss_scale)
    state.optimizer.zero_grad(set_to_none=True)
    if state.ema is not None:
        state.ema.update_parameters(state.model)
    return values


def training_batches(exp: Experiment, first_step: int) -> Iterator[Batch]:
    """The batches from optimizer step ``first_step`` on, to the end of the run."""
    order = training_order(exp, first_step, exp.total_steps)
    workers = exp.config.data.num_workers
    loader = make_loader(exp.train_set, order, num_workers=workers, device=exp.device, persistent=False)
    return batches_of(loader)


def training_order(exp: Experiment, first_step: int, total_steps: int) -> TrainingOrder:
    """Which samples the optimizer steps from ``first_step`` to before ``total_steps`` (0-based) see."""
    options, seed, balanced = exp.config.data.train, exp.config.seed, None
    if options.class_balance:
        labels = np.asarray(exp.train_set.source.labels)
        balanced = BalancedOrder(labels, len(exp.classes), seed=seed, balance=options.class_balance)
    return TrainingOrder(
        exp.plan, seed=seed, shuffle=options.shuffle, balanced=balanced, first_step=first_step, total_steps=total_steps
    )


def set_learning_rates(
    optimizer: torch.optim.Optimizer, policy: LrPolicy, step: int, steps_per_epoch: int, total_steps: int
) -> None:
    """Write the rate of optimizer step ``step`` (0-based) into every group."""
    for group in optimizer.param_groups:
        group["lr"] = policy.lr_at(
            group["initial_lr"], step=step, steps_per_epoch=steps_per_epoch, total_steps=total_steps
        )


def stop_if_not_finite(exp: Experiment, state: TrainState) -> None:
    """Before anything is measured or saved: a NaN would be in every weight by now.

    Raises:
        UserError: with the step, its samples and its learning rate.
    """
    step = state.meter.first_not_finite("loss")
    if step is None:
        return
    keys = [key for batch in training_order(exp, step - 1, step) for key in batch]
    names = [exp.train_set.source.name(index) for _, index, *_ in keys]
    rates = ", ".join(f"{group['lr']:.4g}" for group in state.optimizer.param_groups)
    raise UserError(
        f"the loss of step {step} is not finite (learning rate now {rates}, loss scale {state.scaler.get_scale():g}); "
        f"nothing was saved after it. Lower optimizer.lr, clip gradients (grad=clip) or look at its samples: "
        f"{', '.join(names[:8])}{' ...' if len(names) > 8 else ''}"
    )


@dataclass(slots=True)
class Timer:
    """Wall time of a step, and how much of it was spent waiting for data, in seconds."""

    _begin: float = 0.0
    _waited: float = 0.0

    def start(self) -> None:
        self._begin, self._waited = time.perf_counter(), 0.0

    def waiting(self) -> _Waiting:
        return _Waiting(self)

    def stop(self) -> dict[str, float]:
        return {"time/step": time.perf_counter() - self._begin, "time/data": self._waited}

    def waited(self, seconds: float) -> None:
        self._waited += seconds


class _Waiting:
    def __init__(self, timer: Timer) -> None:
        self.timer = timer

    def __enter__(self) -> None:
        self.begin = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.timer.waited(time.perf_counter() - self.begin)
