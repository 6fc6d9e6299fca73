"""Going on where a run stopped: from which checkpoint, what has changed since, and what cannot go on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vexp import checkpoint
from vexp.config.diff import diff_configs
from vexp.config.instantiate import to_dict
from vexp.core.errors import UserError
from vexp.experiment.run_dir import checkpoint_folder
from vexp.experiment.setup import Experiment
from vexp.runtime.seed import seed_generators
from vexp.tracking.console import RunLog
from vexp.training.state import TrainState

#: Settings that say where and from what a run goes on, not what it is; the optimizer's are told by group.
TOLD_ELSEWHERE = ("resume", "init_from", "out_root", "run_name", "sweep", "plugins", "optimizer")


def resumed_from(exp: Experiment, folder: Path, log: RunLog) -> Path | None:
    """The checkpoint that the run goes on from; None for a fresh start, also where resume=auto finds nothing.

    Raises:
        UserError: there are checkpoints, but none that can be read.
    """
    config = exp.config
    if config.resume is None:
        return None
    if config.resume != "auto":
        return checkpoint.locate(config.resume)
    for place in dict.fromkeys([checkpoint_folder(config, folder), folder / "checkpoints"]):  # out_dir may be new
        found = checkpoint.find(place)
        if found is not None:
            checkpoint.complete(found, keep=config.checkpoint.max_keep_ckpts)
            return found
    log.say("resume=auto: no checkpoint here yet, starting fresh")
    return None


def resume(exp: Experiment, state: TrainState, found: Path, log: RunLog) -> None:
    """Take over a checkpoint and say what has changed since.

    Raises:
        UserError: it cannot be read, is of another net, data or optimizer, or of the run's end.
    """
    config, saved = exp.config, checkpoint.load(found)
    _check_same_moment(exp, saved, str(found))
    settings = [f"optimizer.{change}" for change in state.load_state_dict(saved, str(found))]
    settings += diff_configs(saved.get("config", {}), to_dict(config, types=True), leave_out=TOLD_ELSEWHERE)
    before, rank = len(saved["rng"]), exp.processes.rank
    if config.diff_rank_seed and rank >= before:  # it was not there, and draws as it does from its start
        seed_generators(config.seed + rank)
    log.say(f"resumed from {found} after step {state.step} (epoch {exp.epoch(state.step)})")
    for change in settings:
        log.say(f"changed since: {change}")
    if before != exp.processes.size:
        log.say(
            f"{before} processes before, {exp.processes.size} now: the same samples in every step, but sums are taken "
            "in another order (the last bits), and dropout, blending, batch norm without dist.sync_bn see other parts"
        )
    if state.evaluation_pending:
        log.say("its last evaluation was cut short and comes first")
    elif state.step == exp.total_steps and config.resume == "auto":
        log.say("its training is complete: what is left is to write the results")
    elif state.step >= exp.total_steps:
        raise UserError(
            f"{found}: was saved after step {state.step}, the run ends at {exp.total_steps}: nothing is left; "
            "raise epochs or max_steps"
        )
    elif state.early_stopped and state.best is not None:
        raise UserError(
            f"{found}: its run ended early, {state.best.metric} had not improved in {state.best.waited} evaluations; "
            "raise eval.patience to go on"
        )


def _check_same_moment(exp: Experiment, saved: dict[str, Any], source: str) -> None:
    """A checkpoint's step must mean the same place in the same order of samples.

    Raises:
        UserError: it does not, or the classes are others.
    """
    classes = saved.get("classes", exp.classes)
    if classes != exp.classes:
        raise UserError(
            f"{source}: was trained on {len(classes)} classes ({', '.join(classes[:3])} ...), the data now has "
            f"{len(exp.classes)} ({', '.join(exp.classes[:3])} ...); init_from starts a new run from its weights"
        )
    if "plan" not in saved:
        return
    plan, step = exp.plan.summary(), int(saved["step"])
    processes, per_process = len(saved.get("rng", [0])), ""
    if processes != exp.processes.size:
        per_process = f" (it had {processes} processes, now {exp.processes.size}: data.batch_size is of each)"
    differing = ", ".join(f"{name} {old} -> {plan[name]}" for name, old in saved["plan"].items() if old != plan[name])
    if saved["plan"]["steps_per_epoch"] != plan["steps_per_epoch"]:
        raise UserError(
            f"{source}: the steps of an epoch are others now ({differing}), so step {step} would be another moment of "
            f"the training; put that back{per_process}, or start a new run from its weights with init_from"
        )
    if differing and step % plan["steps_per_epoch"]:
        raise UserError(
            f"{source}: was saved within an epoch, after step {step} of {plan['steps_per_epoch']} an epoch, and the "
            f"samples of a step are others now ({differing}): some would be seen twice and some never; put that back"
            f"{per_process}, go on from the checkpoint of an epoch's end, or start a new run from its weights with "
            "init_from"
        )
