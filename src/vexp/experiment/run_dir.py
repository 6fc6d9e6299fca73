"""The run folder: made once, by one process, holding all that is needed to explain and repeat the run."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from vexp.config.schema import Config
from vexp.core.errors import UserError
from vexp.core.files import write_text

_PACKAGES = ("vexp", "torch", "torchvision", "numpy", "av", "opencv-python-headless", "hydra-core", "omegaconf")


def make_run_dir(parent: Path, name: str | None = None) -> Path:
    """A new folder below ``parent``, called ``name`` or by the time; with a number behind it where that is taken.

    ``mkdir`` itself decides who owns a name, so two runs that start in the same second get a folder each. Processes
    that torchrun has started get one together.

    Raises:
        UserError: the folder cannot be made.
    """
    from vexp.runtime.distributed import create_on_main_process

    return create_on_main_process(lambda: _make_run_dir(parent, name))


def _make_run_dir(parent: Path, name: str | None) -> Path:
    wanted = name or time.strftime("%Y-%m-%d_%H-%M-%S")
    for attempt in range(1, 1000):
        folder = parent / (wanted if attempt == 1 else f"{wanted}-{attempt}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise UserError(f"{folder}: the run folder cannot be made: {error.strerror}; set out_root=FOLDER") from None
        return folder
    raise UserError(f"{parent / wanted}: a thousand runs have this name; set run_name or out_root")


def checkpoint_folder(config: Config, folder: Path) -> Path:
    """``checkpoints/`` of the run folder, or below ``checkpoint.out_dir`` under the run folder's name."""
    out_dir = config.checkpoint.out_dir
    return folder / "checkpoints" if out_dir is None else Path(out_dir).expanduser().absolute() / folder.name


def write_settings(folder: Path, config: dict[str, Any], overrides: Sequence[str]) -> None:
    """config.yaml (resolved, enough to run again), overrides.yaml, env.json (versions, git state, command)."""
    write_text(folder / "config.yaml", yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
    write_text(folder / "overrides.yaml", yaml.safe_dump(list(overrides), allow_unicode=True))
    environment = {
        "command": [sys.executable, *sys.argv],
        "cwd": os.getcwd(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "host": platform.node(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "git": _git_state(),
    }
    write_text(folder / "env.json", json.dumps(environment, indent=2) + "\n")


@contextmanager
def lock_run_dir(folder: Path) -> Iterator[None]:
    """The folder belongs to this process until the block is left, or the process ends in whatever way.

    Raises:
        UserError: another process holds it: two runs would write the same files.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    # A lock of the process, not of the handle: worker processes, which may outlive a killed run, do not inherit it.
    with (folder / ".lock").open("a+") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise UserError(
                f"{folder}: another process is writing to it ({file.read().strip()}); end it first"
            ) from None
        except OSError:  # a file system without locks
            yield
            return
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}\n")
        file.flush()
        yield


def is_locked(folder: Path) -> bool:
    """Whether another process holds the folder."""
    if not (folder / ".lock").exists():
        return False
    try:
        with lock_run_dir(folder):
            return False
    except UserError:
        return True


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git_state() -> dict[str, Any] | None:
    """Commit and uncommitted changes of the folder the run was started in; None outside of a repository."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], capture_output=True, text=True, check=True, timeout=10).stdout

    try:
        return {"commit": git("rev-parse", "HEAD").strip(), "changed": git("status", "--porcelain").splitlines()}
    except (OSError, subprocess.SubprocessError):
        return None
