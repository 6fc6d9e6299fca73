"""The command ``vexp train`` up to the run itself."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hydra.core.hydra_config import HydraConfig

from vexp import train
from vexp.config.schema import Config

Runs = list[tuple[Config, dict[str, str]]]  # config, environment variables


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runs:
    started: Runs = []

    def run(config: Config, folder: Path, **_: Any) -> dict[str, str]:
        started.append((config, dict(os.environ)))
        return {"status": "done"}

    monkeypatch.setattr(train, "run", run)
    monkeypatch.chdir(tmp_path)
    return started


def test_plain_run_has_the_config_of_hydra_main(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    overrides = ["lr=step", "debug=fast", "run_name=${hydra:job.name}", "out_root=${hydra:runtime.output_dir}/runs"]
    assert train.main(overrides) == 0
    assert not HydraConfig.initialized()
    monkeypatch.setattr(train, "_PLAIN_RUN", {"mode": ...})  # equals no setting
    assert train.main(overrides) == 0
    (plain, _), (by_hydra, _) = runs
    assert plain == by_hydra
    assert (plain.run_name, plain.out_root) == ("train", f"{Path.cwd()}/runs")


def test_settings_of_hydra_are_applied(runs: Runs) -> None:
    assert train.main(["+hydra.job.env_set.VEXP_TEST_SETTING=set"]) == 0
    assert runs[0][1]["VEXP_TEST_SETTING"] == "set"
