"""Segments of a video, and some samples of a source."""

from pathlib import Path

import numpy as np
import pytest
from support.encode import read_number, write_video

from vexp.core.errors import UserError
from vexp.data.annotations.annotation import Annotation
from vexp.data.annotations.packed import PackedStrings
from vexp.data.sources.base import ArrayReader, SegmentReader, Subset, VideoSource, subset

NAN = float("nan")


def source(path: Path, *segments: tuple[float, float]) -> VideoSource:
    count = len(segments)
    labels = np.arange(count, dtype=np.int32)
    rows = Annotation(
        PackedStrings.pack([path.name] * count), labels, [str(i) for i in range(count)], str(path.parent),
        segments=np.array(segments),
    )  # fmt: skip
    return VideoSource(rows)


def test_a_segment_is_a_video_of_its_own(tmp_path: Path) -> None:
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


def test_a_segment_beyond_the_video_is_refused(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", frames=10)
    videos = source(path, (5.0, 6.0), (0.1, 0.3))
    with pytest.raises(UserError, match=r"a\.mp4: no frame lies in its segment 5\.\.6 s, the last is at 0\.36 s"):
        videos.open(0).__enter__()
    with videos.open(1) as reader, pytest.raises(UserError, match=r"frames 0\.\.5 are not all in 0\.\.4"):
        reader.frames(np.array([0, 5]))  # frame 5 of the segment would be frame 8 of the file


class Timed(ArrayReader):
    """A reader that knows its times."""

    def __init__(self, times: list[float]) -> None:
        ArrayReader.__init__(self, np.arange(len(times), dtype=np.uint8).repeat(3).reshape(-1, 1, 1, 3))
        self.times = np.array(times)


def test_the_times_of_a_file_decide_where_they_are_known() -> None:
    reader = SegmentReader("a.mkv", Timed([0.0, 0.1, 1.0, 1.9, 2.0]), 0.1, 2.0)
    assert reader.frames(np.arange(reader.num_frames))[:, 0, 0, 0].tolist() == [1, 2, 3]
    np.testing.assert_allclose(reader.times, [0.0, 0.9, 1.8])


def test_without_times_and_rate_there_is_no_segment() -> None:
    plain = ArrayReader(np.zeros((4, 2, 2, 3), np.uint8))
    with pytest.raises(UserError, match=r"does not say its frame rate, so its segment 0\.\.1 s cannot be found"):
        SegmentReader("a.npy", plain, 0.0, 1.0)


def test_a_source_may_take_its_samples_itself(tmp_path: Path) -> None:
    videos = source(tmp_path / "a.mp4", (0.0, 1.0), (1.0, 2.0), (2.0, 3.0))
    taken, viewed = subset(videos, np.array([2, 0])), Subset(videos, np.array([2, 0]))
    assert isinstance(taken, VideoSource)
    for part in (taken, viewed):
        assert ([part.name(i) for i in range(len(part))], part.labels.tolist()) == (["a.mp4", "a.mp4"], [2, 0])
    assert taken.annotation.segment(0) == (2.0, 3.0)
