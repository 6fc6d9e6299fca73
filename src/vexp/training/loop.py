"""The training loop, top to bottom."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from vexp.core.errors import UserError
from vexp.core.interval import Interval
from vexp.data.batch.batch import Batch
from vexp.data.loading.bad_samples import BadSamples
from vexp.data.loading.class_balance import BalancedOrder
from vexp.data.loading.dataloader import TrainSampler, iterate_batches, make_loader
from vexp.experiment.setup import Experiment
from vexp.optim.lr_policy import WarmedPolicy
from vexp.optim.param_group_table import learning_rates
from vexp.runtime.signals import SignalHandler
from vexp.tracking.console import rates_text
from vexp.training.nonfinite import write_nonfinite_report
from vexp.training.recorder import Recorder
from vexp.training.state import TrainState
from vexp.training.step import train_step


def train(exp: Experiment, state: TrainState, out: Recorder) -> str:
    """Train from ``state.step`` to the end of the run; "done", or the name of the signal that ended it early."""
    config, plan = exp.config, exp.plan
    evaluate_due, save_due = config.eval.every(), config.checkpoint.every()
    state.model.train()
    with SignalHandler(exp.processes) as stop, out.progress(state.step):
        if state.evaluation_pending:
            evaluate_and_save(exp, state, out, stop, save_due, evaluate=True)
        elif config.eval.before_training(state.step, plan.steps_per_epoch):
            best = out.evaluate(state, stop)
            if best or stop.requested is not None:
                out.save(state, best=best, periodic=stop.requested is not None)
        bad = out.bad_samples(exp.train_set, "train")
        batches = training_batches(exp, state.step, bad)
        while state.step < exp.total_steps and stop.requested is None and not state.early_stopped:
            if config.log.by_epoch and state.step % plan.steps_per_epoch == 0:
                check_finite(exp, state, out)  # what ignore_last leaves out is forgotten now
                state.meter.restart()
            set_learning_rates(state.optimizer, config.lr_policy, state.step, plan.steps_per_epoch, exp.total_steps)
            sizes = plan.batch_sizes(state.step)
            values = train_step(exp, state, batches, sizes, out.log.say)
            state.step += 1
            state.meter.add(state.step, sum(sizes), values)
            out.advance()
            bad.sync()
            if state.nonfinite > config.grad.max_nonfinite_steps:
                check_finite(exp, state, out)

            if config.log.due(state.step, plan.steps_per_epoch):
                check_finite(exp, state, out)
                out.log_training(state)
            last = state.step == exp.total_steps
            evaluate = evaluate_due.due(state.step, plan.steps_per_epoch) or (last and config.eval.at_end)
            evaluate_and_save(exp, state, out, stop, save_due, evaluate=evaluate)
        out.finish_saving()  # while a signal still finds its handler
    check_finite(exp, state, out)
    ended = (state.step == exp.total_steps or state.early_stopped) and not state.evaluation_pending
    return "done" if ended or stop.requested is None else stop.requested


def evaluate_and_save(
    exp: Experiment, state: TrainState, out: Recorder, stop: SignalHandler, save_due: Interval, *, evaluate: bool
) -> None:
    """What follows a step: the evaluation, and the checkpoint that is due, or has been earned, or ends the run."""
    best = False
    if evaluate:
        check_finite(exp, state, out)
        best = out.evaluate(state, stop)
    ends = state.step == exp.total_steps or state.early_stopped
    due = save_due.due(state.step, exp.plan.steps_per_epoch) or (exp.config.checkpoint.save_last and ends)
    if stop.check() or due or best:
        check_finite(exp, state, out)
        out.save(state, best=best, periodic=due or stop.requested is not None)


def training_batches(exp: Experiment, first_step: int, bad: BadSamples, *, steps: int | None = None) -> Iterator[Batch]:
    """This process's batches of ``steps`` optimizer steps from ``first_step`` on; None: to the end of the run."""
    last = exp.total_steps if steps is None else first_step + steps
    order = training_order(exp, first_step, last, rank=exp.processes.rank)
    loader = make_loader(exp.train_set, order, exp.config.data, exp.device, persistent=False)
    return iterate_batches(loader, bad)


def training_order(exp: Experiment, first_step: int, total_steps: int, *, rank: int | None = None) -> TrainSampler:
    """Which samples the optimizer steps from ``first_step`` to before ``total_steps`` (0-based) see; with ``rank`` that
    process's part of them."""
    options, seed, balanced = exp.config.data.train, exp.config.seed, None
    if options.class_balance:
        labels = np.asarray(exp.train_set.source.labels)
        balanced = BalancedOrder(labels, len(exp.classes), seed=seed, balance=options.class_balance)
    return TrainSampler(
        exp.plan, seed=seed, shuffle=options.shuffle, balanced=balanced, first_step=first_step, total_steps=total_steps,
        rank=rank,
    )  # fmt: skip


def set_learning_rates(
    optimizer: torch.optim.Optimizer, policy: WarmedPolicy, step: int, steps_per_epoch: int, total_steps: int
) -> None:
    """Write the rate of optimizer step ``step`` (0-based) into every group."""
    rates: dict[float, float] = {}  # groups share few base rates
    for group in optimizer.param_groups:
        base = group["initial_lr"]
        if base not in rates:
            rates[base] = policy.lr_at(base, step=step, steps_per_epoch=steps_per_epoch, total_steps=total_steps)
        group["lr"] = rates[base]


def check_finite(exp: Experiment, state: TrainState, out: Recorder) -> None:
    """Before anything is measured or saved: a NaN would be in every weight by now.

    Raises:
        UserError: with the step, its samples, its learning rate and the file that holds the rest.
    """
    spent = state.nonfinite > exp.config.grad.max_nonfinite_steps
    step = state.step if spent else state.meter.first_not_finite("loss")
    if step is None:
        return
    keys = [key for batch in training_order(exp, step - 1, step) for key in batch]
    names = [exp.train_set.source.name(index) for _, index, *_ in keys]
    path = write_nonfinite_report(exp, state, step, [index for _, index, *_ in keys], out.folder)
    rates = rates_text(learning_rates(state.optimizer))
    raise UserError(
        f"the loss or gradient of step {step} is not finite (learning rate now {rates}, loss scale "
        f"{state.scaler.get_scale():g}); nothing was saved after it, the last steps are in {path}. Lower optimizer.lr, "
        f"clip gradients (grad=clip) or look at its samples: {', '.join(names[:8])}{' ...' if len(names) > 8 else ''}"
    )
