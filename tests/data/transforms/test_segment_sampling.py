"""SegmentFrames: one clip with frames from all segments of the video."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vexp import compose
from vexp.data.transforms.frame_sampling import SampleFrames, SegmentFrames


@pytest.mark.parametrize(
    ("num_frames", "segments", "expected"),
    [
        (80, 8, [5, 15, 25, 35, 45, 55, 65, 75]),  # the middle of eight parts of ten frames
        (8, 8, [0, 1, 2, 3, 4, 5, 6, 7]),  # a frame a part
        (4, 8, [0, 0, 1, 1, 2, 2, 3, 3]),  # a short video: frames twice, in order
        (1, 3, [0, 0, 0]),
    ],
)
def test_segment_frames_test_mode_takes_middle_of_segments(num_frames: int, segments: int, expected: list[int]) -> None:
    sampler = SegmentFrames(segments=segments, test_mode=True)
    assert sampler.indices(num_frames, np.random.default_rng(0)).tolist() == [expected]


@pytest.mark.parametrize("num_frames", [1, 5, 8, 20, 300])
@pytest.mark.parametrize("length", [1, 5])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"test_mode": True},
        {"test_mode": True, "twice_sample": True},
        {"test_mode": True, "test_positions": "ends"},
    ],
)
def test_segment_frames_equal_concatenated_sample_frames(
    num_frames: int, length: int, settings: dict[str, Any]
) -> None:
    sampler = SegmentFrames(segments=8, segment_len=length, **settings)
    parts = SampleFrames(clip_len=length, num_clips=8, **settings)
    clips = sampler.indices(num_frames, np.random.default_rng(1))
    assert clips.shape == (sampler.clips, 8 * length)
    assert np.array_equal(clips.reshape(-1, length), parts.indices(num_frames, np.random.default_rng(1)))
    assert (np.diff(clips[:, ::length], axis=1) >= 0).all()


def test_segment_frames_conflicting_options_raise() -> None:
    with pytest.raises(ValueError, match="conflicts with test_positions=ends"):
        SegmentFrames(segments=8, test_mode=True, twice_sample=True, test_positions="ends")


def test_segment_frames_training_draws_from_every_segment() -> None:
    rng = np.random.default_rng(0)
    drawn = np.concatenate([SegmentFrames(segments=4).indices(40, rng) for _ in range(400)])
    assert [sorted(set(column)) for column in drawn.T.tolist()] == [list(range(s, s + 10)) for s in (0, 10, 20, 30)]


def test_tsn_pipeline_is_composed() -> None:
    pipeline = compose(["pipeline=segments_8_224", "model=tsm_r50"]).pipeline
    assert [pipeline.of(split)["sample"].clips for split in ("train", "val", "test")] == [1, 1, 2]
