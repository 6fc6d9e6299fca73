"""The configuration is composed as by a command."""

import pytest


@pytest.fixture(scope="module", autouse=True)
def _by_hydra(composed_by_hydra: None) -> None:
    pass
