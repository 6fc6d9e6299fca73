"""Names of checkpoints, and which of them are kept."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from vexp.checkpoint.manifest import Manifest
from vexp.core.errors import UserError

BEST = "best.pth"
LAST = "last.pth"
_PERIODIC = re.compile(r"^(?P<unit>epoch|step)_(?P<count>\d+)\.pth$")


def prunable(names: Iterable[str], keep: int, written: Sequence[str] = ()) -> list[str]:
    """Return the periodic checkpoints beyond the ``keep`` newest, oldest first; none with ``keep`` -1.

    Args:
        names: Names of all files of the folder.
        keep: Number of checkpoints that are kept, counted in epochs and in steps together.
        written: Names in order of writing; files not among them count as older.
    """
    periodic = [(match["unit"], int(match["count"]), name) for name in names if (match := _PERIODIC.match(name))]
    order = {name: position for position, name in enumerate(written)}
    periodic.sort(key=lambda file: (order.get(file[2], -1), *file))
    return [name for *_, name in periodic[:-keep]] if keep > 0 else []


def prune(folder: Path, keep: int) -> None:
    """Delete the periodic checkpoints beyond the ``keep`` newest; best.pth and last.pth are never deleted."""
    if keep < 0:
        return
    for name in prunable((path.name for path in folder.iterdir()), keep, _order_of_writing(folder)):
        (folder / name).unlink()


def _order_of_writing(folder: Path) -> list[str]:
    try:
        return Manifest.read(folder).names()
    except UserError:
        return []
