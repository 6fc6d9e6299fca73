"""Run a sweep, with any sweeper: compose and check its jobs, launch those to run, resume or retry, and report."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from hydra.core.plugins import Plugins
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict, read_write

from vexp.config.compose import to_config
from vexp.config.overrides import as_typed, config_search_dirs
from vexp.config.preflight import check_inputs
from vexp.config.provenance import Provenance
from vexp.core.errors import UserError
from vexp.experiment.run_dir import lock_run_dir
from vexp.runtime.signals import SignalHandler
from vexp.sweep.job_overrides import OptionNames, SweepOverrides, job_label, job_name
from vexp.sweep.job_state import CHANGED, DONE, FAILED, INCOMPLETE, NEW, RUNNING, Job
from vexp.sweep.run_or_retry_job import LAUNCHER_VARIABLE, STOP_FILE, changed_text
from vexp.sweep.summary_table import show

_STATE_TEXTS = {
    DONE: "done before", INCOMPLETE: "to resume", FAILED: "to retry", CHANGED: "with other settings",
    RUNNING: "running elsewhere", NEW: "new",
}  # fmt: skip
_ESCAPED = str.maketrans({"'": "\\'", "\\": "\\\\"})


class SweepRunner:
    """Composes, launches and reports the jobs of a sweep."""

    def __init__(self, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        _check_single_process()
        self.loader = hydra_context.config_loader
        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(hydra_context, task_function, config)
        self.config_folders = config_search_dirs([f"hydra.searchpath={list(config.hydra.searchpath or [])}"])
        self.jobs: dict[Path, Job] = {}  # those of the sweep so far, by folder
        self.stopped: str | None = None  # the reason why no further job may start

    def run_grid(self, overrides: Sequence[str]) -> int:
        """Run the pending jobs among all combinations of the swept values; return the exit status of the sweep."""
        jobs = self._compose_all(self.read(overrides).grid())
        with self.open():
            counts = {text: sum(job.state == state for job in jobs) for state, text in _STATE_TEXTS.items()}
            states = ", ".join(f"{count} {text}" for text, count in counts.items() if count)
            print(f"sweep {self.folder}: {len(jobs)} jobs: {states}", flush=True)
            self.run(jobs)
        return self.exit_status()

    def read(self, overrides: Sequence[str]) -> SweepOverrides:
        """Parse the overrides of the sweep, which determine its name and folder."""
        self.overrides = SweepOverrides.parse(overrides, OptionNames(self.config_folders, self.loader))
        if self.config.sweep.name is None:
            self.config.sweep.name = self.overrides.name()
        self.folder = Path(str(self.config.hydra.sweep.dir)).expanduser().absolute()
        with read_write(self.config.hydra), open_dict(self.config.hydra):  # read-only since Hydra 1.4
            self.config.hydra.sweep.dir = str(self.folder)
        return self.overrides

    @contextmanager
    def open(self) -> Iterator[None]:
        """Lock the sweep's folder for the duration of the block; a UserError if another sweep runs there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with lock_run_dir(self.folder):
            (self.folder / STOP_FILE).unlink(missing_ok=True)
            try:
                yield
            finally:
                (self.folder / STOP_FILE).unlink(missing_ok=True)

    def locate(self, overrides: Sequence[str]) -> tuple[str, Path]:
        """Return the label and the folder of a job; an existing folder is found even if other keys were swept then."""
        name = job_name(overrides, self.overrides.keys)
        return job_label(overrides, self.overrides.keys), next(self.folder.glob(f"*-{name[-8:]}"), self.folder / name)

    def compose(self, overrides: list[str]) -> Job:
        """Compose and check a job, and read its state; a UserError if its config is invalid or misses a file."""
        label, folder = self.locate(overrides)
        composed = self.loader.load_sweep_config(self.config, self.job_overrides(overrides, folder))
        with open_dict(composed):
            settings = composed.pop("hydra")
        origins = Provenance(overrides=as_typed(overrides), folders=self.config_folders)
        try:
            config = to_config(composed, settings.runtime.choices, origins, sweep=self.folder.name)
            check_inputs(config, origins)
        except UserError as error:
            raise UserError(f"{error}\n  in the job {label}") from None
        job = Job(overrides, label, folder, config)
        job.refresh()
        return job

    def _compose_all(self, grid: Sequence[list[str]]) -> list[Job]:
        """Compose all jobs of a grid, those with an override that no earlier one has first, to find errors early."""
        seen: set[str] = set()
        has_new_override = []
        for overrides in grid:
            has_new_override.append(not seen.issuperset(overrides))
            seen.update(overrides)
        jobs = {i: self.compose(grid[i]) for i in sorted(range(len(grid)), key=lambda i: not has_new_override[i])}
        return [jobs[i] for i in range(len(grid))]

    def job_overrides(self, overrides: Sequence[str], folder: Path) -> list[str]:
        """Return the overrides of a job, with its folder."""
        folders = {"hydra.sweep.dir": str(folder.parent), "hydra.sweep.subdir": folder.name}
        return [*overrides, *(f"{key}='{value.translate(_ESCAPED)}'" for key, value in folders.items())]

    def run(self, jobs: Sequence[Job]) -> None:
        """Launch the pending jobs, and wait for them."""
        for job in jobs:
            self.jobs[job.folder] = job
            if job.state == CHANGED and job.config.sweep.changed == "refuse":
                print(f"vexp: error: {changed_text(job)}", file=sys.stderr)
        pending = list({job.folder: job for job in jobs if job.is_pending}.values())  # a search may repeat a job
        if not pending:
            return
        stop_file = self.folder / STOP_FILE
        os.environ[LAUNCHER_VARIABLE] = str(os.getpid())
        with _ForwardSignals(stop_file) as stop:
            try:
                overrides = [self.job_overrides(job.overrides, job.folder) for job in pending]
                self.launcher.launch(overrides, initial_job_idx=len(self.jobs) - len(jobs))
            except Exception as error:  # of the launcher itself: a killed process, or no Slurm
                if not stop.received:
                    print(f"vexp: error: the launcher failed: {type(error).__name__}: {error}", file=sys.stderr)
            finally:
                del os.environ[LAUNCHER_VARIABLE]
        for job in jobs:
            job.ran = job.is_pending
        if stop_file.exists():
            self.stopped = stop_file.read_text()

    def exit_status(self) -> int:
        """Print the table of all jobs; return 0, 1 if a job failed, or 75 if some are left for the next invocation."""
        return show(list(self.jobs.values()), self.folder, stopped=self.stopped)


def _check_single_process() -> None:
    """Raise a UserError if torchrun has started several processes, each of which would run the sweep."""
    if "WORLD_SIZE" in os.environ:
        from vexp.runtime.distributed import world_from_environment  # imports torch

        size = world_from_environment().world_size
        if size > 1:
            raise UserError(
                f"-m: torchrun has started {size} processes, and each would run the sweep; let the sweep start "
                f"the processes of each job: vexp train -m nproc={size} ..."
            )


class _ForwardSignals(SignalHandler):
    """Signal handler of the launching process: no further job starts, and running child processes receive SIGTERM."""

    def __init__(self, stop_file: Path) -> None:
        SignalHandler.__init__(self)
        self._stop_file = stop_file

    def _note(self, number: int, frame: FrameType | None) -> None:
        SignalHandler._note(self, number, frame)
        self._stop_file.write_text(signal.Signals(number).name)
        for child in multiprocessing.active_children():
            with suppress(OSError):
                os.kill(child.pid or 0, signal.SIGTERM)
