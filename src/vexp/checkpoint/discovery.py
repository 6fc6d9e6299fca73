"""Find the newest intact checkpoint of a folder."""

from __future__ import annotations

import logging
from pathlib import Path

from vexp.checkpoint.file import check, check_training_state, load, verified_entry
from vexp.checkpoint.manifest import NAME, Manifest, ManifestEntry
from vexp.checkpoint.pruning import BEST, LAST
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


def repair_manifest(folder: Path) -> None:
    """Replace a manifest that describes none of the files of its folder, such as that of another run.

    The new one lists the files that are intact by their own checksums. If some of the files are as the manifest lists
    them, it is kept, and a warning names best.pth if that is damaged: training only reads the newest checkpoint.
    """
    manifest = Manifest.readable(folder)
    listed = [name for name in reversed(manifest.names()) if (folder / name).is_file()]
    if any(_is_as_listed(folder / name) for name in listed):  # stops at the newest, unless that is damaged
        if BEST in listed:
            try:
                check(folder / BEST)
            except UserError as error:
                logger.warning("%s; it is only written again if a later evaluation is better", error)
        return
    entries = _verified_entries(folder) if listed else []
    if any(entry.name in listed for entry in entries):
        Manifest(folder).announce(entries)
        logger.warning(
            "%s: does not describe the checkpoints of this folder (another run's?); written again from those that are "
            "intact: %s",
            folder / NAME,
            ", ".join(entry.name for entry in entries),
        )


def _is_as_listed(path: Path) -> bool:
    try:
        return check(path) is not None
    except UserError:
        return False


def _verified_entries(folder: Path) -> list[ManifestEntry]:
    """Return the entries of the intact checkpoints of a folder, oldest first."""
    entries = []
    for path in folder.glob("*.pth"):
        try:
            entries.append(verified_entry(path))
        except UserError:  # ``find`` reports it
            continue
    return sorted(entries, key=lambda entry: (entry.step, entry.name == LAST, entry.name))


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
