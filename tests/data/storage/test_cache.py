"""The cache of local copies."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vexp.core.errors import UserError
from vexp.data.storage import cache
from vexp.data.storage.cache import cache_limit, local_copy


def copy_of(name: str, size: int = 1000, **options: Any) -> cache.LocalCopy:
    return local_copy(
        f"{name}.mp4", name, size, **{"pieces": lambda: iter([name.encode() * (size // len(name))])} | options
    )


def files(storage: Path) -> list[Path]:
    return [path for path in (storage / "files").rglob("*") if path.is_file() and path.name != ".lock"]


def test_local_copy_is_written_once_with_the_ending_of_its_name(storage: Path) -> None:
    calls = []

    def pieces() -> Iterator[bytes]:
        calls.append(1)
        yield b"abc"
        yield b"de"

    for _ in range(2):
        copy = local_copy("https://host/secret.mp4", "key", 5, pieces)
        assert copy.path.read_bytes() == b"abcde"
    assert calls == [1]
    assert [path.suffix for path in files(storage)] == [".mp4"]
    assert "secret" not in str(copy.path)


@pytest.mark.parametrize(
    "failure", [b"short", OSError(28, "No space left on device"), UserError("the server"), KeyError()]
)
def test_local_copy_incomplete_leaves_nothing(failure: Any, storage: Path) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"short"
        if isinstance(failure, Exception):
            raise failure

    with pytest.raises(KeyError if isinstance(failure, KeyError) else UserError):
        copy_of("a", pieces=pieces)
    assert files(storage) == []
    assert copy_of("a").path.is_file()


def test_least_recently_used_copies_are_deleted(storage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VEXP_CACHE_SIZE", "0.00001")  # 10 kB
    paths = {name: copy_of(name).path for name in "abcdefghij"}
    for age, name in enumerate("jihgfedcba"):  # "a" is the oldest
        os.utime(paths[name], (time.time() - 100 * age,) * 2)
    copy_of("a")  # now used last
    copy_of("k")
    left = {name for name, path in paths.items() if path.exists()}
    assert "a" in left
    assert "b" not in left
    assert sum(path.stat().st_size for path in files(storage)) <= 10_000


def test_copy_in_use_is_not_deleted(storage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VEXP_CACHE_SIZE", "0.000003")
    used = copy_of("used")
    for name in "abcdef":
        copy_of(name)
        assert used.path.exists()
        assert sum(path.stat().st_size for path in files(storage)) <= 3000
    several = [copy_of("g"), copy_of("h")]
    with pytest.raises(UserError, match="all files of the cache are in use; set VEXP_CACHE_SIZE"):
        copy_of("i")
    del used, several
    assert copy_of("i").path.exists()


def test_remains_of_killed_processes_are_deleted(storage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VEXP_CACHE_SIZE", "0.000003")
    copy = copy_of("a")
    remains, current = (copy.path.with_name(f".{name}.mp4.1-1.tmp") for name in ("remains", "current"))
    for path in (remains, current):
        path.write_bytes(bytes(1000))
    os.utime(remains, (time.time() - 7200,) * 2)
    copy_of("b")
    assert (remains.exists(), current.exists()) == (False, True)


@pytest.mark.parametrize("text", ["0", "-1", "many", "nan", "1e400"])
def test_cache_limit_rejects(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VEXP_CACHE_SIZE", text)
    with pytest.raises(UserError, match="must be a positive number"):
        cache_limit()


def _fill(number: int) -> int:
    wrong = 0
    for index in range(60):
        name = f"{(index * 7 + number) % 20:02}"
        copy = copy_of(name)
        wrong += copy.path.read_bytes() != name.encode() * 500
    return wrong


def test_processes_share_the_cache(storage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four processes read 20 files through a cache that holds 12: every copy is whole, and the limit is kept."""
    monkeypatch.setenv("VEXP_CACHE_SIZE", "0.000012")
    with multiprocessing.get_context("fork").Pool(4) as pool:
        assert pool.map(_fill, range(4)) == [0, 0, 0, 0]
    assert sum(path.stat().st_size for path in files(storage)) <= 12_000
