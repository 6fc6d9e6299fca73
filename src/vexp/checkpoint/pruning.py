"""Pruning (``checkpoint.max_keep_ckpts``): which checkpoints are deleted after one has been written.

``save`` and ``complete`` of ``vexp.checkpoint.file`` call ``prune`` at their end; nothing else deletes checkpoints.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from vexp.checkpoint.manifest import Manifest

BEST = "best.pth"
LAST = "last.pth"
_PERIODIC = re.compile(r"^(?P<unit>epoch|step)_(?P<count>\d+)\.pth$")


def prune(folder: Path, max_keep_ckpts: int) -> None:
    """Delete the ``prunable`` checkpoints of a folder."""
    if max_keep_ckpts > 0:
        names = [path.name for path in folder.iterdir()]
        for name in prunable(names, max_keep_ckpts, Manifest.readable(folder).names()):
            (folder / name).unlink()


def prunable(names: Iterable[str], max_keep_ckpts: int, written: Sequence[str] = ()) -> list[str]:
    """Return the periodic checkpoints beyond the ``max_keep_ckpts`` newest, oldest first; none if that is -1.

    Those named by epochs and by steps count together; best.pth and last.pth are never pruned. ``names`` are all files
    of the folder, ``written`` the names in order of writing; files not among these count as older.
    """
    periodic = [(match["unit"], int(match["count"]), name) for name in names if (match := _PERIODIC.match(name))]
    order = {name: position for position, name in enumerate(written)}
    periodic.sort(key=lambda file: (order.get(file[2], -1), *file))
    return [name for *_, name in periodic[:-max_keep_ckpts]] if max_keep_ckpts > 0 else []
