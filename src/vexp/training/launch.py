"""A run of ``dist.nproc`` processes on this machine: started, watched and ended by torch's elastic agent."""

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

from vexp.config.compose import SavedConfig, compose
from vexp.config.instantiate import to_dict
from vexp.config.schema import Config
from vexp.core.errors import UserError
from vexp.runtime.distributed import destroy_process_group, world_from_environment
from vexp.training.run import run as run_in_this_process


def run(config: Config, out_dir: str | Path, *, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """``vexp.training.run.run``, in ``dist.nproc`` processes; the result is that of the first.

    Where torchrun has started this process it is one of the run's, and no others are started.

    Raises:
        UserError: of the process that failed first, or saying what killed it. All have ended then.
    """
    here = world_from_environment()
    if not here.alone and config.dist.nproc not in (1, here.size):
        raise UserError(
            f"dist.nproc={config.dist.nproc}: torchrun has started {here.size} processes; leave nproc out, or torchrun"
        )
    if config.dist.nproc == 1 or not here.alone:
        return run_in_this_process(config, out_dir, overrides=overrides)
    return _launched(config, Path(out_dir).absolute(), list(overrides))


def _launched(config: Config, folder: Path, overrides: list[str]) -> dict[str, Any]:
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    earlier = _result(folder)
    ended: BaseException
    why: Exception
    with tempfile.TemporaryDirectory(prefix="vexp-") as logs, _surroundings(config.dist.nproc):
        settings = {
            "min_nodes": 1, "max_nodes": 1, "nproc_per_node": config.dist.nproc, "max_restarts": 0,
            "rdzv_backend": "c10d", "rdzv_endpoint": "localhost:0", "run_id": folder.name,
            "logs_specs": DefaultLogsSpecs(log_dir=logs),
            # Ctrl-C reaches the processes from the terminal; one more from the agent would mean "at once"
            "signals_to_handle": "SIGTERM,SIGHUP,SIGUSR1,SIGUSR2", "shutdown_timeout": round(config.dist.grace),
        }  # fmt: skip
        known = {field.name for field in fields(LaunchConfig)}  # the last two are newer than torch 2.6
        launch = elastic_launch(LaunchConfig(**{k: v for k, v in settings.items() if k in known}), _rank)  # type: ignore[arg-type]
        try:
            return dict(launch(to_dict(config, types=True), str(folder), overrides)[0])
        except ChildFailedError as error:
            ended, why = error, _failure(error, Path(logs), folder)
        except (SignalException, KeyboardInterrupt) as error:
            ended, why = error, UserError(_too_late(error, config, folder))
        result = _result(folder)
        if result is not None and result != earlier and result["status"] == "interrupted":
            return result
        raise why from ended


def _rank(plain: dict[str, Any], folder: str, overrides: list[str]) -> dict[str, Any]:
    """What each process does. Its config is composed anew: classes made of plugins cannot be sent."""
    config = compose(_plugin_words(plain), saved=SavedConfig(plain, Path(folder) / "config.yaml"))
    config.sweep.name = plain["sweep"]["name"]
    result = run_in_this_process(config, folder, overrides=overrides)
    destroy_process_group()
    if result["status"] == "interrupted":
        raise SystemExit(1)  # the agent, told to end, takes no return value any more
    return result


def _plugin_words(plain: dict[str, Any]) -> list[str]:
    return [f"plugins=[{','.join(plain['plugins'])}]"] if plain["plugins"] else []


@contextmanager
def _surroundings(nproc: int) -> Iterator[None]:
    """For the processes: the cores divided among them, the loopback network. For the user: not the agent's own log."""
    disabled, before = logging.root.manager.disable, dict(os.environ)
    logging.disable(logging.CRITICAL)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, torch.get_num_threads() // nproc)))
    if Path("/sys/class/net/lo").exists():
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # a host name that does not resolve is no obstacle
    try:
        yield
    finally:
        logging.disable(disabled)
        os.environ.clear()
        os.environ.update(before)


def _failure(error: Any, logs: Path, folder: Path) -> Exception:
    """The error of the run: of a process that a signal has killed, else the words of the one that failed first."""
    for rank, failed in error.failures.items():
        if failed.exitcode < 0:
            name = signal.Signals(-failed.exitcode).name
            memory = ": as a rule the memory of the machine was used up (dmesg tells)" if name == "SIGKILL" else ""
            return UserError(
                f"process {rank} of the run (pid {failed.pid}) was ended by {name}{memory}; the others have been "
                f"ended. Go on from the last checkpoint with: python -m vexp.train --resume {folder}"
            )
    for path in sorted(logs.rglob("error.json")):
        said = json.loads(path.read_text(encoding="utf-8"))["message"]
        kind, _, text = str(said["message"]).partition(": ")
        if kind == "UserError":
            return UserError(text)
        return RuntimeError(f"process {path.parent.name} of the run failed\n{said['extraInfo']['py_callstack']}")
    return RuntimeError(f"the processes of the run have ended without a word: {error}")


def _result(folder: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found


def _too_late(error: BaseException, config: Config, folder: Path) -> str:
    return (
        f"stopped ({error or 'Ctrl-C'}) before its processes had written a checkpoint of that step: they have "
        f"dist.grace={config.dist.grace:g} seconds for it. Go on from the last one with: "
        f"python -m vexp.train --resume {folder}"
    )
