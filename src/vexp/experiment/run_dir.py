"""The run folder: its creation, its lock, and the files that explain and repeat the run."""

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

from vexp.config.json_schema import schema_line
from vexp.config.schema import Config
from vexp.core.errors import UserError, without_secrets
from vexp.core.files import check_links, write_text

SETTINGS = ("config.yaml", "overrides.yaml", "env.json")  # the files of ``write_settings``
#: What a run opens for writing, or creates files in; all other files are replaced.
_WRITTEN = (
    ".lock", "log.txt", "metrics.jsonl", "metrics.csv", "bad_samples.jsonl", "wandb_id", "mlflow_id", "trackio_id",
    "eval", "checkpoints", "tensorboard", "wandb",
)  # fmt: skip
_PACKAGES = ("vexp", "torch", "torchvision", "numpy", "av", "opencv-python-headless", "hydra-core", "omegaconf")


def make_run_dir(parent: Path, name: str | None = None) -> Path:
    """Create a folder below ``parent``, named ``name`` or after the time, with a number appended if that exists.

    ``mkdir`` is atomic, so two runs that start in the same second get different folders. All processes of a torchrun
    get the same one.
    """
    from vexp.runtime.distributed import create_on_main_process  # imports torch

    stem = name or time.strftime("%Y-%m-%d_%H-%M-%S")

    def create() -> Path:
        for folder in (parent / stem, *(parent / f"{stem}-{number}" for number in range(2, 1000))):
            try:
                folder.mkdir(parents=True)
                return folder
            except FileExistsError:
                continue
            except OSError as error:
                raise UserError(
                    f"{folder}: cannot create the run folder: {error.strerror}; set out_root=FOLDER"
                ) from None
        raise UserError(f"{parent / stem}: there are a thousand runs with this name; set run_name or out_root")

    return create_on_main_process(create)


def checkpoint_folder(config: Config, folder: Path) -> Path:
    """Return ``checkpoints/`` in the run folder, or the folder of the run below ``checkpoint.out_dir``."""
    out_dir = config.checkpoint.out_dir
    return folder / "checkpoints" if out_dir is None else Path(out_dir).expanduser().absolute() / folder.name


def write_settings(folder: Path, config: dict[str, Any], overrides: Sequence[str]) -> None:
    """Write config.yaml (resolved), overrides.yaml and env.json (versions, git state, command)."""
    text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
    write_text(folder / "config.yaml", schema_line() + text)
    write_text(folder / "overrides.yaml", yaml.safe_dump(list(overrides), allow_unicode=True))
    environment = {
        "command": [sys.executable, *map(without_secrets, sys.argv)],
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
    """Lock the folder for this process until the block is left or the process ends.

    Raises:
        UserError: If another process holds the lock, as two runs would write the same files, or if a file of the run is
            a link out of its folder.
    """
    check_links(folder, _WRITTEN)
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    # POSIX locks belong to the process: data loading workers, which may outlive a killed run, do not inherit them.
    if (folder / ".lock").is_dir():
        raise UserError(f"{folder / '.lock'}: is a folder, but the file that locks the run has this name; remove it")
    with (folder / ".lock").open("a+") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            message = f"{folder}: is in use by another process ({file.read().strip()}); stop that process first"
            raise UserError(message) from None
        except OSError:
            pass  # the file system does not support locks
        else:
            file.truncate(0)
            file.write(f"process {os.getpid()} on {platform.node()}\n")
            file.flush()
        yield


def is_locked(folder: Path) -> bool:
    """Return whether another process holds the lock of the folder."""
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
    """Return the commit and the uncommitted changes of the working directory; None outside of a repository."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True, timeout=10).stdout

    try:
        return {"commit": git("rev-parse", "HEAD").strip(), "changed": git("status", "--porcelain").splitlines()}
    except (OSError, subprocess.SubprocessError):
        return None
