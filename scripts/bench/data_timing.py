"""Measure time for scripts/bench/data.py. Only torch is needed, so that another interpreter can use it, too."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator
from typing import Any

Figures = dict[str, float]

AWAKE = 0.3
"""Seconds of work before a measurement.

An idle core is slower at first, by an eighth where this was measured, and the workers of a training run are never idle.
"""


def timed(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """Return (result, CPU seconds of all threads, wall seconds) of a call, on a core that is not idle."""
    until = time.perf_counter() + AWAKE
    while time.perf_counter() < until:
        pass
    cpu, wall = time.process_time(), time.perf_counter()
    result = work()
    return result, time.process_time() - cpu, time.perf_counter() - wall


def emptied(loader: Any, groups: list[Any]) -> tuple[float, float]:
    """Read every batch; return CPU seconds per clip, of all processes with their start, and wall seconds per clip.

    The first quarter, which the start of the workers delays, is left out of the wall time.
    """
    clips, untimed = sum(map(len, groups)), len(groups) // 4
    used, began = _cpu_seconds(), time.perf_counter()
    batches: Iterator[Any] = iter(loader)
    for number, batch in enumerate(batches):
        assert not hasattr(batch, "message"), batch
        if number + 1 == untimed:
            began = time.perf_counter()
    wall = (time.perf_counter() - began) / (clips - sum(map(len, groups[:untimed])))
    del batches  # ends the workers, and waits for them
    return (_cpu_seconds() - used) / clips, wall


def one_thread(_: int) -> None:
    """Limit a worker of the peer to one thread."""
    import cv2

    cv2.setNumThreads(0)


def _cpu_seconds() -> float:
    """Return the CPU seconds of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)
