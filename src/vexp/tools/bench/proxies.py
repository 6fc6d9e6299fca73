"""The effect of proxies on the speed of a run, tried with a few videos in a temporary folder."""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from vexp.core.errors import UserError
from vexp.data.annotations.packed import PackedStrings
from vexp.data.sources.base import VideoSource
from vexp.tools.bench.advice import Candidate, Trial
from vexp.tools.bench.measure import Measurement
from vexp.tools.dataset.conversion import Job
from vexp.tools.dataset.reencode import ENCODINGS

_VIDEOS = 8  # converted at most
_ENCODING = "mjpeg"
_CANDIDATE = Candidate(
    f"vexp dataset rescale VIDEOS PROXIES --encoding {_ENCODING}", "copies on the disk, with other pixel values"
)


def try_proxies(run: Measurement, seconds: float) -> Trial | None:
    """Train with a few videos and with their proxies alternately, twice each; None if the data are no videos.

    Half of ``seconds`` is for writing the proxies, which ends with the video that exceeds it.
    """
    source = run.exp.train_set.source
    if not isinstance(source, VideoSource):
        return None
    with tempfile.TemporaryDirectory(prefix="vexp-") as folder:
        rows = _write(source, Path(folder), seconds / 2)
        if not rows:
            return None
        repeated = np.resize(np.array(list(rows)), max(len(source), run.exp.plan.samples_per_step))
        originals = source.take(repeated)
        names = PackedStrings.pack(rows[row] for row in repeated.tolist())
        proxies = originals.take(np.arange(len(repeated)))
        proxies.annotation = replace(originals.annotation, names=names, prefix=folder)
        pair = run.with_source(originals), run.with_source(proxies)
        try:
            rates = [[one.training(seconds / 8) for one in pair] for _ in range(2)]
        except UserError:
            return None
    before, after = np.mean(rates, axis=0).tolist()
    return Trial(_CANDIDATE, before, after)


def _write(source: VideoSource, folder: Path, seconds: float) -> dict[int, str]:
    """Write the proxies of evenly spaced videos; return their names by the index of the sample."""
    encoding, names, end = ENCODINGS[_ENCODING], dict[int, str](), time.perf_counter() + seconds
    for index in np.unique(np.linspace(0, len(source) - 1, _VIDEOS).astype(int)).tolist():
        name = encoding.target_name(f"{index}.video")
        try:
            encoding(Job(Path(source.annotation.path(index)), folder / name))
        except (UserError, OSError):
            continue  # a video that cannot be read, or a full disk
        names[index] = name
        if time.perf_counter() > end:
            break
    return names
