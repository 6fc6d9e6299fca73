"""The Weights & Biases backend: one W&B run per run folder, across resumes, with or without an account."""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import os
from pathlib import Path
from typing import Any

from vexp.tracking.backends import Record, values_of
from vexp.tracking.config import Wandb

logger = logging.getLogger(__name__)


class WandbBackend:
    """Log each value as MODE/NAME over the optimizer step."""

    def __init__(self, folder: Path, options: Wandb, *, config: dict[str, Any]) -> None:
        """Start or resume the W&B run of a run folder.

        Args:
            folder: Run folder; W&B writes its own files to ``wandb/`` in it.
            options: The ``log.wandb`` group.
            config: Config that W&B displays.

        Raises:
            ImportError: If wandb is not installed.
        """
        if importlib.util.find_spec("wandb") is None:
            raise ImportError("wandb is not installed: pip install 'vexp[wandb]'")
        import wandb

        mode = options.mode
        if mode == "auto":
            mode = "online" if _has_key() else "offline"
        (folder / "wandb").mkdir(exist_ok=True)  # otherwise wandb uses a temporary folder
        self._run = wandb.init(
            project=options.project,
            entity=options.entity,
            group=options.group,
            tags=options.tags,
            id=run_id(folder),
            name=f"{folder.parent.name}/{folder.name}",
            resume="allow",
            dir=str(folder),
            mode=mode,  # type: ignore[arg-type]
            config=config,
            settings=wandb.Settings(console="off", silent=True),
        )
        upload = f"; upload it with: wandb sync {folder}/wandb/offline-run-*" if mode == "offline" else ""
        logger.info(f"wandb: {mode}, run {self._run.id} of project {options.project}{upload}")

    def write(self, record: Record) -> None:
        self._run.log(values_of(record) | {"epoch": record["epoch"]}, step=record["step"])

    def close(self) -> None:
        self._run.finish()


def run_id(folder: Path) -> str:
    """Return the W&B id of a run folder, stored in ``wandb_id`` so that a resumed or moved run keeps it."""
    path = folder / "wandb_id"
    if not path.exists():
        path.write_text(hashlib.sha256(f"{folder} {os.urandom(8).hex()}".encode()).hexdigest()[:12] + "\n")
    return path.read_text().strip()


def _has_key() -> bool:
    """Return whether wandb finds an API key without prompting for one."""
    import netrc

    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        hosts = netrc.netrc().hosts
    except (OSError, netrc.NetrcParseError):
        return False
    return any("wandb" in host for host in hosts)
