"""One run, from a ``Config`` to a folder of results."""

from __future__ import annotations

import json
import os
import platform
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
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
from vexp.experiment.optimizer import make_optimizer, show_groups
from vexp.experiment.run_dir import checkpoint_folder, lock_run_dir, write_settings
from vexp.experiment.setup import Experiment, build_experiment, pick_device
from vexp.runtime.distributed import (
    World,
    convert_sync_batchnorm,
    init_process_group,
    is_peer_failure,
    world_from_environment,
    wrap_ddp,
)
from vexp.runtime.seed import seed_generators, set_global_switches
from vexp.tracking.backends import truncate_after_step
from vexp.tracking.console import RunLog
from vexp.tracking.meter import Meter
from vexp.training.failure_messages import describe_failure
from vexp.training.loop import train
from vexp.training.recorder import Recorder
from vexp.training.resume import resume, resumed_from
from vexp.training.state import TrainState
from vexp.training.summary import finish_run, log_run_header


def run(config: Config, out_dir: str | Path, *, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Train, evaluate, save; what ``result.json`` holds: status, metrics (``val/top1_acc`` ...), best.

    Args:
        config: from ``vexp.compose`` or the command line.
        out_dir: the run folder; one that holds a run is continued with ``resume=auto``.
        overrides: the words that made ``config``, to be kept beside it.

    Raises:
        UserError: anything that the user can mend; ``result.json`` then says "failed" and why.
    """
    folder, processes = Path(out_dir).absolute(), world_from_environment()
    if not processes.alone:
        config = replace(config, dist=replace(config.dist, nproc=processes.size))  # as config.yaml is to repeat it
        processes = init_process_group(config.dist, pick_device(config.device, processes))
    try:
        result = _in_folder(config, folder, processes, overrides)
    except Exception as error:
        if not processes.alone and not processes.report_failure(f"process {processes.rank}: {error}"):
            raise SystemExit(1) from error  # the first that failed tells the user
        raise
    processes.barrier()  # the first has written all
    return result


def _in_folder(config: Config, folder: Path, processes: World, overrides: Sequence[str]) -> dict[str, Any]:
    """The run in its folder, which belongs to the process that writes."""
    if not processes.first:
        with RunLog(None) as log:
            return _recorded(config, folder, log, processes, overrides)
    if config.resume is None and (folder / "metrics.jsonl").exists():
        raise UserError(f"{folder}: holds a run already; go on with it (resume=auto) or take another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with lock_run_dir(folder):
            if config.checkpoint.out_dir is not None:
                ensure_writable_dir(checkpoint_folder(config, folder), "set checkpoint.out_dir=FOLDER")
            if config.resume is None or not (folder / "config.yaml").exists():
                write_settings(folder, to_dict(config, types=True), overrides)
            with RunLog(folder / "log.txt") as log:
                return _recorded(config, folder, log, processes, overrides)
    except OSError as error:  # the folder itself cannot be written
        told = describe_failure(error, config, folder)
        if told is None:
            raise
        raise told from error


def _recorded(config: Config, folder: Path, log: RunLog, processes: World, overrides: Sequence[str]) -> dict[str, Any]:
    """The run with its end in ``result.json``, however it ends.

    One that goes on writes its settings only when its checkpoint has taken them: words that do not fit leave the folder
    as it was, to be resumed with others.
    """
    result: dict[str, Any] = {"status": "failed", "overrides": list(overrides)}
    begin, untouched = time.perf_counter(), config.resume is not None and _has_ended_well(folder)
    try:
        exp, state = _ready(config, folder, log, processes)
        if processes.first and config.resume is not None:
            write_settings(folder, to_dict(config, types=True), overrides)
        untouched = False
        result |= _run(exp, state, folder, log, begin)
    except BaseException as error:
        words = processes.peer_failure_message() if is_peer_failure(error) else None
        told = (
            error
            if isinstance(error, UserError)
            else UserError(words)
            if words
            else describe_failure(error, config, folder)
        )
        result["error"] = str(told) if told is not None else f"{type(error).__name__}: {error}"
        if told is not error:
            log.note(traceback.format_exc())
        _clear_traceback_frames(error)
        if told is None or told is error:
            raise
        raise told from error
    finally:
        if processes.first and not untouched:
            with suppress(OSError):  # of a full disk: what ended the run is told all the same
                write_text(folder / "result.json", json.dumps(result, indent=2) + "\n")
    return result


def _has_ended_well(folder: Path) -> bool:
    try:
        return bool(json.loads((folder / "result.json").read_text(encoding="utf-8"))["status"] != "failed")
    except (OSError, ValueError, KeyError):
        return False


def _clear_traceback_frames(error: BaseException | None) -> None:
    """Free what the frames of an error hold: the loaders among it, whose workers would keep the process from ending."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def _ready(config: Config, folder: Path, log: RunLog, processes: World) -> tuple[Experiment, TrainState]:
    """All that a run needs before its first step, or the next after a checkpoint."""
    set_global_switches(seed=config.seed, deterministic=config.deterministic, cudnn_benchmark=config.cudnn_benchmark)
    config.backend.set_switches()
    log.say(f"run folder {folder}")
    if not processes.alone:
        ids = processes.gather(f"{os.getpid()} on {platform.node()}")
        log.say(f"processes: {', '.join(ids)}")
    if processes.first:
        for place in (folder, folder / "eval", checkpoint_folder(config, folder)):
            for name in remove_temp_files(place):
                log.say(f"removed {place / name}, which a killed run had begun to write")
    exp = build_experiment(config, processes)
    if exp.device.type == "cuda":
        torch.cuda.set_device(exp.device.index or 0)  # the generator of this GPU is the one that a checkpoint holds
    resumed = processes.broadcast_object(resumed_from(exp, folder, log) if processes.first else None)
    with processes.local_main_process_first():
        model = build_model_with_weights(config, exp.classes, fresh=resumed is None)
    model = config.backend.prepare(convert_sync_batchnorm(model, config.dist, processes, exp.device), exp.device)
    if config.diff_rank_seed and processes.rank:
        seed_generators(config.seed + processes.rank)
    state = new_state(exp, model)
    if resumed is not None:
        resume(exp, state, resumed, log)
    return exp, state


def _run(exp: Experiment, state: TrainState, folder: Path, log: RunLog, begin: float) -> dict[str, Any]:
    config, processes = exp.config, exp.processes
    log_run_header(exp, state.model, log)
    if processes.first:
        show_groups(exp, state.optimizer, state.model, folder, log)
        again = state.evaluation_pending or config.eval.before_training(state.step, exp.plan.steps_per_epoch)
        truncate_after_step(folder / "metrics.jsonl", state.step, evaluated_again=again)
    with Recorder(exp, folder, log, first_step=state.step + 1) as out:
        if processes.first:
            out.mend(state)
        ended = train(exp, state, out)
    if processes.first:
        out.draw()
    return finish_run(state, out, ended, time.perf_counter() - begin)


def new_state(exp: Experiment, model: nn.Module) -> TrainState:
    """The state at step 0."""
    config, processes = exp.config, exp.processes
    return TrainState(
        model=model,
        optimizer=make_optimizer(exp, model),
        scaler=config.amp.scaler(exp.device),
        ema=config.ema.build(model),
        meter=Meter(
            config.log.interval, reset=config.log.reset_flag, over_processes=None if processes.alone else processes.mean
        ),
        best=_best(exp),
        processes=processes,
        parallel=None if processes.alone else wrap_ddp(model, config.dist, exp.device),
    )


def _best(exp: Experiment) -> Best | None:
    options = exp.config.eval
    metric = options.best_metric()
    if metric is None or exp.val_set is None:
        return None
    return Best(metric, options.greater_is_better(), options.patience)
