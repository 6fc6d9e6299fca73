"""One training run, from a ``Config`` to a folder of results."""

from __future__ import annotations

import json
import logging
import os
import platform
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vexp.config.instantiate import to_dict
from vexp.config.schema import Config
from vexp.core.errors import UserError
from vexp.core.files import ensure_writable_dir, remove_temp_files, write_text
from vexp.evaluation.best_score import Best
from vexp.experiment.initial_weights import build_model_with_weights
from vexp.experiment.optimizer import log_param_groups, make_optimizer
from vexp.experiment.run_dir import checkpoint_folder, lock_run_dir, write_settings
from vexp.experiment.setup import Experiment, apply_switches, build_experiment
from vexp.runtime.device import pick_device
from vexp.runtime.distributed import (
    World,
    convert_sync_batchnorm,
    is_peer_failure,
    process_group,
    world_from_environment,
    wrap_ddp,
)
from vexp.runtime.seed import seed_generators
from vexp.tracking.backends import truncate_after_step
from vexp.tracking.console import RunLog
from vexp.tracking.meter import Meter
from vexp.training.failure_messages import describe_failure, plugin_location
from vexp.training.loop import train
from vexp.training.recorder import Recorder
from vexp.training.resume import find_resume_checkpoint, resume
from vexp.training.state import TrainState
from vexp.training.summary import finish_run, log_run_header

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
        if world.is_main_process:
            log_param_groups(exp, state.optimizer, state.model, folder)
            evaluated_again = state.evaluation_pending or exp.schedule.evaluates_before(state.step)
            truncate_after_step(folder / "metrics.jsonl", state.step, evaluated_again=evaluated_again)
        with Recorder(exp, folder, log, first_step=state.step + 1) as recorder:
            if world.is_main_process:
                recorder.checkpoints.repair_best_record(state)
            ended_by = train(exp, state, recorder)
        if world.is_main_process:
            recorder.draw_curves()
        result.content |= finish_run(state, recorder, ended_by, time.perf_counter() - result.start)
    return result.content


@contextmanager
def run_folder(config: Config, folder: Path, world: World, overrides: Sequence[str]) -> Iterator[None]:
    """Create the run folder and lock it in the main process.

    The settings of a resumed run are not written yet: overrides that do not fit its checkpoint must leave the folder
    unchanged.

    Raises:
        UserError: If the folder contains another run, is in use, or cannot be written.
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
        explained = describe_failure(error, config, folder)
        if explained is None:
            raise
        raise explained from error


class ResultFile:
    """Context manager that writes ``result.json`` however the run ends, and turns system failures into messages.

    Attributes:
        content: The result; the status is "failed" until the run adds its own.
        has_started: Whether training has started. A run that cannot be resumed keeps its earlier result until then.
    """

    def __init__(self, config: Config, folder: Path, world: World, log: RunLog, overrides: Sequence[str]) -> None:
        self.content: dict[str, Any] = {"status": "failed", "overrides": list(overrides)}
        self.has_started = False
        self.start = time.perf_counter()
        self._config = config
        self._folder = folder
        self._world = world
        self._log = log
        self._keeps_earlier = config.resume is not None and _has_succeeded(folder)

    def __enter__(self) -> ResultFile:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            if error is not None:
                self._fail(error)
        finally:
            if self._world.is_main_process and (self.has_started or not self._keeps_earlier):
                with suppress(OSError):  # a full disk must not hide the error that ended the run
                    write_text(self._folder / "result.json", json.dumps(self.content, indent=2) + "\n")

    def _fail(self, error: BaseException) -> None:
        """Record the error; raise a message for the user in its place if there is one."""
        explained = self._explain(error)
        self.content["error"] = str(explained) if explained is not None else f"{type(error).__name__}: {error}"
        if explained is not error:
            self._log.write_to_file("".join(traceback.format_exception(error)))
        if explained is None and (place := plugin_location(error, self._config.plugins)):
            logger.error(f"raised by code of a plugin, not of vexp: {place}")
        _clear_traceback_frames(error)
        if explained is not None and explained is not error:
            raise explained from error

    def _explain(self, error: BaseException) -> UserError | None:
        if isinstance(error, UserError):
            return error
        if is_peer_failure(error) and (message := self._world.peer_failure_message()):
            return UserError(message)
        return describe_failure(error, self._config, self._folder)


def _has_succeeded(folder: Path) -> bool:
    try:
        return bool(json.loads((folder / "result.json").read_text(encoding="utf-8"))["status"] != "failed")
    except (OSError, ValueError, KeyError):
        return False


def _clear_traceback_frames(error: BaseException | None) -> None:
    """Clear traceback frames so that data loaders in their variables are freed and their workers exit."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def build_state(config: Config, folder: Path, world: World) -> tuple[Experiment, TrainState]:
    """Build the experiment and its state, at step 0 or restored from a checkpoint.

    Raises:
        UserError: If the config, the data, the weights or the checkpoint do not fit each other.
    """
    apply_switches(config)
    logger.info(f"run folder {folder}")
    if not world.is_single_process:
        processes = world.gather_object(f"{os.getpid()} on {platform.node()}")
        logger.info(f"processes: {', '.join(processes)}")
    if world.is_main_process:
        _remove_temp_files(config, folder)
    exp = build_experiment(config, world)
    if exp.device.type == "cuda":
        torch.cuda.set_device(exp.device.index or 0)  # checkpoints save the generator of the current GPU
    path = world.broadcast_object(find_resume_checkpoint(exp, folder) if world.is_main_process else None)
    with world.local_main_process_first():
        model = build_model_with_weights(config, exp.classes, fresh=path is None)
    model = config.backend.prepare(convert_sync_batchnorm(model, config.dist, world, exp.device), exp.device)
    if config.diff_rank_seed and world.rank:
        seed_generators(config.seed + world.rank)
    state = new_state(exp, model)
    if path is not None:
        resume(exp, state, path)
    return exp, state


def _remove_temp_files(config: Config, folder: Path) -> None:
    for parent in (folder, folder / "eval", checkpoint_folder(config, folder)):
        for name in remove_temp_files(parent):
            logger.info(f"removed {parent / name}, a temporary file of a killed run")


def new_state(exp: Experiment, model: nn.Module) -> TrainState:
    """Return the state at step 0."""
    config, world = exp.config, exp.world
    return TrainState(
        model=model,
        optimizer=make_optimizer(exp, model),
        scaler=config.amp.scaler(exp.device),
        ema=config.ema.build(model),
        meter=Meter(
            config.log.interval,
            reset=config.log.reset_flag,
            all_reduce_mean=None if world.is_single_process else world.all_reduce_mean,
        ),
        best=_best(exp),
        world=world,
        parallel=None if world.is_single_process else wrap_ddp(model, config.dist, exp.device),
    )


def _best(exp: Experiment) -> Best | None:
    options = exp.config.eval
    metric = options.best_metric()
    if metric is None or exp.val_set is None:
        return None
    return Best(metric, options.greater_is_better(), options.patience)
