"""Weights & Biases: a run of the same id before and after every resume, with or without an account."""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vexp.tracking.backends import Record, values_of
from vexp.tracking.config import Wandb


class WandbSink:
    """Each value as MODE/NAME over the optimizer step."""

    def __init__(self, folder: Path, options: Wandb, *, config: dict[str, Any], say: Callable[[str], None]) -> None:
        """Args:
        folder: of the run; wandb's own files go to ``wandb/`` in it.
        options: where the run is filed.
        config: shown with the run.
        say: tells the user where the numbers go.
        """
        if importlib.util.find_spec("wandb") is None:
            raise ImportError("wandb is not installed: pip install 'vexp[wandb]'")
        import wandb

        mode = options.mode
        if mode == "auto":
            mode = "online" if _has_key() else "offline"
        (folder / "wandb").mkdir(exist_ok=True)  # else wandb takes a temporary folder of the system
        self._run = wandb.init(
            project=options.project, entity=options.entity, group=options.group, tags=options.tags,
            id=run_id(folder), name=f"{folder.parent.name}/{folder.name}", resume="allow",
            dir=str(folder), mode=mode, config=config,  # type: ignore[arg-type]
            settings=wandb.Settings(console="off", silent=True),
        )  # fmt: skip
        say(f"wandb: {mode}, run {self._run.id} of project {options.project}" + (
            f"; send it with: wandb sync {folder}/wandb/offline-run-*" if mode == "offline" else ""
        ))  # fmt: skip

    def write(self, record: Record) -> None:
        self._run.log(values_of(record) | {"epoch": record["epoch"]}, step=record["step"])

    def close(self) -> None:
        self._run.finish()


def run_id(folder: Path) -> str:
    """The id of a run folder, in ``wandb_id``: made once, so that a resumed or moved run stays the same run."""
    path = folder / "wandb_id"
    if not path.exists():
        path.write_text(hashlib.sha256(f"{folder} {os.urandom(8).hex()}".encode()).hexdigest()[:12] + "\n")
    return path.read_text().strip()


def _has_key() -> bool:
    """Whether wandb would find an account without asking."""
    import netrc

    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        hosts = netrc.netrc().hosts
    except (OSError, netrc.NetrcParseError):
        return False
    return any("wandb" in host for host in hosts)
