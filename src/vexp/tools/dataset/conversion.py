"""Every video of a collection made into something else below another folder: what is to do, what is done, its lists."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from vexp.core.errors import UserError
from vexp.core.files import remove_temp_files, write_text
from vexp.data.annotations.annotation import Annotation
from vexp.data.annotations.packed import PackedStrings
from vexp.tools.dataset.video_collection import Collection
from vexp.tools.dataset.worker_pool import Outcome, run_jobs

RECORD = "prepared.json"
"""In the target folder: the settings that everything in it was made with."""


@dataclass(frozen=True, slots=True)
class Job:
    """One video, and the file or folder that is made of it."""

    source: Path
    target: Path

    def __str__(self) -> str:
        return str(self.source)


class Conversion(ABC):
    """What a video is made into: a dataclass of settings. Called with a job, it does it whole or not at all."""

    @abstractmethod
    def target_name(self, name: str) -> str:
        """Of a video's name, that of what is made of it."""

    @abstractmethod
    def is_done(self, job: Job) -> bool:
        """Whether the target is there, whole, and made of the source as it is now."""

    @abstractmethod
    def __call__(self, job: Job) -> int:
        """Number of frames that were written.

        Raises:
            UserError: the video, or a frame of it, cannot be read.
        """

    def total_frames(self, target: Path) -> int | None:
        """What a list must say of a target that is done; None: a video file says it itself."""
        return None


def find_jobs(collection: Collection, target: Path, conversion: Conversion) -> list[Job]:
    """One for every video.

    Raises:
        UserError: two videos would be made into the same; or the target is the folder of the videos.
    """
    if target == collection.root:
        raise UserError(f"{target}: what is made of the videos needs a folder of its own")
    if target.exists() and not target.is_dir():
        raise UserError(f"{target}: is a file; name a folder for what is made of the videos")
    found: dict[Path, Job] = {}
    for name in collection.names:
        job = Job(collection.root / name, target / conversion.target_name(name))
        other = found.setdefault(job.target, job)
        if other is not job:
            raise UserError(f"{other.source} and {job.source}: both would become {job.target}; rename one")
    return list(found.values())


def check_settings(target: Path, conversion: Conversion, *, write: bool) -> None:
    """One folder holds what was made in one way: the first run writes down which.

    Raises:
        UserError: what is in the folder was made with other settings.
    """
    record, settings = target / RECORD, _settings(conversion)
    if not record.exists():
        if write:
            write_text(record, json.dumps(settings, indent=1) + "\n")
        return
    try:
        before = json.loads(record.read_text(encoding="utf-8"))
        changed = [f"{key} {before.get(key)} -> {value}" for key, value in settings.items() if before.get(key) != value]
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(f"{record}: is no record of the settings of this tool ({error!r})") from error
    if changed:
        raise UserError(
            f"{target}: holds what was made with other settings ({', '.join(changed)}); name another folder"
        )


def _settings(conversion: Conversion) -> dict[str, Any]:
    return {"made_by": type(conversion).__name__, **asdict(conversion)}  # type: ignore[call-overload]  # all are dataclasses


def convert(jobs: list[Job], conversion: Conversion, workers: int) -> Iterator[Outcome[Job, int]]:
    """Do jobs; nobody else may be writing to their folders.

    Raises:
        UserError: the disk takes no more.
    """
    for folder in {job.target.parent for job in jobs}:
        remove_temp_files(folder)
    return run_jobs(jobs, conversion, workers)


def converted(rows: Annotation, target: Path, conversion: Conversion) -> tuple[Annotation, list[str]]:
    """The list of what was made, and the names of rows whose video was not."""
    kept, names, totals, left_out = [], [], [], []
    for row in range(len(rows)):
        name = conversion.target_name(rows.name(row))
        if (target / name).exists():
            kept.append(row)
            names.append(name)
            totals.append(conversion.total_frames(target / name))
        else:
            left_out.append(rows.name(row))
    taken = replace(rows.take(kept), names=PackedStrings.pack(names), prefix=str(target))
    if any(total is not None for total in totals):
        taken.frame_ranges = np.array([(0, total or 0) for total in totals], np.int32)
    return taken, left_out
