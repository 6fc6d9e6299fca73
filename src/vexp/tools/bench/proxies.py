"""The run with a few of its videos, and with their proxies as in its second epoch (``data.cache=proxy``)."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

import numpy as np

from vexp.core.errors import ConfigError, UserError
from vexp.data.loading.proxy_writer import ProxyWriter, Task
from vexp.data.sources.base import VideoSource
from vexp.data.sources.proxies import Proxies
from vexp.tools.bench.measure import Measurement

_VIDEOS = 8  # at most
_POLL_SECONDS = 0.1


def with_proxies(run: Measurement, folder: Path, seconds: float) -> tuple[Measurement, Measurement, float]:
    """Write the proxies of evenly spaced videos to ``folder`` for at most ``seconds``, as a run does.

    Returns:
        The run with these videos, the run with their proxies, and the estimated size of all proxies of the data set in
        bytes.

    Raises:
        ConfigError: If the data are not video files.
        UserError: If no proxy was written.
    """
    source = run.exp.train_set.source
    if not isinstance(source, VideoSource):
        raise ConfigError("is for video files, but these data are not", key="data.cache", value="proxy")
    places = np.unique(np.linspace(0, len(source) - 1, _VIDEOS).astype(int))
    videos = source.take(places).videos()
    task = Task(str(folder), run.config.data.cache_short_side, 10**15, videos)
    end = time.perf_counter() + seconds
    with closing(ProxyWriter(task)) as writer:
        while writer.is_running and time.perf_counter() < end:
            time.sleep(_POLL_SECONDS)
        records = writer.records()
    written = {video for video, record in zip(videos, records, strict=True) if record is not None}
    if not written:
        raise UserError(f"data.cache=proxy: no copy of {len(videos)} videos was written in {seconds:.0f} s")
    rows = [row for row in places.tolist() if source.annotation.path(row) in written]
    originals = source.take(np.resize(np.array(rows), max(len(source), run.exp.plan.samples_per_step)))
    proxied = source.take(np.resize(np.array(rows), len(originals)))
    proxied.proxies = Proxies.of(task.cache, videos, records)
    size = proxied.proxies.size / len(written) * len(source.videos())
    return run.with_source(originals), run.with_source(proxied), size
