from __future__ import annotations

import numpy as np
import pytest

from vexp.data.decoding.packet_index import PacketIndex

# Frames shown at 0, 10, ..., 190; key frames at 0, 60 (with leading pictures before it), 120.
INDEX = PacketIndex(pts=np.arange(0, 200, 10), keys=np.array([0, 60, 120]))


@pytest.mark.parametrize(
    ("frames", "ends"),
    [
        ([3], [1]),
        ([0, 5], [2]),  # same GOP
        ([0, 1, 5, 6], [4]),  # next GOP, directly ahead
        ([4, 6], [2]),  # next GOP, one frame decoded in vain: as dear as a seek
        ([3, 6], [1, 2]),  # 2 in vain
        ([2, 11], [1, 2]),  # far into the next GOP: what counts is the way to its key frame
        ([0, 12], [1, 2]),  # a distant GOP
        ([0, 1, 6, 7, 12], [2, 4, 5]),  # every GOP for itself
    ],
)
def test_run_ends_seeks_where_it_is_cheaper(frames: list[int], ends: list[int]) -> None:
    assert INDEX.run_ends(frames) == ends


def test_key_number_of_leading_frames_is_the_previous_key() -> None:
    assert [INDEX.key_number(frame) for frame in (0, 5, 6, 11, 12, 19)] == [0, 0, 1, 1, 2, 2]
