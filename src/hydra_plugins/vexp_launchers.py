"""Hydra plugins: the launcher of ``hydra/launcher=ray``. Hydra imports this namespace whenever it starts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf


class Ray(Launcher):
    """Run the jobs of a sweep as tasks of Ray (``hydra/launcher=ray``)."""

    def __init__(self, **options: Any) -> None:
        """Store the options, which ``setup`` checks."""
        self.values = options

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from importlib.util import find_spec

        from vexp.config.errors import extra_needed
        from vexp.config.sweep import RayOptions
        from vexp.core.errors import ConfigError

        if find_spec("ray") is None:
            raise extra_needed("hydra/launcher", "ray")
        plain = {key: OmegaConf.to_container(v) if OmegaConf.is_config(v) else v for key, v in self.values.items()}
        try:
            self.options = RayOptions(**plain)
        except ConfigError as error:
            raise error.below("hydra.launcher") from None
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from vexp.sweep.ray_launcher import launch

        arguments = self.options, self.hydra_context, self.task_function, self.config
        return launch(*arguments, job_overrides, initial_job_idx)
