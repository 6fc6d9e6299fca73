"""A sweep as the sweepers see it: cells are composed and checked, launched where something is left, and reported."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from hydra.core.plugins import Plugins
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from vexp.config.compose import to_config
from vexp.config.overrides import as_typed, config_search_dirs, split_flags
from vexp.config.preflight import check_inputs
from vexp.config.provenance import Provenance
from vexp.core.errors import UserError
from vexp.experiment.run_dir import lock_run_dir
from vexp.runtime.signals import SignalHandler
from vexp.sweep.job_state import CHANGED, DONE, FAILED, INCOMPLETE, NEW, RUNNING, Job
from vexp.sweep.overrides import SweepOverrides, job_name, label
from vexp.sweep.run_job import LAUNCHER_VARIABLE, STOP_FILE, changed_text
from vexp.sweep.summary_table import show


class SweepRunner:
    """``cells``: the jobs of the sweep so far, by folder; ``stopped``: what keeps further ones from beginning."""

    def __init__(self, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        _check_alone()
        self.loader = hydra_context.config_loader
        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(hydra_context, task_function, config)
        flags, words = split_flags(sys.argv[1:])
        self.config_folders = config_search_dirs(flags, words)
        self.cells: dict[Path, Job] = {}
        self.stopped: str | None = None

    def read(self, words: Sequence[str]) -> SweepOverrides:
        """The words of the sweep, after which it has a name and a folder."""
        self.words = SweepOverrides.parse(words, self.loader)
        if self.config.sweep.name is None:
            self.config.sweep.name = self.words.name()
        self.folder = Path(str(self.config.hydra.sweep.dir)).expanduser().absolute()
        with open_dict(self.config):
            self.config.hydra.sweep.dir = str(self.folder)
        return self.words

    @contextmanager
    def open(self) -> Iterator[None]:
        """The sweep's folder is this process's own within the block.

        Raises:
            UserError: another one sweeps there.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with lock_run_dir(self.folder):
            (self.folder / STOP_FILE).unlink(missing_ok=True)
            try:
                yield
            finally:
                (self.folder / STOP_FILE).unlink(missing_ok=True)

    def locate(self, words: Sequence[str]) -> tuple[str, Path]:
        """The label and the folder of a job: the one that its words have, though other keys were swept then."""
        name = job_name(words, self.words.keys)
        return label(words, self.words.keys), next(self.folder.glob(f"*-{name[-8:]}"), self.folder / name)

    def compose(self, words: list[str]) -> Job:
        """A cell, composed and checked as its job will be, and what there is to be done about it.

        Raises:
            UserError: its config is wrong, or a file that it needs is not there.
        """
        shown, folder = self.locate(words)
        composed = self.loader.load_sweep_config(self.config, self.job_words(words, folder))
        with open_dict(composed):
            settings = composed.pop("hydra")
        origins = Provenance(overrides=as_typed(words), folders=self.config_folders)
        try:
            config = to_config(composed, settings.runtime.choices, origins, sweep=self.folder.name)
            check_inputs(config, origins)
        except UserError as error:
            raise UserError(f"{error}\n  in the job {shown}") from None
        cell = Job(words, shown, folder, config)
        cell.look()
        return cell

    def compose_all(self, grid: Iterable[list[str]]) -> list[Job]:
        """All cells of a grid before the first one runs; those with a word that no other had come first.

        Raises:
            UserError: of the first that is wrong.
        """
        seen: set[str] = set()
        cells = list(grid)
        fresh = []
        for words in cells:
            fresh.append(not seen.issuperset(words))
            seen.update(words)
        order = sorted(range(len(cells)), key=lambda number: not fresh[number])
        composed = {number: self.compose(cells[number]) for number in order}
        return [composed[number] for number in range(len(cells))]

    def job_words(self, words: Sequence[str], folder: Path) -> list[str]:
        """The overrides of a job with the folder that it is to use."""
        named = {"hydra.sweep.dir": str(folder.parent), "hydra.sweep.subdir": folder.name}
        return [*words, *(f"{key}='{value.translate(_ESCAPED)}'" for key, value in named.items())]

    def run(self, cells: Sequence[Job]) -> None:
        """Launch those of the cells with something left to do, and wait for them."""
        for cell in cells:
            self.cells[cell.folder] = cell
            if cell.state == CHANGED and cell.config.sweep.changed == "refuse":
                print(f"vexp: error: {changed_text(cell)}", file=sys.stderr)
        left = list({cell.folder: cell for cell in cells if _is_to_run(cell)}.values())  # a search may repeat itself
        if not left:
            return
        stop = _ForwardSignals(self.folder / STOP_FILE)
        os.environ[LAUNCHER_VARIABLE] = str(os.getpid())
        with stop:
            try:
                self.launcher.launch(
                    [self.job_words(cell.words, cell.folder) for cell in left],
                    initial_job_idx=len(self.cells) - len(cells),
                )
            except Exception as error:  # of the launcher itself: a process that was killed, no Slurm
                if not stop.received:
                    print(f"vexp: the launcher ended: {type(error).__name__}: {error}", file=sys.stderr)
            finally:
                del os.environ[LAUNCHER_VARIABLE]
        for cell in cells:
            cell.ran = _is_to_run(cell)
        if (self.folder / STOP_FILE).exists():
            self.stopped = (self.folder / STOP_FILE).read_text()

    def announce(self, cells: Sequence[Job]) -> None:
        """What an invocation finds and will do, in a line."""
        counts = {state: sum(cell.state == state for cell in cells) for state in _SAID}
        found = ", ".join(f"{count} {_SAID[state]}" for state, count in counts.items() if count)
        print(f"sweep {self.folder}: {len(cells)} jobs: {found}", flush=True)

    def conclude(self) -> int:
        """The table of all jobs; the exit status: 0, 1 where a job failed, 75 where some wait for the next one."""
        return show(list(self.cells.values()), self.folder, stopped=self.stopped)


_SAID = {
    DONE: "done before",
    INCOMPLETE: "to go on with",
    FAILED: "to try again",
    CHANGED: "made with other settings",
    RUNNING: "running elsewhere",
    NEW: "new",
}
_ESCAPED = str.maketrans({"'": "\\'", "\\": "\\\\"})


def _check_alone() -> None:
    """One process reads a sweep and starts its jobs.

    Raises:
        UserError: torchrun has started several.
    """
    if "WORLD_SIZE" in os.environ:
        from vexp.runtime.distributed import world_from_environment  # brings torch with it

        size = world_from_environment().world_size
        if size > 1:
            raise UserError(
                f"-m: torchrun has started {size} processes, and each would run the sweep; let the sweep start those "
                f"of each job: python -m vexp.train -m nproc={size} ..."
            )


def _is_to_run(cell: Job) -> bool:
    return cell.state in (NEW, INCOMPLETE, FAILED) or (cell.state == CHANGED and cell.config.sweep.changed == "rerun")


class _ForwardSignals(SignalHandler):
    """The launching process's own: no further job begins, and those in its child processes are asked to stop, too."""

    def __init__(self, stop_file: Path) -> None:
        SignalHandler.__init__(self)
        self._stop_file = stop_file

    def _note(self, number: int, frame: FrameType | None) -> None:
        SignalHandler._note(self, number, frame)
        self._stop_file.write_text(signal.Signals(number).name)
        for child in multiprocessing.active_children():
            with suppress(OSError):
                os.kill(child.pid or 0, signal.SIGTERM)
