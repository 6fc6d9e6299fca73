"""One run, from a ``Config`` to a folder of results."""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from vexp import checkpoint
from vexp.config.load import to_plain
from vexp.config.schema import Config
from vexp.engine.experiment import Experiment, set_up
from vexp.engine.loop import train
from vexp.engine.outputs import Outputs, checkpoint_folder
from vexp.engine.run_dir import write_atomic, write_settings
from vexp.engine.seed import set_global_switches
from vexp.engine.state import TrainState, load_weights
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
    folder = Path(out_dir).absolute()
    if config.resume is None and (folder / "metrics.jsonl").exists():
        raise UserError(f"{folder}: holds a run already; go on with it (resume=auto) or take another folder")
    folder.mkdir(parents=True, exist_ok=True)
    write_settings(folder, to_plain(config, targets=True), overrides)
    result: dict[str, Any] = {"status": "failed", "overrides": list(overrides)}
    with RunLog(folder / "log.txt") as log:
        try:
            result |= _run(config, folder, log)
        except UserError as error:
            result["error"] = str(error)
            raise
        except BaseException as error:
            result["error"] = f"{type(error).__name__}: {error}"
            log.note(traceback.format_exc())
            raise
        finally:
            write_atomic(folder / "result.json", json.dumps(result, indent=2) + "\n")
    return result


def _run(config: Config, folder: Path, log: RunLog) -> dict[str, Any]:
    begin = time.perf_counter()
    set_global_switches(seed=config.seed, deterministic=config.deterministic, cudnn_benchmark=config.cudnn_benchmark)
    config.backend.set_switches()
    log.say(f"run folder {folder}")
    exp = set_up(config)
    model = config.backend.prepare(config.model.build(len(exp.classes)), exp.device)
    state = new_state(exp, model)
    _start_from(exp, state, folder, log)
    introduce(exp, model, log)
    again = config.eval.before_training(state.step, exp.plan.steps_per_epoch)
    cut_after(folder / "metrics.jsonl", state.step, evaluated_again=again)
    out = Outputs(exp, folder, log, first_step=state.step + 1)
    try:
        ended = train(exp, state, out)
    finally:
        out.close()
    out.draw()
    return conclude(exp, state, out, ended, time.perf_counter() - begin)


def new_state(exp: Experiment, model: nn.Module) -> TrainState:
    """The state at step 0."""
    config = exp.config
    optimizer = config.optimizer.build([p for p in model.parameters() if p.requires_grad])
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]
    return TrainState(
        model=model,
        optimizer=optimizer,
        scaler=config.amp.scaler(exp.device),
        ema=config.ema.build(model),
        meter=Meter(config.log.interval, reset=config.log.reset_flag),
        best=_best(exp),
    )


def _best(exp: Experiment) -> Best | None:
    options = exp.config.eval
    metric = options.best_metric()
    if metric is None or exp.val_set is None:
        return None
    return Best(metric, options.greater_is_better(), options.patience)


def _start_from(exp: Experiment, state: TrainState, folder: Path, log: RunLog) -> None:
    """``init_from`` and ``resume``; a fresh start where neither is set, or resume=auto finds nothing."""
    config = exp.config
    if config.init_from is not None:
        path = checkpoint_path(config.init_from)
        load_weights(state.model, checkpoint.load(path), str(path))
        if state.ema is not None:
            state.ema = config.ema.build(state.model)
        log.say(f"weights from {path}")
    if config.resume is None:
        return
    if config.resume == "auto":
        found = checkpoint.find(checkpoint_folder(exp, folder), on_damage=log.say)
    else:
        found = checkpoint_path(config.resume)
    if found is None:
        log.say("resume=auto: no checkpoint here yet, starting fresh")
        return
    changes = state.load_state_dict(checkpoint.load(found), str(found))
    log.say(f"resumed from {found} after step {state.step} (epoch {exp.epoch(state.step)})")
    for change in changes:
        log.say(f"changed since: optimizer.{change}")
    if state.step >= exp.total_steps:
        raise UserError(
            f"{found}: was saved after step {state.step}, the run ends at {exp.total_steps}: nothing is left; "
            "raise epochs or max_steps"
        )
    if state.stalled and state.best is not None:
        raise UserError(
            f"{found}: its run ended early, {state.best.metric} had not improved in {state.best.waited} evaluations; "
            "raise eval.patience to go on"
        )


def checkpoint_path(named: str) -> Path:
    """A checkpoint file, or the newest of a run folder.

    Raises:
        UserError: there is none.
    """
    path = Path(named).expanduser().absolute()
    if not path.is_dir():
        return path
    for folder in (path / "checkpoints", path):
        found = checkpoint.find(folder) if folder.is_dir() else None
        if found is not None:
            return found
    raise UserError(f"{path}: holds no checkpoint that can be read")
