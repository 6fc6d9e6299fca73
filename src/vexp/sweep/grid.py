"""Every combination of the swept values."""

from __future__ import annotations

from collections.abc import Sequence

from vexp.sweep.runner import SweepRunner


def sweep(jobs: SweepRunner, words: Sequence[str]) -> int:
    """Run what is left of the grid; the exit status of the sweep."""
    grid = jobs.read(words).grid()
    cells = jobs.compose_all(grid)
    with jobs.open():
        jobs.announce(cells)
        jobs.run(cells)
    return jobs.conclude()
