"""The cache of proxies: what is written, checked, replaced, kept within a size and refused."""

from __future__ import annotations

import os
import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from support.encode import write_video
from support.run_files import flip_bit

from vexp.core.errors import UserError
from vexp.data.annotations.annotation import Annotation
from vexp.data.decoding.proxy_reader import ProxyReader
from vexp.data.decoding.pyav import VideoReader
from vexp.data.loading.proxy_writer import Budget, Task, write_proxies
from vexp.data.sources.base import VideoSource
from vexp.data.sources.proxies import Proxies, ProxyCache, Record

FRAMES = 16


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of 80x48 at 30 frames per second: a Matroska file rounds their times."""
    path, image = tmp_path_factory.mktemp("videos") / "v.mp4", np.zeros((48, 80, 3), np.uint8)
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.codec_context.thread_count = 80, 48, 1
        for number in range(FRAMES):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(image + 10 * number, format="rgb24")))
        output.mux(stream.encode(None))
    return path


@pytest.fixture
def cache(tmp_path: Path) -> ProxyCache:
    return ProxyCache(tmp_path / "proxies", 32)


def test_proxy_has_frames_and_times_of_its_original(video: Path, cache: ProxyCache) -> None:
    record, is_new = cache.ensure(str(video))
    assert is_new
    with VideoReader(video) as before, ProxyReader(cache.path(str(video))) as after:
        assert (after.num_frames, after.height) == (FRAMES, 32)
        assert after.fps == before.fps
        assert before.times is not None
        np.testing.assert_array_equal(after.times, before.times)
    sizes = [path.stat().st_size for path in cache.folder.rglob("*") if path.suffix in (".mkv", ".index", ".npy")]
    assert record.size == sum(sizes)


def test_segment_of_proxy_has_the_frames_of_the_original(video: Path, cache: ProxyCache) -> None:
    with VideoReader(video) as reader:
        times = reader.times
    assert times is not None
    segment = np.array([[times[3], times[9]]])  # the boundaries are times of frames, which Matroska rounds
    rows = Annotation.pack([str(video)], [0], ["a"])
    rows.segments = segment
    source = VideoSource(rows)
    with source.open(0) as reader:
        expected = reader.num_frames
    source.proxies = Proxies.of(cache, source.videos(), [cache.ensure(str(video))[0]])
    with source.take(np.array([0])).open(0) as reader:
        assert (reader.num_frames, reader.height) == (expected, 32) == (6, 32)


def _touch(video: Path, cache: ProxyCache) -> None:
    os.utime(video, ns=(1, 1))


def _change(video: Path, cache: ProxyCache) -> None:
    write_video(video, frames=FRAMES + 1)


def _damage(video: Path, cache: ProxyCache) -> None:
    flip_bit(cache.path(str(video)))


def _damage_times(video: Path, cache: ProxyCache) -> None:
    flip_bit(next(cache.folder.rglob("*.npy")))


def _kill(video: Path, cache: ProxyCache) -> None:
    """As after a kill between the proxy and its record, and one while another proxy was written."""
    path = cache.path(str(video))
    path.with_suffix(".json").write_text('{"original')
    path.with_name(f".{path.name}.1.tmp").touch()


@pytest.mark.parametrize(
    ("event", "is_replaced"), [(_touch, False), (_change, True), (_damage, True), (_damage_times, True), (_kill, True)]
)
def test_proxy_is_replaced_unless_original_and_copy_are_intact(
    event: Callable[[Path, ProxyCache], None], is_replaced: bool, video: Path, cache: ProxyCache, tmp_path: Path
) -> None:
    copy = Path(shutil.copy(video, tmp_path))
    first, _ = cache.ensure(str(copy))
    event(copy, cache)
    second, is_new = cache.ensure(str(copy))
    assert is_new == is_replaced
    assert (second.sha256 == first.sha256) == (event is not _change)
    assert second.original_mtime_ns == copy.stat().st_mtime_ns
    assert cache.ensure(str(copy)) == (second, False)
    assert not list(cache.folder.rglob("*.tmp"))


def _write(cache: ProxyCache, videos: list[Path], limit: int = 10**9) -> list[dict[str, Any]]:
    task = Task(str(cache.root), cache.short_side, limit, [str(path) for path in videos])
    return list(write_proxies(task, workers=0))


def test_proxies_beyond_the_limit_are_not_kept(video: Path, cache: ProxyCache, tmp_path: Path) -> None:
    videos = [Path(shutil.copy(video, tmp_path / f"{number}.mp4")) for number in range(4)]
    size = cache.ensure(str(videos[0]))[0].size
    lines = _write(cache, videos, limit=2 * size + 1)
    assert lines[-1] == {"count": 2}
    assert [line["number"] for line in lines[:-1]] == [0, 1, 2]  # the third one exceeds the limit
    assert [cache.path(str(path)).exists() for path in videos] == [True, True, False, False]
    before = ProxyCache(cache.root, cache.short_side).ensure(str(videos[3]))
    assert before[1]
    _write(cache, videos, limit=size)
    assert cache.path(str(videos[3])).exists()  # of another data set


def test_video_that_cannot_be_read_has_no_proxy(video: Path, cache: ProxyCache, tmp_path: Path) -> None:
    damaged, missing = tmp_path / "damaged.mp4", tmp_path / "missing.mp4"
    damaged.write_bytes(b"no video")
    lines = _write(cache, [damaged, missing, video])
    assert [str(path) in line["error"] for path, line in zip([damaged, missing], lines, strict=False)] == [True, True]
    assert ("record" in lines[2], lines[3]) == (True, {"count": 3})


def test_full_disk_ends_the_writing(video: Path, cache: ProxyCache, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**12, 10**12, 10**8))
    with pytest.raises(UserError, match=r"less than 1 GB is free on its disk.*free disk space"):
        _write(cache, [video])


def test_read_only_cache_is_used_if_it_is_complete(
    video: Path, cache: ProxyCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.ensure(str(video))
    other = Path(shutil.copy(video, tmp_path / "other.mp4"))
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert _write(cache, [video])[-1] == {"count": 1}
    with pytest.raises(UserError, match="cannot be written; set VEXP_CACHE=FOLDER"):
        _write(cache, [video, other])


@pytest.mark.parametrize(
    ("sizes", "limit", "count"),
    [([5, 5, 5], 15, 3), ([5, 5, 5], 14, 2), ([9, 1, 1], 8, 0), ([0, 5, 0, 9, 1], 5, 3), ([], 5, 0)],
)
def test_budget_counts_the_first_videos_in_any_order(sizes: list[int], limit: int, count: int) -> None:
    for order in (range(len(sizes)), reversed(range(len(sizes)))):
        budget = Budget(len(sizes), limit)
        for number in order:
            budget.add(number, sizes[number])
        assert (budget.count, budget.is_full) == (count, count < len(sizes))


def test_proxies_find_only_their_videos(cache: ProxyCache) -> None:
    record = Record("", 1, 1, "", 10, "ab")
    proxies = Proxies.of(cache, ["a", "b", "c"], [record, None, record])
    assert (len(proxies), proxies.size) == (2, 20)
    assert [proxies.find(video) is not None for video in "abcd"] == [True, False, True, False]
    assert proxies.digest != Proxies.of(cache, ["a", "b", "c"], [record, record, None]).digest
