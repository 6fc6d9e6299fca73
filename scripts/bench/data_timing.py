"""Clocks of scripts/bench/data.py. Needs nothing but torch, so that another interpreter can use it, too."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator
from typing import Any

Figures = dict[str, float]

AWAKE = 0.3
"""Seconds of work before a clock is started: a core that has slept is slower at first, by an eighth where this was
measured, and no worker of a training run ever sleeps. It would count most against the path that is done first."""


def timed(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """(result, seconds of CPU of all threads of this process, seconds of wall time), on a core that is awake."""
    until = time.perf_counter() + AWAKE
    while time.perf_counter() < until:
        pass
    cpu, wall = time.process_time(), time.perf_counter()
    result = work()
    return result, time.process_time() - cpu, time.perf_counter() - wall


def emptied(loader: Any, groups: list[Any]) -> tuple[float, float]:
    """Takes every batch: seconds a clip of CPU, of all processes with their start, and of wall time.

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
    """Starts a worker of the peer's."""
    import cv2

    cv2.setNumThreads(0)


def _cpu_seconds() -> float:
    """Of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)
