"""One training run, from a ``Config`` to a folder of results."""

from __future__ import annotations

import logging
import os
import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vexp.config.instantiate import to_dict
from vexp.config.schema import Config
from vexp.core.errors import UserError
from vexp.core.files import ensure_writable_dir, remove_temp_files
from vexp.evaluation.best_score import Best
from vexp.experiment.initial_weights import build_model_with_weights
from vexp.experiment.optimizer import log_param_groups, make_optimizer
from vexp.experiment.run_dir import checkpoint_folder, lock_run_dir, write_settings
from vexp.experiment.setup import Experiment, apply_switches, build_experiment
from vexp.runtime.device import pick_device
from vexp.runtime.distributed import World, convert_sync_batchnorm, process_group, world_from_environment
from vexp.runtime.parallel import parallelize
from vexp.runtime.seed import seed_generators
from vexp.tracking.backends import truncate_after_step
from vexp.tracking.console import RunLog
from vexp.tracking.meter import Meter
from vexp.training.cached_features import use_cached_features
from vexp.training.failure_messages import describe_failure
from vexp.training.loop import train
from vexp.training.precise_bn import check_precise_bn
from vexp.training.recorder import Recorder
from vexp.training.resume import find_resume_checkpoint, resume
from vexp.training.run_end import ResultFile, check_files, finish_run
from vexp.training.run_header import log_run_header
from vexp.training.state import TrainState

logger = logging.getLogger(__name__)


def run(config: Config, out_dir: str | Path, *, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Train, evaluate and save; return the content of ``result.json``: status, metrics (``val/top1_acc`` ...), best.

    Args:
        config: From ``vexp.compose`` or the command line.
        out_dir: Run folder; with ``resume=auto`` the run in it is continued.
        overrides: The overrides of ``config``, saved beside it.

    Raises:
        UserError: If the user can fix it; ``result.json`` then has the status "failed" and the message.
    """
    folder, world = Path(out_dir).absolute(), world_from_environment()
    if not world.is_single_process:
        config = replace(config, dist=replace(config.dist, nproc=world.world_size))  # --rerun starts as many
    with (
        process_group(config.dist, world, lambda: pick_device(config.device, world)),
        run_folder(config, folder, world, overrides),
        RunLog(folder / "log.txt" if world.is_main_process else None) as log,
        ResultFile(config, folder, world, log, overrides) as result,
    ):
        exp, state = build_state(config, folder, world)
        if world.is_main_process and config.resume is not None:
            write_settings(folder, to_dict(config, types=True), overrides)
        result.has_started = True
        log_run_header(exp, state.model)
        if config.data.cache_features:
            use_cached_features(exp, state)
        if world.is_main_process:
            log_param_groups(exp, state.optimizer, state.model, folder)
            evaluated_again = state.evaluation_pending or exp.schedule.evaluates_before(state.step)
            truncate_after_step(folder / "metrics.jsonl", state.step, evaluated_again=evaluated_again)
        with Recorder(exp, folder, log, first_step=state.step + 1) as recorder:
            if world.is_main_process:
                recorder.checkpoints.write_best_record(state.best_record)  # the run may have been killed before
            ended_by = train(exp, state, recorder)
        if world.is_main_process:
            recorder.draw_curves()
        result.content |= finish_run(state, recorder, ended_by, time.perf_counter() - result.start)
        if world.is_main_process:
            check_files(recorder, state.step, overrides)
    return result.content


@contextmanager
def run_folder(config: Config, folder: Path, world: World, overrides: Sequence[str]) -> Iterator[None]:
    """Create the run folder and lock it in the main process.

    The settings of a resumed run are not written yet: overrides that do not fit its checkpoint must leave the folder
    unchanged.
    """
    if not world.is_main_process:
        yield
        return
    if config.resume is None and (folder / "metrics.jsonl").exists():
        raise UserError(f"{folder}: contains a run already; continue it with resume=auto, or choose another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with lock_run_dir(folder):
            if config.checkpoint.out_dir is not None:
                ensure_writable_dir(checkpoint_folder(config, folder), "set checkpoint.out_dir=FOLDER")
            if config.resume is None or not (folder / "config.yaml").exists():
                write_settings(folder, to_dict(config, types=True), overrides)
            yield
    except OSError as error:
        if (explained := describe_failure(error, config, folder)) is None:
            raise
        raise explained from error


def build_state(config: Config, folder: Path, world: World) -> tuple[Experiment, TrainState]:
    """Build the experiment and its state, at step 0 or restored from a checkpoint."""
    apply_switches(config)
    logger.info(f"run folder {folder}")
    if not world.is_single_process:
        processes = world.gather_object(f"{os.getpid()} on {platform.node()}")
        logger.info(f"processes: {', '.join(processes)}")
    if world.is_main_process:
        for parent in (folder, folder / "eval", checkpoint_folder(config, folder)):
            for name in remove_temp_files(parent):
                logger.info(f"removed {parent / name}, a temporary file of a killed run")
    exp = build_experiment(config, world)
    if exp.device.type == "cuda":
        torch.cuda.set_device(exp.device.index or 0)  # checkpoints save the generator of the current GPU
    path = world.broadcast_object(find_resume_checkpoint(exp, folder) if world.is_main_process else None)
    with world.local_main_process_first():
        model = build_model_with_weights(config, exp.classes, fresh=path is None)
    is_sharded = config.dist.strategy == "fsdp" and not world.is_single_process  # moved to the device in parts
    model = convert_sync_batchnorm(model, config.dist, world, exp.device)
    model = config.backend.prepare(model, torch.device("cpu") if is_sharded else exp.device)
    if config.diff_rank_seed and world.rank:
        seed_generators(config.seed + world.rank)
    state = new_state(exp, model)
    if path is not None:
        resume(exp, state, path)
    return exp, state


def new_state(exp: Experiment, model: nn.Module) -> TrainState:
    """Return the state at step 0."""
    config, world = exp.config, exp.world
    all_reduce_mean = None if world.is_single_process else world.all_reduce_mean
    task = config.data.task
    metric = config.eval.best_metric(task) if exp.val_set is not None else None
    check_precise_bn(config, model)
    ema = config.ema.build(model)
    unused = config.dist.find_unused_parameters or config.data.train.own_classes  # the other list's classifier
    dist = replace(config.dist, find_unused_parameters=unused)
    parallel = parallelize(model, ema, dist, config.amp, exp.device, world)
    return TrainState(
        model=model,
        optimizer=make_optimizer(exp, model),  # after the parameters are sharded
        scaler=config.amp.scaler(exp.device),
        ema=ema,
        meter=Meter(config.log.interval, reset=config.log.reset_flag, all_reduce_mean=all_reduce_mean),
        best=None
        if metric is None
        else Best(metric, config.eval.greater_is_better(task=config.data.task), config.eval.patience),
        world=world,
        parallel=parallel,
    )
