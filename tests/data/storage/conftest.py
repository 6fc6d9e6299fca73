"""A cache of its own for each test, and a server that takes no time to give up on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.file_server import FileServer, serving

from vexp.data.storage import archives, cache, remote


@pytest.fixture(autouse=True)
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of the cache of this test."""
    monkeypatch.setenv("VEXP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(remote, "PAUSE", 0.01)
    monkeypatch.setattr(cache, "_uncounted", 0)
    yield tmp_path / "cache" / "storage"
    forget()


def forget() -> None:
    """Forget what a process remembers, as a new one."""
    archives.open_archives.cache_clear()
    remote.file_status.cache_clear()
    remote.names.cache_clear()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FileServer]:
    """A server of the folder ``served``."""
    (tmp_path / "served").mkdir()
    with serving(tmp_path / "served") as running:
        yield running
