"""Sources: segments of videos, subsets, and optional members."""

from pathlib import Path

import numpy as np
import pytest
from support.encode import read_number, write_video

from vexp.core.errors import UserError
from vexp.data.annotations.annotation import Annotation
from vexp.data.annotations.packed import PackedStrings
from vexp.data.sources.base import ArrayReader, SegmentReader, Subset, VideoSource, complete_source

NAN = float("nan")


def source(path: Path, *segments: tuple[float, float]) -> VideoSource:
    count = len(segments)
    labels = np.arange(count, dtype=np.int32)
    rows = Annotation(
        PackedStrings.pack([path.name] * count), labels, [str(i) for i in range(count)], str(path.parent),
        segments=np.array(segments),
    )  # fmt: skip
    return VideoSource(rows)


def test_video_source_segment_contains_its_frames(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", frames=60)  # 25 frames a second: frame n is shown at n / 25 s
    segments = [
        ((1.0, 2.0), range(25, 50)),  # the first at its start, none at its end
        ((0.99, 1.01), range(25, 26)),
        ((NAN, 0.2), range(5)),
        ((2.2, NAN), range(55, 60)),
        ((NAN, NAN), range(60)),  # no segment
        ((2.2, 99.0), range(55, 60)),  # a list may round the end up
    ]
    videos = source(path, *(segment for segment, _ in segments))
    for index, (_, expected) in enumerate(segments):
        with videos.open(index) as reader:
            frames = reader.frames(np.arange(reader.num_frames))
            assert [read_number(frame) for frame in frames] == list(expected)
            assert (reader.height, reader.width) == (48, 80)


def test_video_source_segment_beyond_end_raises(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", frames=10)
    videos = source(path, (5.0, 6.0), (0.1, 0.3))
    with pytest.raises(UserError, match=r"a\.mp4: no frame lies in its segment 5\.\.6 s, the last frame is at 0\.36 s"):
        videos.open(0).__enter__()
    with videos.open(1) as reader, pytest.raises(UserError, match=r"frame indices 0\.\.5 are outside 0\.\.4"):
        reader.frames(np.array([0, 5]))  # frame 5 of the segment would be frame 8 of the file


class Timed(ArrayReader):
    """A reader that knows its times."""

    def __init__(self, times: list[float]) -> None:
        ArrayReader.__init__(self, np.arange(len(times), dtype=np.uint8).repeat(3).reshape(-1, 1, 1, 3))
        self.times = np.array(times)


def test_segment_reader_uses_times_of_file() -> None:
    reader = SegmentReader("a.mkv", Timed([0.0, 0.1, 1.0, 1.9, 2.0]), 0.1, 2.0)
    assert reader.frames(np.arange(reader.num_frames))[:, 0, 0, 0].tolist() == [1, 2, 3]
    np.testing.assert_allclose(reader.times, [0.0, 0.9, 1.8])


def test_segment_reader_without_times_and_fps_raises() -> None:
    plain = ArrayReader(np.zeros((4, 2, 2, 3), np.uint8))
    with pytest.raises(UserError, match=r"no frame rate, so its segment 0\.\.1 s"):
        SegmentReader("a.npy", plain, 0.0, 1.0)


def test_listed_source_take_keeps_annotation(tmp_path: Path) -> None:
    videos = source(tmp_path / "a.mp4", (0.0, 1.0), (1.0, 2.0), (2.0, 3.0))
    taken, viewed = videos.take(np.array([2, 0])), Subset(videos, np.array([2, 0]))
    assert isinstance(taken, VideoSource)
    for part in (taken, viewed):
        assert ([part.name(i) for i in range(len(part))], part.labels.tolist()) == (["a.mp4", "a.mp4"], [2, 0])
    assert taken.annotation.segment(0) == (2.0, 3.0)


class DuckSource:
    """A source that does not inherit from ``Source``, as custom datasets may."""

    labels, classes, origin = np.array([1, 0, 1]), ["a", "b"], "my list"

    def __len__(self) -> int:
        return 3

    def name(self, index: int) -> str:
        return f"{index}.npy"

    def open(self, index: int) -> ArrayReader:
        return ArrayReader(np.full((2, 4, 4, 3), index, np.uint8))


def test_complete_source_adds_missing_members() -> None:
    source = complete_source(DuckSource())
    assert (source.multi_label, source.groups, source.origin, source.backend) == (False, None, "my list", "")
    assert complete_source(source) is source
    part = source.take(np.array([2, 1]))
    assert ([part.name(i) for i in range(len(part))], part.labels.tolist()) == (["2.npy", "1.npy"], [1, 0])
    with part.open(0) as reader:
        assert reader.frames([0]).max() == 2
    assert source.fingerprint(1) == "1.npy"


def test_complete_source_keeps_own_members() -> None:
    class Fingerprinted(DuckSource):
        def fingerprint(self, index: int) -> str:
            return f"content of {index}"

    assert complete_source(Fingerprinted()).fingerprint(1) == "content of 1"
