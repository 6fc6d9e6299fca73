"""A small collection of videos with numbered frames, and ``vexp dataset`` in this process."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from support import encode as encoder

from vexp.__main__ import main


@pytest.fixture(scope="session")
def encode() -> ModuleType:
    """The module that encodes the videos of the tests."""
    return encoder


@pytest.fixture(scope="session")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """run/a_g1.mp4 (20 frames), run/b_g1.mp4 (21), run/c_g2.avi (22), jump/d_g3.mp4 (23), jump/e_g4.mp4 (24)."""
    folder = tmp_path_factory.mktemp("collection")
    for number, name in enumerate(["run/a_g1.mp4", "run/b_g1.mp4", "run/c_g2.avi", "jump/d_g3.mp4", "jump/e_g4.mp4"]):
        (folder / name).parent.mkdir(exist_ok=True)
        coding = {"codec": "mpeg4", "b_frames": 0} if name.endswith("avi") else {}
        encoder.write_video(folder / name, frames=20 + number, **coding)
    return folder


@pytest.fixture
def videos(collection: Path, tmp_path: Path) -> Path:
    """Return a copy of the collection that a test may change."""
    return Path(shutil.copytree(collection, tmp_path / "videos"))


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Run ``vexp dataset`` in this process; return exit status and output."""

    def call(name: str, *arguments: object, workers: int = 0) -> tuple[int, str]:
        worker_options = [] if name == "lists" else ["--workers", str(workers)]
        status = main(["dataset", name, *map(str, arguments), *worker_options])
        output = capsys.readouterr()
        return status, output.out + output.err

    return call
