"""The training loop. ``vexp.experiment.eval_save_schedule`` decides after which steps it evaluates and saves."""

from __future__ import annotations

from vexp.experiment.setup import Experiment
from vexp.runtime.signals import Interrupted, SignalHandler
from vexp.training.proxies import run_batches
from vexp.training.recorder import Recorder
from vexp.training.state import TrainState
from vexp.training.step import set_learning_rates, train_step


def train(exp: Experiment, state: TrainState, recorder: Recorder) -> str:
    """Train from ``state.step`` to the last step; return "done" or the name of the signal that interrupted it."""
    schedule = exp.schedule
    state.model.train()
    with SignalHandler(exp.world) as interrupt, recorder.progress(state.step):
        is_pending = state.evaluation_pending
        if is_pending or schedule.evaluates_before(state.step):
            is_best = recorder.evaluate(state, interrupt)
            is_due = interrupt.check() or (
                is_pending and schedule.saves_after(state.step, early_stopped=state.early_stopped)
            )
            if is_best or is_due:
                recorder.save(state, is_best=is_best, is_due=is_due)

        batches = run_batches(exp, state, recorder.train_bad_samples, interrupt)
        while state.step < exp.total_steps and not interrupt.requested and not state.early_stopped:
            set_learning_rates(exp, state)
            try:
                metrics = train_step(exp, state, batches)  # forward, backward, clip, optimizer step
            except Interrupted:  # while it waited for proxies, before it began
                recorder.save(state, is_best=False, is_due=True)
                break
            state.step += 1
            recorder.record(state, metrics)  # averages them; writes a log line if one is due

            is_best = schedule.evaluates_after(state.step) and recorder.evaluate(state, interrupt)
            is_due = interrupt.check() or schedule.saves_after(state.step, early_stopped=state.early_stopped)
            if is_best or is_due:
                recorder.save(state, is_best=is_best, is_due=is_due)

        recorder.finish(state)
    is_complete = state.step == exp.total_steps or state.early_stopped
    if interrupt.requested and (state.evaluation_pending or not is_complete):
        return interrupt.requested
    return "done"
