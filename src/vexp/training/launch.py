"""A run of ``dist.nproc`` processes on this machine, started and supervised by torch's elastic agent."""

from __future__ import annotations

import json
import logging
import os
import signal
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from vexp.config.compose import compose
from vexp.config.instantiate import to_dict
from vexp.config.saved import SavedConfig
from vexp.config.schema import Config
from vexp.core.errors import ConfigError, UserError
from vexp.runtime.distributed import destroy_process_group, world_from_environment
from vexp.training.run import run as run_in_this_process
from vexp.training.run_end import readable_result

_USER_ERROR = "user_error_{rank}.txt"  # message of a process that failed with a UserError


def run(config: Config, out_dir: str | Path, *, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Run ``vexp.training.run.run`` in ``dist.nproc`` processes; return the result of the main process.

    Under torchrun this process is one of the run's, and no others are started.

    Raises:
        UserError: If a process fails with one, or is killed. All processes have ended then.
        RuntimeError: If a process fails with another exception, with its traceback.
    """
    world = world_from_environment()
    if not world.is_single_process and config.dist.nproc not in (1, world.world_size):
        rule = f"torchrun has started {world.world_size} processes; omit nproc, or do not use torchrun"
        raise ConfigError(rule, key="dist.nproc", value=config.dist.nproc)
    if config.dist.nproc == 1 or not world.is_single_process:
        return run_in_this_process(config, out_dir, overrides=overrides)
    config.dist.check_machine()
    return _launch(config, Path(out_dir).absolute(), list(overrides))


def _launch(config: Config, folder: Path, overrides: list[str]) -> dict[str, Any]:
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import elastic_launch

    earlier_result = readable_result(folder)
    with tempfile.TemporaryDirectory(prefix="vexp-") as logs, _launch_environment(config.dist.nproc):
        launch = elastic_launch(_launch_config(config, folder, logs), _run_process)
        try:
            return dict(launch(to_dict(config, types=True), str(folder), overrides, logs)[0])
        except (ChildFailedError, SignalException, KeyboardInterrupt) as error:
            result = readable_result(folder)
            if result != earlier_result and result["status"] == "interrupted":
                return result
            if isinstance(error, ChildFailedError):
                raise _failure(error, Path(logs), folder) from error
            raise UserError(
                f"stopped ({error or 'Ctrl-C'}) before a checkpoint of the last step was written: the processes have "
                f"dist.grace={config.dist.grace:g} seconds for it. Resume from the checkpoint before with: "
                f"vexp train --resume {folder}"
            ) from error


def _launch_config(config: Config, folder: Path, logs: str) -> Any:
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
    from torch.distributed.launcher.api import LaunchConfig

    one_machine = {"min_nodes": 1, "max_nodes": 1, "rdzv_backend": "c10d", "rdzv_endpoint": "localhost:0"}
    settings = one_machine | {
        "nproc_per_node": config.dist.nproc,
        "max_restarts": 0,
        "run_id": folder.name,
        "logs_specs": DefaultLogsSpecs(log_dir=logs),
        # Without SIGINT: a terminal sends Ctrl-C to every process, and a second one from the agent means "at once".
        "signals_to_handle": "SIGTERM,SIGHUP,SIGUSR1,SIGUSR2",
        "shutdown_timeout": round(config.dist.grace),
    }
    supported = {field.name for field in fields(LaunchConfig)}  # torch 2.6 does not have the last two
    return LaunchConfig(**{name: value for name, value in settings.items() if name in supported})  # type: ignore[arg-type]


def _run_process(config_dict: dict[str, Any], folder: str, overrides: list[str], logs: str) -> dict[str, Any]:
    """Run one process. The config is composed again: classes generated for plugins cannot be pickled."""
    try:
        plugins = [f"plugins=[{','.join(config_dict['plugins'])}]"] if config_dict["plugins"] else []
        config = compose(plugins, saved=SavedConfig(config_dict, Path(folder) / "config.yaml"))
        config.sweep.name = config_dict["sweep"]["name"]
        result = run_in_this_process(config, folder, overrides=overrides)
    except UserError as error:
        path = Path(logs) / _USER_ERROR.format(rank=world_from_environment().rank)
        path.write_text(str(error), encoding="utf-8", errors="surrogateescape")
        raise SystemExit(1) from error
    destroy_process_group()
    if result["status"] == "interrupted":
        raise SystemExit(1)  # an agent that is shutting down accepts no return value
    return result


@contextmanager
def _launch_environment(nproc: int) -> Iterator[None]:
    """Divide the CPU cores among the processes, use the loopback network, and silence the agent's own log."""
    disabled, environment = logging.root.manager.disable, dict(os.environ)
    logging.disable(logging.CRITICAL)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, torch.get_num_threads() // nproc)))
    if Path("/sys/class/net/lo").exists():
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # works even if the host name does not resolve
    try:
        yield
    finally:
        logging.disable(disabled)
        os.environ.clear()
        os.environ.update(environment)


def _failure(error: Any, logs: Path, folder: Path) -> Exception:
    """Return the exception of a process killed by a signal, else of the process that failed first."""
    for rank, failure in error.failures.items():
        if failure.exitcode < 0:
            name = signal.Signals(-failure.exitcode).name
            reason = ", most likely by the out-of-memory killer (check dmesg)" if name == "SIGKILL" else ""
            return UserError(
                f"process {rank} of the run (pid {failure.pid}) was terminated by {name}{reason}; the other processes "
                f"were stopped. Resume from the last checkpoint with: vexp train --resume {folder}"
            )
    for path in sorted(logs.glob(_USER_ERROR.format(rank="*"))):
        return UserError(path.read_text(encoding="utf-8", errors="surrogateescape"))
    for path in sorted(logs.rglob("error.json")):
        message = json.loads(path.read_text(encoding="utf-8"))["message"]
        return RuntimeError(f"process {path.parent.name} of the run failed\n{message['extraInfo']['py_callstack']}")
    return RuntimeError(f"the processes of the run ended without a message: {error}")
