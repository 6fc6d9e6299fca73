"""Samplers: mmaction2's recorded test clips, the distribution of training starts, and videos of every length."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf
from support.paths import GOLDEN_DIR

from vexp.core.errors import UserError
from vexp.data.transforms.frame_sampling import DenseSampleFrames, SampleFrames

GOLDEN = json.loads((GOLDEN_DIR / "sampling.json").read_text())


def rng(seed=0):
    return np.random.default_rng(seed)


def drawn_starts(sampler, num_frames, draws=2000):
    """First frames of the clips of many samples: (draws, clips)."""
    generator = rng(3)
    return np.stack([sampler.indices(num_frames, generator)[:, 0] for _ in range(draws)])


def assert_uniform(values, support):
    """Pearson's chi-square within 4 standard deviations of its mean, and nothing outside the support."""
    counts = np.array([np.sum(values == value) for value in support])
    assert counts.sum() == values.size
    expected = values.size / len(support)
    chi_square = np.sum((counts - expected) ** 2 / expected)
    freedom = len(support) - 1
    assert chi_square <= freedom + 4 * np.sqrt(2 * freedom), counts


# ---- test mode: the recorded clips of mmaction2 0.24.1 ----


def test_sample_frames_test_mode_equals_mmaction2():
    for clip_len, interval, num_clips, twice, num_frames, starts in GOLDEN["sample_frames"]:
        sampler = SampleFrames(
            clip_len=clip_len, frame_interval=interval, num_clips=num_clips, twice_sample=twice, test_mode=True
        )
        expected = (np.array(starts)[:, None] + np.arange(clip_len) * interval) % num_frames
        np.testing.assert_array_equal(sampler.indices(num_frames, rng()), expected, err_msg=f"{sampler} {num_frames}")


def test_sample_frames_repeat_last_equals_mmaction2():
    for clip_len, interval, num_clips, num_frames, expected in GOLDEN["repeat_last"]:
        sampler = SampleFrames(
            clip_len=clip_len,
            frame_interval=interval,
            num_clips=num_clips,
            out_of_bound_opt="repeat_last",
            test_mode=True,
        )
        np.testing.assert_array_equal(sampler.indices(num_frames, rng()), expected, err_msg=f"{sampler} {num_frames}")


@pytest.mark.parametrize(("clip_len", "interval"), [(1, 1), (4, 2), (8, 8), (16, 4)])
def test_dense_sample_frames_test_mode_equals_mmaction2(clip_len, interval):
    for num_clips, sample_range, positions, num_frames, starts in GOLDEN["dense_sample_frames"]:
        sampler = DenseSampleFrames(
            clip_len=clip_len,
            frame_interval=interval,
            num_clips=num_clips,
            sample_range=sample_range,
            num_sample_positions=positions,
            test_mode=True,
        )
        expected = (np.array(starts)[:, None] + np.arange(clip_len) * interval) % num_frames
        np.testing.assert_array_equal(sampler.indices(num_frames, rng()), expected, err_msg=f"{sampler} {num_frames}")


@pytest.mark.parametrize("num_frames", [1, 7, 63])  # all shorter than the span of 64
def test_sample_frames_short_video_gives_all_clips(num_frames):
    # On purpose different from mmaction2, which gives num_clips there whatever twice_sample says.
    sampler = SampleFrames(clip_len=16, frame_interval=4, num_clips=3, twice_sample=True, test_mode=True)
    expected = np.tile(np.arange(16) * 4 % num_frames, (6, 1))
    np.testing.assert_array_equal(sampler.indices(num_frames, rng()), expected)


@pytest.mark.parametrize(
    ("num_clips", "num_frames", "starts"),
    [
        (3, 100, [0, 46, 93]),  # 93 = 100 - 7, the last start: the span is 7 frames, not 8; 46.5 is rounded to even
        (2, 8, [0, 1]),
        (4, 7, [0, 0, 0, 0]),  # one start
        (3, 5, [0, 0, 0]),  # shorter than the span
        (1, 100, [46]),
        (10, 250, [0, 27, 54, 81, 108, 135, 162, 189, 216, 243]),
    ],
)
def test_sample_frames_test_positions_ends(num_clips, num_frames, starts):
    """mmaction2 1.x, PySlowFast."""
    sampler = SampleFrames(clip_len=4, frame_interval=2, num_clips=num_clips, test_mode=True, test_positions="ends")
    expected = (np.array(starts)[:, None] + np.arange(4) * 2) % num_frames
    np.testing.assert_array_equal(sampler.indices(num_frames, rng()), expected)
    with pytest.raises(ValueError, match="conflicts with test_positions=ends"):
        SampleFrames(clip_len=4, twice_sample=True, test_positions="ends")


def test_sample_frames_test_mode_draws_no_random_numbers():
    generator = rng()
    before = generator.bit_generator.state
    SampleFrames(clip_len=4, num_clips=3, test_mode=True).indices(100, generator)
    DenseSampleFrames(clip_len=4, num_clips=3, test_mode=True).indices(100, generator)
    assert generator.bit_generator.state == before


def test_clips_is_number_of_clips():
    assert SampleFrames(clip_len=4, num_clips=3).clips == 3
    assert SampleFrames(clip_len=4, num_clips=3, twice_sample=True).clips == 3  # twice_sample counts in test mode only
    assert SampleFrames(clip_len=4, num_clips=3, twice_sample=True, test_mode=True).clips == 6
    assert DenseSampleFrames(clip_len=4, num_clips=3).clips == 3
    assert DenseSampleFrames(clip_len=4, num_clips=3, test_mode=True).clips == 30
    assert DenseSampleFrames(clip_len=4, num_clips=3, num_sample_positions=5, test_mode=True).clips == 15


# ---- training: which starts, how often ----

SUPPORTS = [
    # clip_len, interval, num_clips, frames, first and last start of each clip
    (16, 4, 1, 64, [(0, 0)]),  # one legal start
    (16, 4, 1, 70, [(0, 6)]),  # 0..n-L, the last included
    (16, 4, 1, 63, [(0, 0)]),  # shorter than the span
    (1, 1, 1, 10, [(0, 9)]),
    (1, 1, 2, 10, [(0, 4), (5, 9)]),  # equal segments: as in mmaction2
    (4, 2, 3, 31, [(0, 7), (8, 15), (16, 23)]),  # 24 starts in three segments: as in mmaction2
    (1, 1, 3, 10, [(0, 2), (3, 5), (6, 9)]),  # mmaction2 stops at 8
    (4, 2, 8, 32, [(0, 2), (3, 5), (6, 8), (9, 11), (12, 14), (15, 17), (18, 20), (21, 24)]),  # mmaction2 stops at 23
    (1, 1, 8, 10, [(0, 0), (1, 1), (2, 2), (3, 4), (5, 5), (6, 6), (7, 7), (8, 9)]),  # mmaction2 stops at 7
    (1, 1, 8, 5, [(0, 0), (1, 1), (1, 1), (2, 2), (2, 2), (3, 3), (4, 4), (4, 4)]),  # at most C frames: even spread
    (1, 1, 8, 1, [(0, 0)] * 8),  # mmaction2: start 1 for the last three
    (4, 2, 3, 8, [(0, 0)] * 3),  # n = L; mmaction2: start 1 for the last
]


@pytest.mark.parametrize(("clip_len", "interval", "num_clips", "num_frames", "supports"), SUPPORTS)
def test_sample_frames_training_starts_cover_all_legal_starts(clip_len, interval, num_clips, num_frames, supports):
    sampler = SampleFrames(clip_len=clip_len, frame_interval=interval, num_clips=num_clips)
    starts = drawn_starts(sampler, num_frames)
    for clip, (first, last) in enumerate(supports):
        assert_uniform(starts[:, clip], range(first, last + 1))


def test_sample_frames_fewer_starts_than_clips_are_sorted_uniform():
    starts = drawn_starts(SampleFrames(clip_len=16, frame_interval=4, num_clips=8), 66)  # starts 0..2
    assert np.all(np.diff(starts, axis=1) >= 0)
    assert_uniform(starts.reshape(-1), range(3))


def test_keep_tail_frames_uses_segments_of_fractional_length():
    # 3 starts, 2 clips of 1.5 starts each. Whole segments are {0} and {1, 2}; real ones share start 1.
    whole = drawn_starts(SampleFrames(clip_len=1, num_clips=2), 3)
    assert set(whole[:, 0]) == {0}
    assert set(whole[:, 1]) == {1, 2}
    real = drawn_starts(SampleFrames(clip_len=1, num_clips=2, keep_tail_frames=True), 3)
    assert set(real[:, 0]) == {0, 1}
    assert set(real[:, 1]) == {1, 2}
    assert_uniform(real.reshape(-1), range(3))
    # Fewer starts than clips: the same rule.
    few = drawn_starts(SampleFrames(clip_len=4, frame_interval=2, num_clips=8, keep_tail_frames=True), 12)
    assert np.all(np.diff(few, axis=1) >= 0)
    assert_uniform(few.reshape(-1), range(5))


def test_dense_sample_frames_training_draws_every_window():
    assert set(drawn_starts(DenseSampleFrames(clip_len=1), 64)[:, 0]) == {0}
    assert_uniform(drawn_starts(DenseSampleFrames(clip_len=1), 65)[:, 0], range(2))  # mmaction2: always 0
    starts = drawn_starts(DenseSampleFrames(clip_len=4, frame_interval=2, num_clips=4), 70)
    assert_uniform(starts[:, 0], range(7))
    np.testing.assert_array_equal(starts - starts[:, :1], np.tile([0, 16, 32, 48], (len(starts), 1)))
    # A video shorter than the window: starts past the end begin again.
    np.testing.assert_array_equal(DenseSampleFrames(clip_len=1, num_clips=4).indices(20, rng()), [[0], [16], [12], [8]])


def test_temporal_jitter_shifts_each_frame_independently():
    plain = SampleFrames(clip_len=4, frame_interval=3, num_clips=2, test_mode=True).indices(100, rng())
    jittered = SampleFrames(clip_len=4, frame_interval=3, num_clips=2, test_mode=True, temporal_jitter=True)
    generator = rng()
    moves = np.stack([jittered.indices(100, generator) - plain for _ in range(2000)])
    for frame in moves.reshape(2000, -1).T:
        assert_uniform(frame, range(3))
    assert_uniform((moves[:, 0, 0] + moves[:, 0, 1] * 3), range(9))  # independent of each other


def test_temporal_jitter_past_end_stays_in_range():
    sampler = SampleFrames(clip_len=4, frame_interval=8, temporal_jitter=True, out_of_bound_opt="repeat_last")
    assert not sampler.indices(1, rng(1)).any()


# ---- every length of video ----

shared_options = {
    "clip_len": st.integers(1, 8),
    "frame_interval": st.integers(1, 8),
    "num_clips": st.integers(1, 12),
    "temporal_jitter": st.booleans(),
    "out_of_bound_opt": st.sampled_from(["loop", "repeat_last"]),
    "test_mode": st.booleans(),
}
samplers = st.one_of(
    st.builds(SampleFrames, **shared_options, twice_sample=st.booleans(), keep_tail_frames=st.booleans()),
    st.builds(
        DenseSampleFrames, **shared_options, sample_range=st.integers(1, 80), num_sample_positions=st.integers(1, 12)
    ),
)


@given(sampler=samplers, num_frames=st.integers(1, 200), seed=st.integers(0, 2**32 - 1))
def test_indices_have_documented_shape_and_range(sampler, num_frames, seed):
    indices = sampler.indices(num_frames, rng(seed))
    assert indices.shape == (sampler.clips, sampler.clip_len)
    assert indices.dtype == np.int64
    assert indices.min() >= 0
    assert indices.max() < num_frames
    np.testing.assert_array_equal(indices, sampler.indices(num_frames, rng(seed)))  # a function of its arguments


@given(
    sampler=st.builds(SampleFrames, **shared_options, twice_sample=st.booleans(), keep_tail_frames=st.booleans()),
    spare=st.integers(0, 200),
    seed=st.integers(0, 2**32 - 1),
)
def test_clips_of_long_video_are_not_cut(sampler, spare, seed):
    sampler.temporal_jitter = False
    num_frames = sampler.clip_len * sampler.frame_interval + spare
    indices = sampler.indices(num_frames, rng(seed))
    assert np.all(np.diff(indices, axis=1) == sampler.frame_interval)
    assert indices[:, 0].max() <= spare
    if not sampler.test_mode:
        assert np.all(np.diff(indices[:, 0]) >= 0)  # clips in the order of time


# ---- what a user gets wrong ----


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"clip_len": 0}, "clip_len=0: must be >= 1"),
        ({"clip_len": 4, "frame_interval": 0}, "frame_interval=0: must be >= 1"),
        ({"clip_len": 4, "num_clips": -1}, "num_clips=-1: must be >= 1"),
        ({"clip_len": 4, "out_of_bound_opt": "wrap"}, "out_of_bound_opt=wrap: must be one of loop, repeat_last"),
    ],
)
@pytest.mark.parametrize("sampler", [SampleFrames, DenseSampleFrames])
def test_sampler_invalid_option_raises(sampler, arguments, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        sampler(**arguments)


@pytest.mark.parametrize("sampler", [SampleFrames(clip_len=4), DenseSampleFrames(clip_len=4, test_mode=True)])
def test_sampler_empty_video_raises(sampler):
    with pytest.raises(UserError, match="the video has 0 frames"):
        sampler.indices(0, rng())


@pytest.mark.parametrize("sampler", [SampleFrames, DenseSampleFrames])
def test_sampler_from_config_equals_constructed_one(sampler):
    with pytest.raises(TypeError, match="clip_len"):
        sampler()
    node = OmegaConf.structured(sampler)
    assert OmegaConf.is_missing(node, "clip_len")
    node.clip_len = 4
    assert OmegaConf.to_object(node) == sampler(clip_len=4)


def test_image_has_clips_of_its_own_length():
    """An image is a video of one frame: clips of equal frames, or of image_clip_len frames."""
    rng = np.random.default_rng(0)
    assert SampleFrames(clip_len=4).indices(1, rng).tolist() == [[0, 0, 0, 0]]
    sampler = SampleFrames(clip_len=4, num_clips=2, image_clip_len=1)
    assert sampler.indices(1, rng).tolist() == [[0], [0]]
    assert sampler.indices(9, rng).shape == (2, 4)
