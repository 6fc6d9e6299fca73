"""A hub for the pages, in the tests of this folder only: the configurations of the models that their commands name."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.huggingface import fake_hub


@pytest.fixture(scope="module", autouse=True)
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        fake_hub(tmp_path_factory.mktemp("hub"), patch)
        yield
