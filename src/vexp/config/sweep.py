"""The ``sweep`` group, and the options ``hydra/sweeper=optuna`` and ``hydra/launcher=ray``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vexp.core.errors import ConfigError
from vexp.core.fields import ValidatedConfig, option
from vexp.core.files import folder_name_rule


@dataclass(kw_only=True, slots=True)
class Sweep(ValidatedConfig):
    """The ``sweep`` group: the jobs of one multirun (``-m``)."""

    name: str | None = option(
        None,
        "Folder of the sweep below out_root/sweeps; null: the swept keys, as in lr_policy_x_optimizer.",
        check=folder_name_rule,
    )
    objective: str | None = option(
        None, "Metric by which jobs are ranked and a search improves, val/top1_acc; null: that of eval.save_best."
    )
    changed: str = option(
        "refuse",
        "What to do with a job whose saved settings differ: refuse (an error that lists them), rerun, or keep.",
        choices=("refuse", "rerun", "keep"),
    )
    fail_fast: bool = option(False, "Start no further job after one has failed.")

    def check_objective(self, results: Sequence[str]) -> None:
        """Check that ``objective`` is one of the ``results`` of an evaluation, named without their split.

        Raises:
            ConfigError: If it is not.
        """
        names = [f"val/{name}" for name in results]
        if self.objective not in (None, *names):
            raise ConfigError(
                f"must be one of {', '.join(names)}, which the evaluation returns",
                key="sweep.objective", value=self.objective,
            )  # fmt: skip


@dataclass(kw_only=True, slots=True)
class SearchOptions(ValidatedConfig):
    """A search by Optuna over the swept keys for the best ``sweep.objective``."""

    _target_: str = "hydra_plugins.vexp_sweepers.Search"
    params: dict[str, str] = option({}, "Search space in YAML, KEY: VALUES; on the command line write KEY=VALUES.")
    n_trials: int = option(20, "Trials of the study, including those of earlier invocations.", ge=1, le=100_000)
    n_jobs: int | None = option(
        None, "Trials proposed at once, to run in parallel; null: as many as the launcher runs.", ge=1
    )
    sampler: str = option(
        "tpe", "Sampler: tpe (tree-structured Parzen estimator) or random.", choices=("tpe", "random")
    )
    seed: int = option(0, "Seed of the sampler.", ge=0)
    storage: str | None = option(
        None, "URL of the study's storage (sqlite:///FILE); null: optuna.db in the sweep's folder."
    )


@dataclass(kw_only=True, slots=True)
class RayOptions(ValidatedConfig):
    """The jobs of a sweep as tasks of Ray; as many run at a time as the resources allow."""

    _target_: str = "hydra_plugins.vexp_launchers.Ray"
    address: str | None = option(
        None,
        "Address of the cluster (auto, HOST:PORT, ray://HOST:PORT); local: a Ray of this sweep only; null: that of "
        "RAY_ADDRESS, else the cluster of this machine, else local.",
    )
    num_cpus: float = option(1, "CPU cores of a job, which should include its data loading workers.", ge=0)
    num_gpus: float | None = option(
        None, "GPUs of a job; jobs share one at 0.5; null: 1 if the cluster has GPUs, else 0.", ge=0
    )
    resources: dict[str, float] = option({}, "Amounts of the cluster's own resources that a job needs.")
    n_jobs: int | None = option(None, "Jobs that run at a time; null: no limit but the resources.", ge=1)
    max_restarts: int = option(
        3, "Times that a job is started again, from its last checkpoint, because its node has died.", ge=0
    )
    init: dict[str, Any] = option({}, "Further arguments of ray.init, such as runtime_env.")
