"""One job of a sweep, in whichever process its launcher runs it."""

from __future__ import annotations

import gc
import json
import math
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from vexp.config.schema import Config
from vexp.core.errors import UserError
from vexp.core.files import write_text
from vexp.runtime.signals import SignalHandler
from vexp.sweep.job_state import CHANGED, DONE, FAILED, INCOMPLETE, RUNNING, Job, Objective
from vexp.sweep.overrides import job_name

#: In the sweep's folder: no further job begins while it is there. It holds the reason.
STOP_FILE = ".stop"
FAIL_FAST = "sweep.fail_fast"
#: The process that launches the jobs: those in its child processes end with it.
LAUNCHER_VARIABLE = "VEXP_SWEEP_PROCESS"

Run = Callable[..., dict[str, Any]]


def run_job(config: Config, words: Sequence[str], folder: Path, run: Run) -> float:
    """Begin the job, or go on with it; its objective. A job that is done already gives the one that it reached.

    Args:
        config: of the job.
        words: its overrides.
        folder: its own; the sweep's folder itself under a sweeper that is not ours and names none.
        run: ``vexp.train.run``.

    Raises:
        UserError: the job fails; it has been printed by then and stands in ``result.json``.
    """
    if config.sweep.name == folder.name:
        folder = folder / job_name(words, [])
    cell = Job(list(words), folder.name, folder, config)
    stop_file = folder.parent / STOP_FILE
    if stop_file.exists():
        with suppress(OSError):
            folder.rmdir()  # empty, and Hydra's: nothing began here
        return math.nan
    _exit_with_parent()
    result: dict[str, Any] = {}
    with SignalHandler() as stop:
        try:
            result = _run(cell, run)
        except Exception as error:
            _report(cell, error)
            if config.sweep.fail_fast:
                stop_file.write_text(FAIL_FAST)
            raise UserError(str(error)) from None  # of a kind that passes between processes
        finally:
            _free_memory()
            signalled = stop.received or result.get("stopped_by")
            if signalled and not _under_a_scheduler():
                stop_file.write_text(signalled)
    if result.get("stopped_by") == "SIGUSR2" and _under_a_scheduler():
        signal.raise_signal(signal.SIGUSR2)  # submitit's handler, which has been waiting for the checkpoint, requeues
    return Objective.of(config).value(result)


def _run(cell: Job, run: Run) -> dict[str, Any]:
    cell.look()
    if cell.state == CHANGED:
        if cell.config.sweep.changed != "rerun":
            raise UserError(changed_text(cell))
        cell.archive()
    if cell.state == DONE:
        return cell.result()
    if cell.state in (INCOMPLETE, FAILED):
        cell.config.resume = "auto"
    return run(cell.config, cell.folder, overrides=cell.words)


def changed_text(cell: Job) -> str:
    """Why a job is neither skipped nor run, and the ways out."""
    return (
        f"{cell.folder.name}: was run with other settings: {'; '.join(cell.differences)}. Take another folder "
        "(sweep.name=NEW), run it from the start (sweep.changed=rerun) or keep what is there (sweep.changed=keep)"
    )


def _report(cell: Job, error: Exception) -> None:
    """At once, and where the table is made from."""
    text = f"vexp: error: {error}" if isinstance(error, UserError) else traceback.format_exc()
    print(f"job {cell.folder.name} failed\n{text}", file=sys.stderr, flush=True)
    if cell.state not in (CHANGED, RUNNING) and "error" not in cell.result():
        text = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        write_text(
            cell.folder / "result.json",
            json.dumps({"status": FAILED, "overrides": cell.words, "error": text}, indent=2) + "\n",
        )


def _under_a_scheduler() -> bool:
    """submitit runs each job in a place of its own: the end of one says nothing about the others."""
    return "SUBMITIT_EXECUTOR" in os.environ


def _free_memory() -> None:
    """The next job of this process finds the GPU as this one did."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _exit_with_parent() -> None:
    """A child process of a launcher that was killed ends, too: what it writes would meet the next invocation's job.

    Between its jobs it leaves it to the launcher to end it: one that dies of a signal takes its neighbours with it.
    """
    launcher = os.environ.get(LAUNCHER_VARIABLE)
    if launcher != str(os.getppid()) or any(thread.name == LAUNCHER_VARIABLE for thread in threading.enumerate()):
        return
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)

    def watch() -> None:
        while str(os.getppid()) == launcher:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, name=LAUNCHER_VARIABLE, daemon=True).start()
