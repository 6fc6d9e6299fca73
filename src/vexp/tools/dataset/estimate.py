"""Estimate size and time of a conversion from a sample of the videos."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vexp.core.errors import UserError
from vexp.core.worker_pool import run_jobs
from vexp.tools.dataset.conversion import Conversion, Job


@dataclass(frozen=True, slots=True)
class Estimate:
    """Estimate of a conversion."""

    bytes_before: int  # size of all sources
    bytes_after: float  # of all targets
    seconds: float  # with one process
    reading: tuple[float, float] | None  # ``reading_times`` of the sample, if the targets are videos


def estimate(jobs: list[Job], count: int, conversion: Conversion, folder: Path) -> Estimate:
    """Convert ``count`` evenly spaced videos into ``folder``, which the caller removes, and extrapolate.

    Raises:
        UserError: If none of them can be converted.
    """
    sizes = {job: job.source.stat().st_size for job in jobs if job.source.is_file()}
    present = list(sizes)
    positions = np.linspace(0, max(0, len(present) - 1), min(count, len(present)))
    chosen = [present[i] for i in np.unique(positions.astype(int))]
    samples = [replace(job, target=folder / conversion.target_name(f"{i}.video")) for i, job in enumerate(chosen)]
    outcomes = list(run_jobs(samples, conversion, 0))
    converted = [(job, outcome) for job, outcome in zip(chosen, outcomes, strict=True) if not outcome.error]
    if not converted:
        reason = outcomes[0].error if outcomes else "none of the files exists"
        raise UserError(f"none of {len(chosen)} sampled videos can be converted; the first: {reason}")
    share = sum(sizes.values()) / sum(sizes[job] for job, _ in converted)
    targets = [outcome.job.target for _, outcome in converted]
    reading = None
    if all(target.is_file() for target in targets):
        reading = reading_times([(job.source, outcome.job.target) for job, outcome in converted], folder)
    seconds = share * sum(outcome.seconds for _, outcome in converted)
    return Estimate(sum(sizes.values()), share * sum(map(size_of, targets)), seconds, reading)


def size_of(path: Path) -> int:
    """Return the size in bytes of a file or of the files of a folder."""
    return sum(file.stat().st_size for file in path.iterdir()) if path.is_dir() else path.stat().st_size


def reading_times(pairs: list[tuple[Path, Path]], folder: Path) -> tuple[float, float]:
    """Return the mean times to read a clip of the originals and of the proxies; links are created in ``folder``."""
    before, after = np.mean([[milliseconds_per_clip(path, folder) for path in pair] for pair in pairs], axis=0)
    return float(before), float(after)


def milliseconds_per_clip(path: Path, folder: Path, draws: int = 3) -> float:
    """Return the median CPU time to open a video and read 16 frames, 4 apart, from a random position."""
    from vexp.data.decoding.pyav import VideoReader
    from vexp.data.transforms.frame_sampling import SampleFrames

    sampler, rng, times = SampleFrames(clip_len=16, frame_interval=4), np.random.default_rng(0), []
    for draw in range(draws):
        name = folder / f"draw_{draw}_{path.name}"  # a new name: readers cache properties of a video by its name
        name.symlink_to(path)
        start = time.process_time()
        with VideoReader(name) as reader:
            reader.frames(sampler.indices(reader.num_frames, rng).reshape(-1))
        times.append(time.process_time() - start)
        name.unlink()
    return float(np.median(times)) * 1e3
