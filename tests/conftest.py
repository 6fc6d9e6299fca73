"""Shared fixtures: a tiny embedded set, made once a session, and the shortest run that has everything in it."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.composing import compose_everything, compose_from_options, composing_with

os.environ["OMP_NUM_THREADS"] = (
    "1"  # before torch: on a busy machine threads that wait for each other cost seconds a step
)

#: Two epochs of 4 steps on 16 small clips, in this process.
TINY = [
    "data.train_clips=2", "data.val_clips=1", "data.batch_size=4", "data.num_workers=0", "model.width=8", "epochs=2",
    "log=text", "log.interval=1", "log.plots=false", "device=cpu",
]  # fmt: skip


@pytest.fixture(scope="session", autouse=True)
def options_composed_once() -> Iterator[None]:
    """Compose each choice of options once in this session."""
    gc.freeze()  # the imported modules and the tests: each full collection would visit a million objects
    with composing_with(compose_from_options):
        yield


@pytest.fixture(scope="module")
def composed_by_hydra() -> Iterator[None]:
    """Compose as a command does, for the tests of the configuration."""
    with composing_with(compose_everything):
        yield


@pytest.fixture(scope="session", autouse=True)
def motion_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache folder of the embedded set, for this session only."""
    folder = tmp_path_factory.mktemp("cache")
    os.environ["VEXP_CACHE"] = str(folder)
    os.environ.pop("VEXP_CONFIG_PATH", None)
    os.environ.pop("HYDRA_FULL_ERROR", None)
    return folder


@pytest.fixture
def tiny() -> list[str]:
    """Overrides of the shortest run."""
    return list(TINY)
