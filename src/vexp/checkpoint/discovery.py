"""The checkpoints of a folder: which is the newest that is whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vexp.checkpoint.file import check, load
from vexp.checkpoint.manifest import Manifest
from vexp.checkpoint.retention import LAST
from vexp.core.errors import UserError


def find(folder: Path, *, on_damage: Callable[[str], None] = lambda _: None) -> Path | None:
    """The checkpoint of a folder that was written last and is whole; None in a folder without any.

    Args:
        folder: it may be missing.
        on_damage: is told of the manifest and of each file that had to be passed over.

    Raises:
        UserError: there are checkpoints, but none that can be read.
    """
    try:
        manifest = Manifest.read(folder)
    except UserError as error:
        on_damage(f"{error}: the checkpoints are judged by reading them")
        manifest = Manifest(folder)
    damaged = []
    for path in sorted(folder.glob("*.pth"), key=lambda path: _age(path, manifest), reverse=True):
        try:
            if check(path) is None:
                load(path)
        except UserError as error:
            on_damage(f"passed over: {error}")
            damaged.append(path.name)
            continue
        return path
    if damaged:
        raise UserError(
            f"{folder}: none of its checkpoints can be read ({', '.join(damaged)}); restore one, or remove the folder "
            "to start anew"
        )
    return None


def locate(named: str | Path, *, on_damage: Callable[[str], None] = lambda _: None) -> Path:
    """A checkpoint file, or the last of a run folder.

    Raises:
        UserError: the folder holds none that can be read.
    """
    path = Path(named).expanduser().absolute()
    if not path.is_dir():
        return path
    for folder in (path / "checkpoints", path):
        found = find(folder, on_damage=on_damage)
        if found is not None:
            return found
    raise UserError(f"{path}: holds no checkpoint that can be read")


def _age(path: Path, manifest: Manifest) -> tuple[int, bool, float]:
    """Sorts files by the time of their writing: by the manifest, among those that it does not know the last one, then
    by the file system."""
    rows = manifest.of(path.name)
    row = rows[0] if rows else None
    if len(rows) > 1:  # a kill came before the name got its new content, or right after
        try:
            row = check(path)
        except UserError:
            row = None
    position = manifest.rows.index(row) if row is not None else -1
    return position, path.name == LAST, path.stat().st_mtime
