"""Hydra plugins: the sweepers of ``hydra/sweeper=``. Hydra imports this namespace whenever it starts."""

from __future__ import annotations

from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class Grid(Sweeper):
    """Run every combination of the swept values (``hydra/sweeper=grid``)."""

    def __init__(self, params: dict[str, str] | None = None) -> None:
        """Store ``params``, the swept keys of a YAML file (key -> values)."""
        self.params = params or {}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from vexp.sweep.run_sweep import SweepRunner

        self.runner = SweepRunner(hydra_context, task_function, config)

    def overrides(self, arguments: list[str]) -> list[str]:
        return [*(f"{key}={values}" for key, values in self.params.items()), *arguments]

    def sweep(self, arguments: list[str]) -> None:
        exit_with_status(self.runner.run_grid(self.overrides(arguments)))


class Search(Grid):
    """Let Optuna choose values from the results so far (``hydra/sweeper=optuna``)."""

    def __init__(self, params: dict[str, str] | None = None, **options: Any) -> None:
        Grid.__init__(self, params)
        self.options = options  # validated by vexp.config.sweep.SearchOptions

    def sweep(self, arguments: list[str]) -> None:
        from vexp.sweep.optuna import search

        exit_with_status(search(self.runner, self.overrides(arguments), self.options))


def exit_with_status(status: int) -> None:
    """Exit unless ``status`` is 0: Hydra drops what a sweeper returns."""
    if status:
        raise SystemExit(status)
