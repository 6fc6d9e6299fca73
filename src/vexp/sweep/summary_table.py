"""The summary table of a sweep."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from vexp.config.provenance import display_path
from vexp.runtime.signals import EXIT_INTERRUPTED
from vexp.sweep.job_state import DONE, FAILED, INTERRUPTED, NEW, RUNNING, Job, Objective
from vexp.sweep.run_or_retry_job import FAIL_FAST


def show(jobs: Sequence[Job], folder: Path, *, stopped: str | None) -> int:
    """Print the table, best job first; return the exit status of the sweep."""
    objective = Objective.of(jobs[0].config)
    rows = []
    for job in jobs:
        state = _final_state(job)
        rows.append((state, job.objective() if state.startswith(DONE) else math.nan, job))
    rows.sort(key=lambda row: (math.isnan(row[1]), -row[1] if objective.greater else row[1]))
    table = Table("job", "state", objective.name, box=None)
    for state, value, job in rows:
        table.add_row(job.label, state, "" if math.isnan(value) else f"{value:.4f}")
    width = None if sys.stdout.isatty() else 10_000  # in a file lines are neither cut nor wrapped
    Console(width=width, markup=False, emoji=False, highlight=False).print(table)
    for state, _, job in rows:
        if state == FAILED:
            reason = str(job.result().get("error", "no reason was recorded")).partition("\n")[0]
            print(f"failed: {job.label}: {reason}", file=sys.stderr)
    states = Counter(state for state, _, _ in rows)
    counts = ", ".join(f"{count} {state}" for state, count in states.items())
    print(f"{len(rows)} jobs: {counts}; in {display_path(folder)}")
    print(f"compare them: vexp compare {display_path(folder)}", flush=True)
    if stopped:
        print(f"stopped by {stopped}; run the same command again to resume")
    if (stopped and stopped != FAIL_FAST) or {RUNNING, INTERRUPTED} & {*states}:
        return EXIT_INTERRUPTED
    return 0 if all(state.startswith(DONE) for state in states) else 1


def _final_state(job: Job) -> str:
    """Return done, done before, failed, interrupted, killed, incomplete, changed, running or not started."""
    if not job.ran:
        return {DONE: "done before", NEW: "not started"}.get(job.state, job.state)
    fallback = "killed" if (job.folder / "config.yaml").is_file() else "not started"
    return str(job.result().get("status", fallback))
