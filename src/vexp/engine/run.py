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
from vexp.engine.groups import make_optimizer, show_groups
from vexp.engine.loop import train
from vexp.engine.outputs import Outputs, checkpoint_folder
from vexp.engine.run_dir import write_atomic, write_settings
from vexp.engine.seed import set_global_switches
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
    resumed = _resumed_from(exp, folder, log)
    model = starting_model(config, exp.classes, log, fresh=resumed is None)
    model = config.backend.prepare(model, exp.device)
    state = new_state(exp, model)
    if resumed is not None:
        _resume(exp, state, resumed, log)
    introduce(exp, model, log)
    show_groups(exp, state.optimizer, model, folder, log)
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
    return TrainState(
        model=model,
        optimizer=make_optimizer(exp, model),
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


def _resumed_from(exp: Experiment, folder: Path, log: RunLog) -> Path | None:
    """The checkpoint that the run goes on from; None for a fresh start, also where resume=auto finds nothing."""
    config = exp.config
    if config.resume is None:
        return None
    if config.resume != "auto":
        return checkpoint.locate(config.resume)
    found = checkpoint.find(checkpoint_folder(exp, folder), on_damage=log.say)
    if found is None:
        log.say("resume=auto: no checkpoint here yet, starting fresh")
    return found


def _resume(exp: Experiment, state: TrainState, found: Path, log: RunLog) -> None:
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
