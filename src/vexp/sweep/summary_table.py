"""What became of a sweep, job by job."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from vexp.config.provenance import display_path
from vexp.runtime.signals import EXIT_INTERRUPTED
from vexp.sweep.job_state import DONE, FAILED, INTERRUPTED, NEW, RUNNING, Job, Objective
from vexp.sweep.run_job import FAIL_FAST


def show(cells: Sequence[Job], folder: Path, *, stopped: str | None) -> int:
    """Print the table, the best first; the exit status of the sweep."""
    objective = Objective.of(cells[0].config)
    rows = sorted(((_ended(cell), cell) for cell in cells), key=lambda row: _rank(*row, greater=objective.greater))
    states = [state for state, _ in rows]
    table = Table("job", "state", objective.name, box=None)
    for state, cell in rows:
        value = cell.objective() if state.startswith(DONE) else math.nan
        table.add_row(cell.label, state, "" if math.isnan(value) else f"{value:.4f}")
    width = None if sys.stdout.isatty() else 10_000  # in a file nothing is cut or folded
    Console(width=width, markup=False, emoji=False, highlight=False).print(table)
    for state, cell in rows:
        if state == FAILED:
            print(f"failed: {cell.label}: {_first_line(cell)}", file=sys.stderr)
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    print(f"{len(rows)} jobs: {counts}; in {display_path(folder)}")
    print(f"compare them: vexp compare {display_path(folder)}", flush=True)
    if stopped:
        print(f"stopped by {stopped}; the same command goes on with the rest")
    if (stopped and stopped != FAIL_FAST) or {RUNNING, INTERRUPTED} & {*states}:
        return EXIT_INTERRUPTED
    return 0 if all(state.startswith(DONE) for state in states) else 1


def _ended(cell: Job) -> str:
    """``done``, ``done before``, ``failed``, ``interrupted``, ``killed``, ``changed``, ``running``, ``not begun``"""
    if not cell.ran:
        return {DONE: "done before", NEW: "not begun"}.get(cell.state, cell.state)
    nothing = "killed" if (cell.folder / "config.yaml").is_file() else "not begun"
    return str(cell.result().get("status", nothing))


def _rank(state: str, cell: Job, *, greater: bool) -> tuple[bool, float]:
    value = cell.objective() if state.startswith(DONE) else math.nan
    return (math.isnan(value), 0.0 if math.isnan(value) else -value if greater else value)


def _first_line(cell: Job) -> str:
    return str(cell.result().get("error", "no reason was left")).partition("\n")[0]
