from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from encode import write_video

from vexp.data.packet_index import PacketIndex, scan_packets

# Frames shown at 0, 10, ..., 190; key frames at 0, 60 (with leading pictures before it), 120.
INDEX = PacketIndex(pts=np.arange(0, 200, 10), keys=np.array([0, 60, 120]), reorder_depth=2)


@pytest.mark.parametrize(
    ("frames", "length"),
    [
        ([3], 1),
        ([0, 5], 2),  # same GOP
        ([0, 1, 5, 6], 4),  # next GOP, directly ahead
        ([3, 6], 2),  # next GOP, 2 frames decoded in vain: as many as a seek throws away
        ([2, 6], 1),  # 3 in vain
        ([2, 11], 1),  # far into the next GOP: what counts is the way to its key frame
        ([0, 12], 1),  # a distant GOP
    ],
)
def test_run_length(frames: list[int], length: int) -> None:
    assert INDEX.run_length(frames) == length


def test_leading_pictures_belong_to_the_key_frame_before() -> None:
    assert [INDEX.key_number(frame) for frame in (0, 5, 6, 11, 12, 19)] == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize(
    ("depth", "video"),
    [
        (0, {"b_frames": 0}),
        (1, {"b_frames": 1, "x264_params": "b-adapt=0"}),
        (2, {"b_frames": 3, "x264_params": "b-adapt=0"}),  # a pyramid: B-frames predicted from a B-frame
    ],
)
def test_reorder_depth(depth: int, video: dict[str, Any], tmp_path: Path) -> None:
    with av.open(str(write_video(tmp_path / "v.mp4", **video))) as container:
        index = scan_packets(container, container.streams.video[0])
    assert index is not None
    assert index.reorder_depth == depth
