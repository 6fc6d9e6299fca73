"""Run the jobs of a sweep on Ray: on this machine, or on the nodes of a cluster that share its files.

Each job is a task of Ray with its own process and resources. A job whose process or node dies cannot report it, so the
error is printed here.
"""

from __future__ import annotations

import os
import platform
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, filter_overrides, run_job, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from vexp.config.sweep import RayOptions
from vexp.core import interrupt
from vexp.core.errors import UserError
from vexp.runtime.signals import SignalHandler
from vexp.sweep.run_or_retry_job import LAUNCHER_VARIABLE, SCHEDULED_VARIABLE

_POLL = 0.2  # seconds
_SUBDIR = "hydra.sweep.subdir="


def launch(
    options: RayOptions,
    hydra_context: HydraContext,
    task_function: TaskFunction,
    config: DictConfig,
    job_overrides: Sequence[Sequence[str]],
    first_number: int,
) -> list[JobReturn]:
    """Run jobs and return what each returned, in their order; one whose process died has an error instead.

    After a signal to this process, jobs that wait are dropped and those that run save a checkpoint.
    """
    import ray
    from ray.exceptions import NodeDiedError, RayError, TaskCancelledError

    with _ray(options):
        resources = _resources(options)
        shared = ray.put((hydra_context, task_function, config, Singleton.get_state(), os.getcwd(), _variables()))
        task = ray.remote(_run_job).options(max_retries=0, **resources)
        waiting = [(number, 0) for number in range(len(job_overrides))]
        running: dict[Any, tuple[int, int]] = {}  # reference of a task -> job and how often it was restarted
        returns: dict[int, JobReturn] = {}
        is_stopped = False
        while waiting or running:
            while waiting and len(running) < (options.n_jobs or sys.maxsize):
                number, restarts = waiting.pop(0)
                arguments = list(job_overrides[number]), first_number + number
                running[task.remote(*arguments, shared)] = number, restarts
            for reference in ray.wait(list(running), timeout=_POLL)[0]:
                number, restarts = running.pop(reference)
                try:
                    returns[number] = ray.get(reference)
                except RayError as error:
                    returns[number] = _failed(job_overrides[number], error)
                    if isinstance(error, TaskCancelledError):
                        continue
                    again = isinstance(error, NodeDiedError) and restarts < options.max_restarts and not is_stopped
                    waiting += [(number, restarts + 1)] if again else []
                    print(_describe(job_overrides[number], error, again=again), file=sys.stderr, flush=True)
            if interrupt.stop_requested and not is_stopped:
                is_stopped, waiting = True, []
                for reference in running:
                    ray.cancel(reference)
    cancelled = UserError("not started")
    return [returns.get(number) or _failed(job, cancelled) for number, job in enumerate(job_overrides)]


@contextmanager
def _ray(options: RayOptions) -> Iterator[None]:
    """Connect to Ray, or start it, for the block."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # reports nothing that the user has not agreed to
    import ray

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        ray.init(options.address, **{"logging_level": "WARNING"} | options.init)
        if threading.current_thread() is threading.main_thread():
            for number, handler in handlers.items():  # Ray exits at once on SIGTERM
                signal.signal(number, handler)
        yield
    finally:
        ray.shutdown()


def _resources(options: RayOptions) -> dict[str, Any]:
    """Return the resources of a job, and warn if no node has them."""
    import ray

    gpus = options.num_gpus
    if gpus is None:
        gpus = 1 if ray.cluster_resources().get("GPU") else 0
    needed = {"CPU": options.num_cpus, "GPU": gpus, **options.resources}
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(all(node.get(name, 0) >= amount for name, amount in needed.items()) for node in nodes):
        wanted = ", ".join(f"{name}={amount:g}" for name, amount in needed.items() if amount)
        print(f"vexp: warning: no node of Ray has {wanted}; the jobs wait until one joins", file=sys.stderr, flush=True)
    return {"num_cpus": options.num_cpus, "num_gpus": gpus, "resources": options.resources}


def _variables() -> dict[str, str]:
    """Return the environment variables of vexp, which Ray does not send to other nodes."""
    return {key: value for key, value in os.environ.items() if key.startswith("VEXP_") and key != LAUNCHER_VARIABLE}


def _run_job(overrides: list[str], number: int, shared: Any) -> JobReturn:
    """Compose and run a job in a process of Ray, in the working folder of the sweep."""
    hydra_context, task_function, config, singletons, folder, variables = shared
    try:
        os.chdir(folder)
    except OSError as error:
        rule = f"{platform.node()} has no folder {folder}: the nodes of a sweep must share its files"
        raise UserError(rule) from error
    os.environ.update({**variables, SCHEDULED_VARIABLE: "ray"})
    setup_globals()
    Singleton.set_state(singletons)
    composed = hydra_context.config_loader.load_sweep_config(config, overrides)
    with open_dict(composed):
        composed.hydra.job.id = f"{composed.hydra.job.name}_{number}"
        composed.hydra.job.num = number
    HydraConfig.instance().set_config(composed)
    with _stop_on_cancel():
        return run_job(
            task_function=task_function,
            config=composed,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
            hydra_context=hydra_context,
        )


@contextmanager
def _stop_on_cancel() -> Iterator[None]:
    """Let ``ray.cancel`` stop a job with a checkpoint.

    Ray simulates Ctrl-C in this process only. A run of several processes forwards SIGTERM to them, so that signal
    follows.
    """
    ended = threading.Event()

    def forward() -> None:
        while not ended.wait(_POLL):
            if interrupt.stop_requested:
                os.kill(os.getpid(), signal.SIGTERM)
                return

    thread = threading.Thread(target=forward, daemon=True)
    with SignalHandler():
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def _describe(overrides: Sequence[str], error: Exception, *, again: bool) -> str:
    """Return why a job has ended without a result of its own."""
    cause = getattr(error, "cause", None) or error
    reason = next((line for line in str(cause).splitlines() if line.strip()), type(cause).__name__)
    kind = "" if isinstance(cause, UserError) else f"{type(cause).__name__}: "
    then = "; it is started again, from its last checkpoint" if again else ""
    return f"job {_name(overrides)} failed\nvexp: error: {kind}{reason}{then}"


def _name(overrides: Sequence[str]) -> str:
    """Return the folder name of a job; its overrides under a sweeper that names none."""
    given = (override.removeprefix(_SUBDIR).strip("'") for override in overrides if override.startswith(_SUBDIR))
    return next(given, " ".join(filter_overrides(overrides)))


def _failed(overrides: Sequence[str], error: Exception) -> JobReturn:
    return JobReturn(overrides=filter_overrides(overrides), status=JobStatus.FAILED, _return_value=error)
