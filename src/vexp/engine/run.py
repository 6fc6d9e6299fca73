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

from vexp.atomic import make_folder, remove_leftovers, write_text
from vexp.config.load import to_plain
from vexp.config.schema import Config
from vexp.engine.distributed import (
    Processes,
    join,
    lost_another,
    parallel,
    this_process,
    with_sync_bn,
)
from vexp.engine.experiment import Experiment, pick_device, set_up
from vexp.engine.faults import explain
from vexp.engine.groups import make_optimizer, show_groups
from vexp.engine.loop import train
from vexp.engine.outputs import Outputs
from vexp.engine.resume import resume, resumed_from
from vexp.engine.run_dir import checkpoint_folder, hold, write_settings
from vexp.engine.seed import seed_generators, set_global_switches
from vexp.engine.starting_weights import starting_model
from vexp.engine.state import TrainState
from vexp.engine.summary import conclude, introduce
from vexp.errors import UserError
from vexp.evaluation.best import Best
from vexp.tracking.console import RunLog
from vexp.tracking.meter import Meter
from vexp.tracking.sinks import cut_after


def run(config: Config, out_dir: str | Path, *, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Train, evaluate, save; what ``result.json`` holds: status, metrics (``val/top1_acc`` ...), best.

    Args:
        config: from ``vexp.compose`` or the command line.
        out_dir: the run folder; one that holds a run is continued with ``resume=auto``.
        overrides: the words that made ``config``, to be kept beside it.

    Raises:
        UserError: anything that the user can mend; ``result.json`` then says "failed" and why.
    """
    folder, processes = Path(out_dir).absolute(), this_process()
    if not processes.alone:
        config = replace(config, dist=replace(config.dist, nproc=processes.size))  # as config.yaml is to repeat it
        processes = join(config.dist, pick_device(config.device, processes))
    try:
        result = _in_folder(config, folder, processes, overrides)
    except Exception as error:
        if not processes.alone and not processes.first_to_fail(f"process {processes.rank}: {error}"):
            raise SystemExit(1) from error  # the first that failed tells the user
        raise
    processes.barrier()  # the first has written all
    return result


def _in_folder(config: Config, folder: Path, processes: Processes, overrides: Sequence[str]) -> dict[str, Any]:
    """The run in its folder, which belongs to the process that writes."""
    if not processes.first:
        with RunLog(None) as log:
            return _recorded(config, folder, log, processes, overrides)
    if config.resume is None and (folder / "metrics.jsonl").exists():
        raise UserError(f"{folder}: holds a run already; go on with it (resume=auto) or take another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with hold(folder):
            if config.checkpoint.out_dir is not None:
                make_folder(checkpoint_folder(config, folder), "set checkpoint.out_dir=FOLDER")
            if config.resume is None or not (folder / "config.yaml").exists():
                write_settings(folder, to_plain(config, types=True), overrides)
            with RunLog(folder / "log.txt") as log:
                return _recorded(config, folder, log, processes, overrides)
    except OSError as error:  # the folder itself cannot be written
        told = explain(error, config, folder)
        if told is None:
            raise
        raise told from error


def _recorded(
    config: Config, folder: Path, log: RunLog, processes: Processes, overrides: Sequence[str]
) -> dict[str, Any]:
    """The run with its end in ``result.json``, however it ends.

    One that goes on writes its settings only when its checkpoint has taken them: words that do not fit leave the folder
    as it was, to be resumed with others.
    """
    result: dict[str, Any] = {"status": "failed", "overrides": list(overrides)}
    begin, untouched = time.perf_counter(), config.resume is not None and _has_ended_well(folder)
    try:
        exp, state = _ready(config, folder, log, processes)
        if processes.first and config.resume is not None:
            write_settings(folder, to_plain(config, types=True), overrides)
        untouched = False
        result |= _run(exp, state, folder, log, begin)
    except BaseException as error:
        words = processes.why_lost() if lost_another(error) else None
        told = error if isinstance(error, UserError) else UserError(words) if words else explain(error, config, folder)
        result["error"] = str(told) if told is not None else f"{type(error).__name__}: {error}"
        if told is not error:
            log.note(traceback.format_exc())
        _let_go(error)
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


def _let_go(error: BaseException | None) -> None:
    """Free what the frames of an error hold: the loaders among it, whose workers would keep the process from ending."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def _ready(config: Config, folder: Path, log: RunLog, processes: Processes) -> tuple[Experiment, TrainState]:
    """All that a run needs before its first step, or the next after a checkpoint."""
    set_global_switches(seed=config.seed, deterministic=config.deterministic, cudnn_benchmark=config.cudnn_benchmark)
    config.backend.set_switches()
    log.say(f"run folder {folder}")
    if not processes.alone:
        ids = processes.gather(f"{os.getpid()} on {platform.node()}")
        log.say(f"processes: {', '.join(ids)}")
    if processes.first:
        for place in (folder, folder / "eval", checkpoint_folder(config, folder)):
            for name in remove_leftovers(place):
                log.say(f"removed {place / name}, which a killed run had begun to write")
    exp = set_up(config, processes)
    if exp.device.type == "cuda":
        torch.cuda.set_device(exp.device.index or 0)  # the generator of this GPU is the one that a checkpoint holds
    resumed = processes.of_first(resumed_from(exp, folder, log) if processes.first else None)
    with processes.one_first():
        model = starting_model(config, exp.classes, log.say, fresh=resumed is None)
    model = config.backend.prepare(with_sync_bn(model, config.dist, processes, exp.device), exp.device)
    if config.diff_rank_seed and processes.rank:
        seed_generators(config.seed + processes.rank)
    state = new_state(exp, model)
    if resumed is not None:
        resume(exp, state, resumed, log)
    return exp, state


def _run(exp: Experiment, state: TrainState, folder: Path, log: RunLog, begin: float) -> dict[str, Any]:
    config, processes = exp.config, exp.processes
    introduce(exp, state.model, log)
    if processes.first:
        show_groups(exp, state.optimizer, state.model, folder, log)
        again = state.unmeasured or config.eval.before_training(state.step, exp.plan.steps_per_epoch)
        cut_after(folder / "metrics.jsonl", state.step, evaluated_again=again)
    with Outputs(exp, folder, log, first_step=state.step + 1) as out:
        if processes.first:
            out.mend(state)
        ended = train(exp, state, out)
    if processes.first:
        out.draw()
    return conclude(state, out, ended, time.perf_counter() - begin)


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
        parallel=None if processes.alone else parallel(model, config.dist, exp.device),
    )


def _best(exp: Experiment) -> Best | None:
    options = exp.config.eval
    metric = options.best_metric()
    if metric is None or exp.val_set is None:
        return None
    return Best(metric, options.greater_is_better(), options.patience)
