"""The packet index beside a video: as good as reading the packets, and never of another video."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.encode import write_video

from vexp.data.decoding import container
from vexp.data.decoding.index_file import index_path, load_index, save_index
from vexp.data.decoding.pyav import VideoReader
from vexp.data.decoding.video_info import VideoInfo


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """MJPEG with its index beside it, under a name that no reader of this process has seen."""
    first = write_video(tmp_path / "first.mkv", codec="mjpeg", pix_fmt="yuvj420p", gop=1, b_frames=0, frames=30)
    path = tmp_path / "video.mkv"
    with VideoReader(first) as reader:
        save_index(first, reader.file, index_path(path))
    return first.rename(path)


def scans(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What grows with every reading of the packets of a whole file."""
    found: list[object] = []
    describe = container.describe

    def spy(*arguments: object) -> VideoInfo:
        found.append(arguments)
        return describe(*arguments)

    monkeypatch.setattr(container, "describe", spy)
    return found


def test_reader_with_an_index_does_not_scan_packets(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scanned = scans(monkeypatch)
    other = video.with_name("other.mkv")
    other.write_bytes(video.read_bytes())  # no index beside it
    with VideoReader(video) as by_index, VideoReader(other) as by_packets:
        assert len(scanned) == 1
        assert by_index.num_frames == 30
        assert by_index.fps == by_packets.fps
        np.testing.assert_array_equal(by_index.times, by_packets.times)
        np.testing.assert_array_equal(by_index.frames([3, 17, 29]), by_packets.frames([3, 17, 29]))
        assert by_index.decoded == 3


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content[:-8],  # a time is missing
        lambda content: content[:40],  # cut off in the header
        lambda content: b"",
        lambda content: content.replace(b'"version": 2', b'"version": 9'),
        lambda content: content.replace(b'"frames": 30', b'"frames": 31'),
        lambda content: b"[1]" + content[content.index(b"\n") :],
        lambda content: content.replace(b'"has_leading"', b'"leads"'),
    ],
)
def test_damaged_index_is_ignored(video: Path, change: object, monkeypatch: pytest.MonkeyPatch) -> None:
    path = index_path(video)
    changed = change(path.read_bytes())  # type: ignore[operator]
    assert changed != path.read_bytes()
    path.write_bytes(changed)
    scanned = scans(monkeypatch)
    with VideoReader(video) as reader:
        assert reader.num_frames == 30
    assert len(scanned) == 1


def test_index_of_other_content_is_ignored(video: Path) -> None:
    assert load_index(video, video.stat()) is not None
    content = bytearray(video.read_bytes())
    content[-1] ^= 1
    video.write_bytes(content)
    assert load_index(video, video.stat()) is None
    write_video(video, codec="mjpeg", pix_fmt="yuvj420p", gop=1, b_frames=0, frames=20)
    with VideoReader(video) as reader:
        assert reader.num_frames == 20
