"""Grid sweeps: every combination of the swept values."""

from __future__ import annotations

from collections.abc import Sequence

from vexp.sweep.runner import SweepRunner


def sweep(runner: SweepRunner, overrides: Sequence[str]) -> int:
    """Run the unfinished jobs of the grid; return the exit status of the sweep."""
    grid = runner.read(overrides).grid()
    jobs = runner.compose_all(grid)
    with runner.open():
        runner.announce(jobs)
        runner.run(jobs)
    return runner.exit_status()
