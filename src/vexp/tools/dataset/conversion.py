"""Convert every video of a collection into another folder: the jobs, their state, and the lists of the result."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from vexp.core.errors import UserError
from vexp.core.files import remove_temp_files, write_text
from vexp.core.worker_pool import Outcome, run_jobs
from vexp.data.annotations.annotation import Annotation
from vexp.data.annotations.packed import PackedStrings
from vexp.tools.dataset.video_collection import Collection

#: File in the target folder with the settings of its conversion.
RECORD = "prepared.json"


@dataclass(frozen=True, slots=True)
class Job:
    """A video, and the file or folder that it is converted to."""

    source: Path
    target: Path

    def __str__(self) -> str:
        return str(self.source)


class Conversion(ABC):
    """A kind of conversion: a dataclass of its settings. Calling it with a job converts one video atomically."""

    @abstractmethod
    def target_name(self, name: str) -> str:
        """Return the name of the target of a video, given the video's name."""

    @abstractmethod
    def is_done(self, job: Job) -> bool:
        """Return whether the target exists, is complete, and was made from the current source."""

    @abstractmethod
    def __call__(self, job: Job) -> int:
        """Convert a video and return the number of frames.

        Raises:
            UserError: If the video cannot be read.
        """

    def total_frames(self, target: Path) -> int | None:
        """Return the number of frames for the list; None if the target is a video file, which contains it."""
        return None


def find_jobs(collection: Collection, target: Path, conversion: Conversion) -> list[Job]:
    """Return a job for every video.

    Raises:
        UserError: If two videos have the same target, or the target folder is that of the videos.
    """
    root = Path(collection.root)
    if target == root:
        raise UserError(f"{target}: the converted videos need a folder of their own")
    if target.exists() and not target.is_dir():
        raise UserError(f"{target}: is a file, not a folder for the converted videos")
    jobs: dict[Path, Job] = {}
    for name in collection.names:
        job = Job(root / name, target / conversion.target_name(name))
        other = jobs.setdefault(job.target, job)
        if other is not job:
            raise UserError(f"{other.source} and {job.source}: both would be converted to {job.target}; rename one")
    return list(jobs.values())


def check_settings(target: Path, conversion: Conversion, *, write: bool) -> None:
    """Check that the target folder was made with the same settings, and record them in a new folder.

    Raises:
        UserError: If the settings differ.
    """
    record = target / RECORD
    settings = {"made_by": type(conversion).__name__, **asdict(conversion)}  # type: ignore[call-overload]  # every subclass is a dataclass
    if not record.exists():
        if write:
            write_text(record, json.dumps(settings, indent=1) + "\n")
        return
    try:
        before = json.loads(record.read_text(encoding="utf-8"))
        changed = [f"{key} {before.get(key)} -> {value}" for key, value in settings.items() if before.get(key) != value]
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(f"{record}: is not a settings file of vexp dataset ({error!r})") from error
    if changed:
        raise UserError(f"{target}: was made with other settings ({', '.join(changed)}); use another folder")


def convert(jobs: list[Job], conversion: Conversion, workers: int) -> Iterator[Outcome[Job, int]]:
    """Run jobs. No other process may write to their folders.

    Raises:
        UserError: If the disk is full.
    """
    for folder in {job.target.parent for job in jobs}:
        remove_temp_files(folder)
    return run_jobs(jobs, conversion, workers)


def converted(rows: Annotation, target: Path, conversion: Conversion) -> tuple[Annotation, list[str]]:
    """Return the list of the converted videos, and the names of the rows whose video is missing."""
    targets = [conversion.target_name(name) for name in rows.names]
    names = {row: name for row, name in enumerate(targets) if (target / name).exists()}
    totals = [conversion.total_frames(target / name) for name in names.values()]
    missing = [name for row, name in enumerate(rows.names) if row not in names]
    taken = replace(rows.take(list(names)), names=PackedStrings.pack(names.values()), prefix=str(target))
    if any(total is not None for total in totals):
        taken.frame_ranges = np.array([(0, total or 0) for total in totals], np.int32)
    return taken, missing
