"""Frames one at a time are the frames all at once."""

import numpy as np
import pytest

from vexp.core.errors import UserError
from vexp.data.decoding.frame_stream import FrameReader, FrameStream
from vexp.data.sources.base import ArrayReader, SegmentReader, read_frames
from vexp.data.transforms.resample import render_views
from vexp.data.transforms.view import View

VIDEO = np.random.default_rng(0).integers(0, 256, (9, 12, 16, 3), dtype=np.uint8)


class OneByOne(FrameReader):
    """A reader that notes which frames have been asked for; each lies in the same memory as the one before."""

    num_frames, fps = len(VIDEO), 10

    def __init__(self, video):
        super().__init__("v.mp4")
        self.video, self.asked = video, []
        self.memory = np.empty(video.shape[1:], np.uint8)

    def iter_frames(self, numbers):
        for number in numbers:
            self.asked.append(number)
            self.memory[...] = self.video[number]
            yield self.memory

    def _frame_size(self):
        return self.video.shape[1:3]


@pytest.mark.parametrize("indices", [[0], [3, 5, 8], [5, 3, 3, 8, 0], []])
def test_frames_in_any_order_are_decoded_once(indices):
    reader = OneByOne(VIDEO)
    np.testing.assert_array_equal(reader.frames(indices), VIDEO[np.array(indices, int)])
    assert reader.asked == sorted(set(indices))


@pytest.mark.parametrize("indices", [[[1, 2]], [0.5], "12"])
def test_frames_rejects_other_indices(indices):
    with pytest.raises(ValueError, match="flat list of integers"):
        OneByOne(VIDEO).frames(indices)


def test_render_views_of_a_stream_equals_the_array():
    whole = View.whole(16, 12)
    views = [whole.cropped(2, 1, 8, 8).resized(6, 6), whole.resized(32, 24).cropped(3, 3, 6, 6).flipped()]
    numbers = np.array([0, 4, 7])
    film = read_frames(OneByOne(VIDEO), numbers)
    assert film.shape == (3, 12, 16, 3)
    np.testing.assert_array_equal(render_views(film, views), render_views(VIDEO[numbers], views))


def test_render_views_of_a_short_stream_raises():
    with pytest.raises(ValueError, match="shorter"):
        render_views(FrameStream.of(iter(VIDEO[:2]), 3), [View.whole(16, 12)])


@pytest.mark.parametrize("reader", [OneByOne(VIDEO), ArrayReader(VIDEO, fps=10)], ids=["film", "array"])
def test_segment_streams_its_frames(reader):
    segment = SegmentReader("v", reader, 0.3, 0.7)
    assert segment.num_frames == 4
    shown = [picture.copy() for picture in read_frames(segment, np.array([0, 2, 3]))]
    np.testing.assert_array_equal(shown, VIDEO[[3, 5, 6]])
    with pytest.raises(UserError, match=r"outside 0\.\.3"):
        read_frames(segment, np.array([4]))


def test_check_range_names_the_index():
    with pytest.raises(UserError, match=r"v\.mp4: frame index 9 is out of range: the video has 9 frames"):
        OneByOne(VIDEO).check_range([3, 9])
