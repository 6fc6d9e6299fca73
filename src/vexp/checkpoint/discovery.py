"""Find the newest intact checkpoint of a folder."""

from __future__ import annotations

import logging
from pathlib import Path

from vexp.checkpoint.file import check, check_training_state, load
from vexp.checkpoint.manifest import Manifest
from vexp.checkpoint.pruning import LAST
from vexp.core.errors import UserError

logger = logging.getLogger(__name__)


def find(folder: Path) -> Path | None:
    """Return the newest intact checkpoint of a folder; None if it has none or does not exist.

    Damaged files, and a damaged manifest, are logged as warnings and skipped.

    Raises:
        UserError: If there are checkpoints, but none can be read.
    """
    try:
        manifest = Manifest.read(folder)
    except UserError as error:
        logger.warning("%s: checkpoints are checked by reading them", error)
        manifest = Manifest(folder)
    damaged = []
    for path in sorted(folder.glob("*.pth"), key=lambda path: _age(path, manifest), reverse=True):
        try:
            if check(path) is None:  # not listed in the manifest
                check_training_state(load(path), path)
        except UserError as error:
            logger.warning("skipped: %s", error)
            damaged.append(path.name)
            continue
        return path
    if damaged:
        raise UserError(
            f"{folder}: none of its checkpoints can be read ({', '.join(damaged)}); restore one, or remove the folder "
            "to start from scratch"
        )
    return None


def locate(name: str | Path) -> Path:
    """Return the path of a checkpoint file, or the newest intact checkpoint of a run folder."""
    path = Path(name).expanduser().absolute()
    if not path.is_dir():
        return path
    if (newest := find(path / "checkpoints") or find(path)) is not None:
        return newest
    raise UserError(f"{path}: has no checkpoint that can be read")


def _age(path: Path, manifest: Manifest) -> tuple[int, bool, float]:
    """Sort by time of writing: the position in the manifest, then by name (last.pth is newer) and modification time."""
    entries = manifest.entries_of(path.name)
    entry = entries[0] if entries else None
    if len(entries) > 1:  # the process was killed just before or after the name got its new content
        try:
            entry = check(path)
        except UserError:
            entry = None
    position = manifest.entries.index(entry) if entry is not None else -1
    modified = path.lstat().st_mtime if path.is_symlink() else path.stat().st_mtime  # a link may point to itself
    return position, path.name == LAST, modified
