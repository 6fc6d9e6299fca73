"""What a conversion will cost and gain, from a sample of the videos."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vexp.core.errors import UserError
from vexp.tools.dataset.conversion import Conversion, Job
from vexp.tools.dataset.worker_pool import run_jobs


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bytes, and seconds of one process, of all jobs; of videos made into videos, ``reading_times`` of the sample."""

    bytes_before: int
    bytes_after: float
    seconds: float
    reading: tuple[float, float] | None


def estimate(jobs: list[Job], count: int, conversion: Conversion, folder: Path) -> Estimate:
    """Measure on ``count`` videos, evenly spread over the list; what is made of them in ``folder`` is the caller's to
    remove.

    Raises:
        UserError: none of them can be converted.
    """
    sizes = {job: job.source.stat().st_size for job in jobs if job.source.is_file()}
    present = list(sizes)
    places = np.linspace(0, max(0, len(present) - 1), min(count, len(present)))
    chosen = [present[i] for i in np.unique(places.astype(int))]
    samples = [replace(job, target=folder / conversion.target_name(f"{i}.video")) for i, job in enumerate(chosen)]
    outcomes = list(run_jobs(samples, conversion, 0))
    whole = [(job, outcome) for job, outcome in zip(chosen, outcomes, strict=True) if not outcome.error]
    if not whole:
        reason = outcomes[0].error if outcomes else "none of the files is there"
        raise UserError(f"none of {len(chosen)} sampled videos can be converted; the first: {reason}")
    share = sum(sizes.values()) / sum(sizes[job] for job, _ in whole)
    targets = [outcome.job.target for _, outcome in whole]
    reading = None
    if all(target.is_file() for target in targets):
        reading = reading_times([(job.source, outcome.job.target) for job, outcome in whole], folder)
    return Estimate(
        bytes_before=sum(sizes.values()),
        bytes_after=share * sum(map(size_of, targets)),
        seconds=share * sum(outcome.seconds for _, outcome in whole),
        reading=reading,
    )


def size_of(path: Path) -> int:
    """Bytes of a file, or of the files of a folder."""
    return sum(file.stat().st_size for file in path.iterdir()) if path.is_dir() else path.stat().st_size


def reading_times(pairs: list[tuple[Path, Path]], folder: Path) -> tuple[float, float]:
    """Milliseconds of reading a clip, the means of the originals and of the proxies. ``folder``: for links."""
    before, after = np.mean([[milliseconds_a_clip(path, folder) for path in pair] for pair in pairs], axis=0)
    return float(before), float(after)


def milliseconds_a_clip(path: Path, folder: Path, draws: int = 3) -> float:
    """CPU time of opening a video for the first time and reading 16 frames, 4 apart, at random places; the median."""
    from vexp.data.decoding.pyav import VideoReader
    from vexp.data.transforms.frame_sampling import SampleFrames

    sampler, rng, found = SampleFrames(clip_len=16, frame_interval=4), np.random.default_rng(0), []
    for draw in range(draws):
        name = folder / f"draw_{draw}_{path.name}"  # a reader remembers files by name
        name.symlink_to(path)
        began = time.process_time()
        with VideoReader(name) as reader:
            reader.frames(sampler.indices(reader.num_frames, rng).reshape(-1))
        found.append(time.process_time() - began)
        name.unlink()
    return float(np.median(found)) * 1e3
