"""Resuming a run: which checkpoint, what has changed since, and whether it can continue."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from vexp import checkpoint
from vexp.config.diff import diff_configs
from vexp.config.instantiate import to_dict
from vexp.core.errors import UserError
from vexp.experiment.run_dir import checkpoint_folder
from vexp.experiment.setup import Experiment
from vexp.runtime.seed import seed_generators
from vexp.training.state import TrainState

logger = logging.getLogger(__name__)

#: Keys that do not describe the training itself. The optimizer's are reported by parameter group.
IGNORED_KEYS = ("resume", "init_from", "out_root", "run_name", "sweep", "plugins", "optimizer")


def find_resume_checkpoint(exp: Experiment, folder: Path) -> Path | None:
    """Return the checkpoint to resume from; None for a new run, or if resume=auto finds none."""
    config = exp.config
    if config.resume is None:
        return None
    if config.resume != "auto":
        return checkpoint.locate(config.resume)
    # checkpoint.out_dir may have been added since the run was started
    for place in dict.fromkeys([checkpoint_folder(config, folder), folder / "checkpoints"]):
        checkpoint.repair_manifest(place)
        if (path := checkpoint.find(place)) is not None:
            checkpoint.complete(path, max_keep_ckpts=config.checkpoint.max_keep_ckpts)
            return path
    logger.info("resume=auto: no checkpoint yet, starting a new run")
    return None


def resume(exp: Experiment, state: TrainState, path: Path) -> None:
    """Restore ``state`` from a checkpoint and log what has changed since."""
    config, saved = exp.config, checkpoint.load(path)
    checkpoint.check_training_state(saved, path)
    _check_same_data(exp, saved, str(path))
    changes = [f"optimizer.{change}" for change in state.load_state_dict(saved, str(path))]
    changes += diff_configs(saved.get("config") or {}, to_dict(config, types=True), leave_out=IGNORED_KEYS)
    before, now, rank = len(saved["rng"]), exp.world.world_size, exp.world.rank
    if config.diff_rank_seed and rank >= before:  # a new process starts as in a new run
        seed_generators(config.seed + rank)
    logger.info(f"resumed from {path} after step {state.step} (epoch {exp.epoch(state.step)})")
    for change in changes:
        logger.info(f"changed since: {change}")
    if before != now:
        logger.info(
            f"{before} processes before, {now} now: every step sees the same samples, but "
            "sums are computed in another order (last bits), and dropout, blending and batch norm without dist.sync_bn "
            "act on other parts of a batch"
        )
    if state.evaluation_pending:
        logger.info("the interrupted evaluation is repeated first")
    elif state.step == exp.total_steps and config.resume == "auto":
        logger.info("training is complete; only the results are written")
    elif state.step >= exp.total_steps:
        raise UserError(
            f"{path}: was saved after step {state.step}, and the run has {exp.total_steps} steps: nothing is left to "
            "train; raise epochs or max_steps"
        )
    elif state.early_stopped and state.best is not None:
        raise UserError(
            f"{path}: the run stopped early, {state.best.metric} had not improved in {state.best.waited} evaluations; "
            "raise eval.patience to continue"
        )


def _check_same_data(exp: Experiment, saved: dict[str, Any], source: str) -> None:
    """Check that the checkpoint's step means the same position in the same order of samples of the same classes."""
    classes = saved.get("classes") or exp.classes
    if classes != exp.classes:
        raise UserError(
            f"{source}: was trained on {len(classes)} classes ({', '.join(classes[:3])} ...), the data now has "
            f"{len(exp.classes)} ({', '.join(exp.classes[:3])} ...); init_from starts a new run from its weights"
        )
    before_plan = saved.get("plan")
    if before_plan is None:
        return
    plan, step, per_epoch = exp.plan.summary(), saved["step"], exp.plan.steps_per_epoch
    differing = ", ".join(
        f"{name} {before_plan.get(name)} -> {now}" for name, now in plan.items() if before_plan.get(name) != now
    )
    before, now, restore = len(saved.get("rng", [0])), exp.world.world_size, "restore these settings"
    if before != now:
        restore += f" (it had {before} processes, now {now}: data.batch_size is per process)"
    if before_plan.get("steps_per_epoch") != per_epoch:
        raise UserError(
            f"{source}: the number of steps per epoch has changed ({differing}), so step {step} is another position in "
            f"the training; {restore}, or start a new run from its weights with init_from"
        )
    if differing and step % per_epoch:
        raise UserError(
            f"{source}: was saved within an epoch, after step {step} of {per_epoch} per epoch, and the samples of a "
            f"step have changed ({differing}): some would be seen twice and some never; {restore}, resume from a "
            "checkpoint at the end of an epoch, or start a new run from its weights with init_from"
        )
