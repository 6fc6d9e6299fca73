"""Checkpoints: when one is written, written whole or not at all, read without trust, and which are kept.

A file holds tensors and plain containers only, so that ``torch.load(weights_only=True)`` reads it anywhere.
"""

from __future__ import annotations

import os
import pickle
import re
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vexp.errors import UserError
from vexp.fields import Checked, option
from vexp.schedule import Every

BEST = "best.pth"
LAST = "last.pth"
_PERIODIC = re.compile(r"^(?P<unit>epoch|step)_(?P<count>\d+)\.pth$")
_BEGINNINGS = (b"PK", b"\x80")  # torch's zip archive; a pickle, its format before 1.6
_FOREIGN_TYPE = re.compile(r"GLOBAL ([\w.]+)")  # how torch's unpickler names what it refuses


def _positive_or_unlimited(value: int) -> str | None:
    return None if value == -1 or value > 0 else "must be > 0, or -1 for no limit"


@dataclass(kw_only=True, slots=True)
class Checkpoint(Checked):
    """The ``checkpoint`` group (mmcv's ``checkpoint_config``). The best one (eval.save_best) is kept beside these."""

    interval: int = option(-1, "epochs (steps) between checkpoints; -1: never")
    by_epoch: bool = option(True, "count epochs; false: optimizer steps")
    save_optimizer: bool = option(True, "keep what resuming needs; false: weights only, which cannot be resumed")
    out_dir: str | None = option(None, "where checkpoints go; null: checkpoints/ of the run folder")
    max_keep_ckpts: int = option(-1, "newest periodic checkpoints kept; -1: all", check=_positive_or_unlimited)
    save_last: bool = option(True, "write one after the last step whatever the interval")

    def __post_init__(self) -> None:
        Checked.__post_init__(self)
        self.every()

    def every(self) -> Every:
        return Every(self.interval, self.by_epoch)

    def name(self, step: int, steps_per_epoch: int) -> str:
        """``epoch_3.pth`` where ``step`` ends an epoch and epochs are counted, else ``step_60.pth``."""
        if self.by_epoch and step % steps_per_epoch == 0:
            return f"epoch_{step // steps_per_epoch}.pth"
        return f"step_{step}.pth"


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint whole or not at all: a temporary file, to the disk, then renamed.

    Raises:
        UserError: the disk is full or the folder cannot be written; what was there before is intact.
    """
    import torch

    with _whole(path) as temporary, temporary.open("wb") as file:
        torch.save(state, file)  # not by name, which torch would write into the archive


def link(source: Path, name: str) -> None:
    """Give a checkpoint a second name in its folder: a hard link, or a copy where the file system has none.

    Raises:
        UserError: as ``save``.
    """
    with _whole(source.with_name(name)) as temporary:
        try:
            temporary.hardlink_to(source)
        except OSError:
            shutil.copyfile(source, temporary)


def load(path: Path) -> dict[str, Any]:
    """A checkpoint's content, on the CPU.

    Raises:
        UserError: no such file, not a checkpoint, damaged, or holding more than tensors and plain containers.
    """
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's guesses at what a foreign file may be
            state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{path}: no such checkpoint") from None
    except OSError as error:
        raise UserError(f"{path}: the checkpoint cannot be read: {error.strerror}") from None
    except Exception as error:  # a damaged pickle fails in any way: IndexError, struct.error, TypeError ...
        raise UserError(f"{path}: {_why_refused(path, error)}") from None
    if not isinstance(state, dict):
        raise UserError(f"{path}: holds a {type(state).__name__}, not a checkpoint")
    return state


def looks_right(path: Path) -> bool:
    """Whether a file begins as checkpoints do. A web page, an archive of another kind, an empty file do not."""
    with path.open("rb") as file:
        return file.read(2).startswith(_BEGINNINGS)


def locate(named: str | Path) -> Path:
    """A checkpoint file, or the last of a run folder.

    Raises:
        UserError: the folder holds none that can be read.
    """
    path = Path(named).expanduser().absolute()
    if not path.is_dir():
        return path
    for folder in (path / "checkpoints", path):
        found = find(folder) if folder.is_dir() else None
        if found is not None:
            return found
    raise UserError(f"{path}: holds no checkpoint that can be read")


def prunable(names: Iterable[str], keep: int) -> list[str]:
    """The periodic checkpoints beyond the ``keep`` newest of their unit; none with ``keep`` -1."""
    if keep < 0:
        return []
    found = [(match["unit"], int(match["count"]), name) for name in names if (match := _PERIODIC.match(name))]
    surplus = []
    for unit in ("epoch", "step"):
        counted = sorted((count, name) for kind, count, name in found if kind == unit)
        surplus += [name for _, name in counted[:-keep]]
    return surplus


def prune(folder: Path, keep: int) -> None:
    """Delete the periodic checkpoints beyond ``keep``; best and last keep their content under their own names."""
    for name in prunable((path.name for path in folder.iterdir()), keep):
        (folder / name).unlink()


def find(folder: Path, *, on_damage: Callable[[str], None] = lambda _: None) -> Path | None:
    """The last checkpoint of a folder, or the youngest other one where that cannot be read.

    ``on_damage`` is told of each that was passed over.
    """
    others = [path for path in folder.glob("*.pth") if path.name != LAST]
    others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for path in (folder / LAST, *others):
        if path.is_file():
            try:
                load(path)
            except UserError as error:
                on_damage(f"passed over: {error}")
                continue
            return path
    return None


def _why_refused(path: Path, error: Exception) -> str:
    """Not in torch's words: they advise to load the file with weights_only=False, which runs whatever it holds."""
    with path.open("rb") as file:
        beginning = file.read(40)
    if not beginning.startswith(_BEGINNINGS):
        return f"is no checkpoint, it begins with {beginning.decode('latin-1')!r}" if beginning else "is an empty file"
    foreign = _FOREIGN_TYPE.search(str(error)) if isinstance(error, pickle.UnpicklingError) else None
    if foreign is not None:
        return f"refused, it holds more than tensors and plain containers: {foreign[1]}"
    return "is no checkpoint that torch.load(weights_only=True) can read, or it is damaged"


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """A temporary file beside ``path`` that takes its place when the block ends well, and is removed when it does not.

    Raises:
        UserError: it cannot be written; what was there before is intact.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)  # what a killed process left may be a link to a checkpoint
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except (OSError, RuntimeError) as error:  # torch reports a short write as a RuntimeError
        raise UserError(f"{path}: the checkpoint cannot be written: {error}; earlier checkpoints are intact") from error
    finally:
        with suppress(OSError):  # it is there after a failure, and where path was a link to the same file already
            temporary.unlink()


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":
        return  # a folder cannot be opened there; the rename itself is journaled
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
