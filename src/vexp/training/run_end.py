"""The end of a run: its last log lines and result.json."""

from __future__ import annotations

import json
import logging
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from vexp.config.instantiate import to_dict
from vexp.config.schema import Config
from vexp.core.errors import UserError
from vexp.core.files import write_text
from vexp.experiment.result import read_result
from vexp.experiment.run_dir import SETTINGS, write_settings
from vexp.runtime.distributed import World, is_peer_failure
from vexp.tracking.console import RunLog
from vexp.training.failure_messages import describe_failure, plugin_location
from vexp.training.recorder import Recorder
from vexp.training.state import TrainState

logger = logging.getLogger(__name__)


def finish_run(state: TrainState, recorder: Recorder, ended_by: str, seconds: float) -> dict[str, Any]:
    """Log the outcome and the files of a run that ended by a signal or is "done"; return its result."""
    folder = recorder.folder
    result: dict[str, Any] = {
        "status": "done" if ended_by == "done" else "interrupted",
        "step": state.step,
        "metrics": {f"val/{name}": value for name, value in recorder.results.items()},
    }
    if state.proxies:
        result["proxies"] = state.proxies
    if ended_by != "done":
        result["stopped_by"] = ended_by
        logger.info(f"stopped by {ended_by} after step {state.step}; resume with: vexp train --resume {folder}")
    if (best := state.best_record) is not None:
        result["best"] = best
        logger.info("best {metric} {score:.4f} after epoch {epoch} (step {step})".format(**best))
    if state.early_stopped and state.best is not None:
        logger.info(f"stopped early: no better {state.best.metric} in {state.best.waited} evaluations (eval.patience)")
    if hint := recorder.data_wait_hint():
        logger.info(hint)
    result["seconds"] = round(seconds, 1)
    logger.info(f"{result['status']} in {seconds:.0f} s; files in {folder}:")
    for name, content in (
        ("curves.png", "loss, metrics and learning rate"),
        ("eval", ", ".join(sorted(path.name for path in (folder / "eval").glob("*.*")))),
        ("metrics.jsonl", "all metrics"),
        ("checkpoints", ", ".join(sorted(path.name for path in recorder.checkpoints.folder.glob("*.pth")))),
        ("config.yaml", "repeat the run with: vexp train --rerun RUN"),
    ):
        if (folder / name).exists():
            logger.info(f"  {name:20} {content}")
    return result


def check_files(recorder: Recorder, step: int, overrides: Sequence[str]) -> None:
    """Check at the end of a run that no file was deleted from its folder; missing settings are written again.

    Raises:
        UserError: If the folder, metrics.jsonl or log.txt was deleted, renamed or replaced: records are lost.
    """
    folder = recorder.folder
    if missing := [name for name in SETTINGS if not (folder / name).exists()]:
        write_settings(folder, to_dict(recorder.exp.config, types=True), overrides)
        logger.warning(f"{', '.join(missing)}: deleted during the run, and written again")
    intact = {"metrics.jsonl": recorder.metrics.is_intact, "log.txt": recorder.log.is_intact}
    if lost := [name for name, is_intact in intact.items() if not is_intact]:
        raise UserError(
            f"{folder}: {' and '.join(lost)} or the folder was deleted, renamed or replaced during the run, which "
            f"ended after step {step}: its records are not there; {recorder.checkpoints.folder} has its checkpoints "
            "since then"
        )


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
        self._config, self._folder, self._world, self._log = config, folder, world, log
        self._keeps_earlier = config.resume is not None and readable_result(folder).get("status", "failed") != "failed"

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
        self.content["status"] = "failed"
        self.content["error"] = str(explained) if explained is not None else f"{type(error).__name__}: {error}"
        if explained is not error:
            self._log.write_to_file("".join(traceback.format_exception(error)))
        if explained is None and (place := plugin_location(error, self._config.plugins)):
            logger.error(f"raised by code of a plugin, not of vexp: {place}")
        cause: BaseException | None = error
        while cause is not None:  # frees the data loaders in the variables of the frames, whose workers then exit
            traceback.clear_frames(cause.__traceback__)
            cause = cause.__cause__ or cause.__context__
        if explained is not None and explained is not error:
            raise explained from error

    def _explain(self, error: BaseException) -> UserError | None:
        if isinstance(error, UserError):
            return error
        if is_peer_failure(error) and (message := self._world.peer_failure_message()):
            return UserError(message)
        return describe_failure(error, self._config, self._folder)


def readable_result(folder: Path) -> dict[str, Any]:
    """Return the content of result.json; empty if there is no file or it cannot be read."""
    try:
        return read_result(folder) or {}
    except (OSError, UserError):
        return {}
