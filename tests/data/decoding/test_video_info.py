"""What a process keeps of the files that it has opened: facts, found out once, within a bound."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from support.encode import read_number, write_video
from support.videos import IRREGULAR

from vexp.core.errors import UserError
from vexp.data.decoding import video_info
from vexp.data.decoding.packet_index import PacketIndex
from vexp.data.decoding.pyav import VideoReader
from vexp.data.decoding.video_info import VideoInfo, VideoInfoCache


@pytest.fixture(autouse=True)
def recent(monkeypatch: pytest.MonkeyPatch) -> VideoInfoCache:
    fresh = VideoInfoCache()
    monkeypatch.setattr("vexp.data.decoding.pyav.VIDEO_INFO_CACHE", fresh)
    return fresh


@pytest.mark.parametrize(("name", "decodes"), [("h264_gop12", 0), ("mpeg4_avi", 60)])
def test_second_reader_uses_the_cache(name: str, decodes: int, video: Callable[[str], Path]) -> None:
    with VideoReader(video(name)) as first:
        assert (first.num_frames, first.width) == (60, 80)
        assert first.decoded >= decodes
    with VideoReader(video(name)) as second:
        assert (second.num_frames, second.width, second.height, second.fps) == (60, 80, 48, 25)
        assert second.decoded == 0
        assert read_number(second.frames([7])[0]) == 7
        assert second.file is first.file


def test_count_after_a_failed_request_is_cached(video: Callable[[str], Path]) -> None:
    with VideoReader(video("mpeg4_avi")) as reader:
        with pytest.raises(UserError, match="index 99 is out of range"):
            reader.frames([99])  # the whole file was decoded to find out
        before = reader.decoded
        assert reader.num_frames == 60
        assert reader.decoded == before


def test_changed_file_is_not_taken_from_the_cache(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", frames=5)
    with VideoReader(path) as reader:
        assert reader.num_frames == 5
    write_video(path, frames=9)
    with VideoReader(path) as reader:
        assert reader.num_frames == 9
        before = reader.file
    with VideoReader(path, strict=True) as reader:
        assert reader.file is not before
    os.utime(path, ns=(0, 0))
    with VideoReader(path) as reader:
        assert reader.file is not before


def facts(frames: int) -> VideoInfo:
    index = PacketIndex(np.arange(frames), np.array([0]), 0)
    return VideoInfo(
        demuxer="mov", stream=0, video_streams=[0], time_base=Fraction(1, 25), start=0, fps=25.0, index=index
    )


def test_cache_memory_is_bounded(monkeypatch: pytest.MonkeyPatch, recent: VideoInfoCache) -> None:
    monkeypatch.setattr(video_info, "MEMORY", 1 << 20)
    tracemalloc.start()
    for number in range(3000):
        recent.put((str(number), 0, 0, False), facts(300))
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert used < 2 << 20  # nbytes is an estimate, but no fiction
    assert len(recent) < 400
    assert recent.get(("2999", 0, 0, False)) is not None
    assert recent.get(("0", 0, 0, False)) is None
    recent.put(("huge", 0, 0, False), facts(1 << 20))  # more than there is room for
    assert len(recent) == 0


def test_cache_keeps_recently_used_files(monkeypatch: pytest.MonkeyPatch, recent: VideoInfoCache) -> None:
    monkeypatch.setattr(video_info, "MEMORY", 3 * facts(300).nbytes)
    for name in "abc":
        recent.put((name, 0, 0, False), facts(300))
    recent.get(("a", 0, 0, False))
    recent.put(("c", 0, 0, False), facts(300))  # again: no second entry
    recent.put(("d", 0, 0, False), facts(300))
    assert [name for name in "abcd" if recent.get((name, 0, 0, False))] == ["a", "c", "d"]


# (video, seconds of its frames)
TIMES = [
    ("h264_gop12", np.arange(60) / 25),
    ("starts_later", np.arange(60) / 25),  # from the first frame, not from the start of the file
    ("edit_list", np.arange(55) / 25),  # hidden frames have no time
    ("mpeg4_avi", np.arange(60) / 25),  # AVI stores none: number over rate
    ("mpeg4_avi_packed", np.arange(60) / 25),
    ("h264_ts", np.arange(60) / 25),  # counted, but times are stored
    ("h264_ts_mid_gop", np.arange(48) / 25),
]


@pytest.mark.parametrize(("name", "seconds"), TIMES, ids=[name for name, _ in TIMES])
def test_times_start_at_the_first_frame(name: str, seconds: np.ndarray, video: Callable[[str], Path]) -> None:
    with VideoReader(video(name)) as reader:
        np.testing.assert_allclose(reader.times, seconds, atol=1e-4)


def test_times_that_do_not_ascend_are_replaced(tmp_path: Path) -> None:
    first, second = write_video(tmp_path / "1.ts", frames=20), write_video(tmp_path / "2.ts", frames=10)
    joined = tmp_path / "joined.ts"
    joined.write_bytes(first.read_bytes() + second.read_bytes())
    with VideoReader(joined) as reader:
        assert reader.times is not None
        assert len(reader.times) == 30
        assert (np.diff(reader.times) > 0).all()


def test_times_of_a_variable_rate_are_kept(video: Callable[[str], Path]) -> None:
    with VideoReader(video("h264_variable_rate")) as reader:
        np.testing.assert_allclose(reader.times, (np.array(IRREGULAR) - IRREGULAR[0]) / 25)
