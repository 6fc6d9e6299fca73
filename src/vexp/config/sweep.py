"""The ``hydra/sweeper=optuna`` option: how values are searched for instead of combined."""

from __future__ import annotations

from dataclasses import dataclass

from vexp.core.fields import ValidatedConfig, option


@dataclass(kw_only=True, slots=True)
class SearchOptions(ValidatedConfig):
    """A search by Optuna over the swept keys; what it improves is ``sweep.objective``."""

    _target_: str = "hydra_plugins.vexp_sweepers.Search"
    params: dict[str, str] = option({}, "what is searched, KEY: VALUES, where a YAML file says it")
    n_trials: int = option(20, "trials of the study, those of earlier invocations among them", ge=1)
    n_jobs: int | None = option(
        None, "trials proposed together, to run at the same time; null: as many as the launcher runs", ge=1
    )
    sampler: str = option(
        "tpe", "how values are proposed: by tree-structured Parzen estimators, or at random", choices=("tpe", "random")
    )
    seed: int = option(0, "of the proposals", ge=0)
    storage: str | None = option(None, "address of the study (sqlite:///FILE); null: optuna.db in the sweep's folder")
