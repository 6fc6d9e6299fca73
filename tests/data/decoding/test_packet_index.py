from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from vexp.data.decoding.packet_index import PacketIndex

# Frames shown at 0, 10, ..., 190; key frames at 0, 60 (with leading pictures before it), 120.
INDEX = PacketIndex(pts=np.arange(0, 200, 10), keys=np.array([0, 60, 120]), has_leading=True)
#: A GOP of 12 frames, 300 frames, without leading pictures.
CLOSED = PacketIndex(pts=np.arange(300), keys=np.arange(0, 300, 12))
#: The same with a GOP of 250.
LONG = PacketIndex(pts=np.arange(600), keys=np.array([0, 250, 500]))


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


@pytest.mark.parametrize(
    ("index", "frames", "ends"),
    [
        (CLOSED, [3, 11, 12, 20], [4]),
        (CLOSED, [0, 25, 50, 75], [4]),  # the packets between are read, not decoded
        (CLOSED, [0, 108], [1, 2]),  # 107 packets: a seek is cheaper
        (CLOSED, [0, 100], [2]),  # to the key frame at 96
        (LONG, [10, 249, 250], [3]),
        (LONG, [10, 251], [1, 2]),
        (LONG, [200, 240, 300], [3]),  # 9 packets to the key frame at 250
    ],
)
def test_run_ends_skips_packets_where_gops_are_closed(index: PacketIndex, frames: list[int], ends: list[int]) -> None:
    assert index.can_skip
    assert index.run_ends(frames) == ends


def test_wanted_in_gops_counts_frames_of_each() -> None:
    assert CLOSED.wanted_in_gops([3, 11, 12, 40]) == {0: 2, 12: 1, 36: 1}


@pytest.mark.parametrize("changed", [{"keys_restart": False}, {"has_leading": True}, {"hides_frames": True}])
def test_packets_are_not_skipped_where_frames_depend_on_them(changed: dict[str, bool]) -> None:
    assert not replace(CLOSED, **changed).can_skip


def test_key_number_of_leading_frames_is_the_previous_key() -> None:
    assert [INDEX.key_number(frame) for frame in (0, 5, 6, 11, 12, 19)] == [0, 0, 1, 1, 2, 2]
