"""Videos for the tests of this room, each written once a session."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support import videos


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The file of a video by its name in ``videos.VIDEOS`` or ``videos.ROTATED``; not to be changed."""
    made: dict[str, Path] = {}

    def make(name: str) -> Path:
        if name not in made:
            made[name] = videos.make(name, tmp_path_factory.mktemp(name))
        return made[name]

    return make
