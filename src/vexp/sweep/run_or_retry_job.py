"""Run, resume or retry one job of a sweep, in the process that its launcher chose.

A job is tried once per invocation of the sweep; the next invocation retries jobs that failed (``Job.is_pending``).
The options of a sweep are in ``vexp.config.sweep``.
"""

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
from vexp.sweep.job_overrides import job_name
from vexp.sweep.job_state import CHANGED, DONE, FAILED, INCOMPLETE, RUNNING, Job, Objective

#: File in the sweep's folder that keeps further jobs from starting; it contains the reason.
STOP_FILE = ".stop"
FAIL_FAST = "sweep.fail_fast"
#: Process id of the launching process; jobs in its child processes end with it.
LAUNCHER_VARIABLE = "VEXP_SWEEP_PROCESS"
#: Set for jobs whose scheduler may stop one alone; Ray, as Slurm does.
SCHEDULED_VARIABLE = "VEXP_SWEEP_SCHEDULED"

Run = Callable[..., dict[str, Any]]


def run_or_retry_job(config: Config, overrides: Sequence[str], folder: Path, run: Run) -> float:
    """Start a job, resume it or retry a failed one, from its last checkpoint; return its objective.

    A job that is done is not run; the objective that it reached is returned. ``folder`` is that of the job, or the
    sweep's folder under a sweeper that is not vexp's and names none; ``run`` is ``vexp.train.run``.

    Raises:
        UserError: If the job fails; the error has been printed and written to ``result.json`` by then.
    """
    if config.sweep.name == folder.name:
        folder = folder / job_name(overrides, [])
    job = Job(list(overrides), folder.name, folder, config)
    stop_file = folder.parent / STOP_FILE
    if stop_file.exists():
        with suppress(OSError):
            folder.rmdir()  # Hydra made it; it is empty, because no job started here
        return math.nan
    _exit_with_parent()
    is_of_slurm = "SUBMITIT_EXECUTOR" in os.environ
    is_scheduled = is_of_slurm or SCHEDULED_VARIABLE in os.environ  # a signal to one job does not concern the others
    result: dict[str, Any] = {}
    with SignalHandler() as stop:
        try:
            result = _run(job, run)
        except Exception as error:
            _report(job, error)
            if config.sweep.fail_fast:
                stop_file.write_text(FAIL_FAST)
            raise UserError(str(error)) from None  # a UserError can be pickled, for the launcher's process
        finally:
            gc.collect()
            if (torch := sys.modules.get("torch")) is not None and torch.cuda.is_initialized():
                torch.cuda.empty_cache()  # for the next job of this process
            signalled = stop.received or result.get("stopped_by")
            if signalled and not is_scheduled:
                stop_file.write_text(signalled)
    if result.get("stopped_by") == "SIGUSR2" and is_of_slurm:
        signal.raise_signal(signal.SIGUSR2)  # submitit's handler requeues the job, now that the checkpoint is written
    return Objective.of(config).value(result)


def _run(job: Job, run: Run) -> dict[str, Any]:
    """Run a new job, resume an incomplete one or retry a failed one; return its result."""
    job.refresh()
    if job.state == CHANGED:
        if job.config.sweep.changed != "rerun":
            raise UserError(changed_text(job))
        job.archive()
    if job.state == DONE:
        return job.result()
    if job.state in (INCOMPLETE, FAILED):
        job.config.resume = "auto"
    return run(job.config, job.folder, overrides=job.overrides)


def changed_text(job: Job) -> str:
    """Return why a job is neither skipped nor run, and how to proceed."""
    return (
        f"{job.folder.name}: was run with other settings: {'; '.join(job.differences)}. Choose another folder "
        "(sweep.name=NEW), run it from the beginning (sweep.changed=rerun) or keep its results (sweep.changed=keep)"
    )


def _report(job: Job, error: Exception) -> None:
    """Print the failure now and store it for the summary table."""
    is_user_error = isinstance(error, UserError)
    text = f"vexp: error: {error}" if is_user_error else traceback.format_exc()
    print(f"job {job.folder.name} failed\n{text}", file=sys.stderr, flush=True)
    if job.state not in (CHANGED, RUNNING) and "error" not in job.result():
        text = str(error) if is_user_error else f"{type(error).__name__}: {error}"
        content = {"status": FAILED, "overrides": job.overrides, "error": text}
        write_text(job.folder / "result.json", json.dumps(content, indent=2) + "\n")


def _exit_with_parent() -> None:
    """End this child process when its launcher is killed: its files would collide with those of the next invocation.

    Between jobs the process ignores signals and leaves its end to the launcher, because joblib ends all workers if one
    of them dies of a signal.
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
