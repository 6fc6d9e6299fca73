"""What Hydra finds of vexp: the sweepers of ``hydra/sweeper=``. It looks for them in this namespace, at every start."""

from __future__ import annotations

from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class Grid(Sweeper):
    """Every combination of the swept values (``hydra/sweeper=grid``)."""

    def __init__(self, params: dict[str, str] | None = None) -> None:
        """``params``: swept keys of a YAML file, KEY: VALUES."""
        self.params = params or {}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from vexp.sweep.runner import SweepRunner

        self.jobs = SweepRunner(hydra_context, task_function, config)

    def words(self, arguments: list[str]) -> list[str]:
        return [*(f"{key}={values}" for key, values in self.params.items()), *arguments]

    def sweep(self, arguments: list[str]) -> None:
        from vexp.sweep.grid import sweep

        leave(sweep(self.jobs, self.words(arguments)))


class Search(Grid):
    """Values chosen by Optuna from the results so far (``hydra/sweeper=optuna``)."""

    def __init__(self, params: dict[str, str] | None = None, **options: Any) -> None:
        Grid.__init__(self, params)
        # of vexp.config.sweep.SearchOptions, which checks them
        self.options = options

    def sweep(self, arguments: list[str]) -> None:
        from vexp.sweep.optuna import search

        leave(search(self.jobs, self.words(arguments), self.options))


def leave(status: int) -> None:
    """Hydra drops what a sweeper returns: the exit status of the command is said here."""
    if status:
        raise SystemExit(status)
