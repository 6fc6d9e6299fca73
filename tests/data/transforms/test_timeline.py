"""Sampling by time, ``frame_uniform`` and untrimmed videos."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from vexp.core.errors import UserError
from vexp.data.sources.base import ArrayReader, frame_times
from vexp.data.transforms.frame_sampling import DenseSampleFrames, SampleFrames, UntrimmedSampleFrames
from vexp.data.transforms.timeline import Timeline


def rng(seed=0):
    return np.random.default_rng(seed)


def even(num_frames, fps):
    return np.arange(num_frames) / fps


def assert_uniform(values, support):
    """Pearson's chi-square within 4 standard deviations of its mean, and nothing outside the support."""
    counts = np.array([np.sum(values == value) for value in support])
    assert counts.sum() == values.size
    expected, freedom = values.size / len(support), len(support) - 1
    assert np.sum((counts - expected) ** 2 / expected) <= freedom + 4 * np.sqrt(2 * freedom), counts


# ---- by time ----

shared = {
    "clip_len": st.integers(1, 8),
    "frame_interval": st.integers(1, 8),
    "num_clips": st.integers(1, 12),
    "temporal_jitter": st.booleans(),
    "out_of_bound_opt": st.sampled_from(["loop", "repeat_last"]),
    "test_mode": st.booleans(),
}
dense = {"sample_range": st.integers(1, 80), "num_sample_positions": st.integers(1, 12)}


def samplers(**more):
    return st.one_of(
        st.builds(SampleFrames, **shared, twice_sample=st.booleans(), keep_tail_frames=st.booleans(), **more),
        st.builds(DenseSampleFrames, **shared, **dense, **more),
    )


@given(
    sampler=samplers(),
    fps=st.sampled_from([1, 15, 23.976, 25, 29.97, 30, 50, 60]),
    num_frames=st.integers(1, 200),
    in_milliseconds=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_target_fps_of_video_changes_nothing(sampler, fps, num_frames, in_milliseconds, seed):
    times = even(num_frames, fps)
    if in_milliseconds:  # as Matroska stores them; what is rounded adds up where a very short video begins again often
        assume(num_frames >= 150)
        times = np.round(times, 3)
    expected = sampler.indices(num_frames, rng(seed))
    sampler.target_fps = fps
    np.testing.assert_array_equal(sampler.indices(num_frames, rng(seed), times), expected)


@given(
    sampler=samplers(target_fps=st.sampled_from([1.0, 7.5, 10.0, 24.0, 30.0, 60.0])),
    gaps=st.lists(st.floats(0.001, 2.0), max_size=120),
    seed=st.integers(0, 2**32 - 1),
)
def test_target_fps_indices_have_documented_shape(sampler, gaps, seed):
    times = np.cumsum([0.0, *gaps])  # the rate varies as it likes
    indices = sampler.indices(len(times), rng(seed), times)
    assert (indices.shape, indices.dtype) == ((sampler.clips, sampler.clip_len), np.int64)
    assert indices.min() >= 0
    assert indices.max() < len(times)
    np.testing.assert_array_equal(indices, sampler.indices(len(times), rng(seed), times))


@given(
    fps=st.floats(5, 120),
    target=st.floats(1, 60),
    interval=st.integers(1, 4),
    spare=st.floats(0.2, 5),
    test_mode=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_target_fps_frames_are_evenly_spaced_in_time(fps, target, interval, spare, test_mode, seed):
    span = 8 * interval / target
    times = even(int((span + spare) * fps) + 2, fps)
    sampler = SampleFrames(clip_len=8, frame_interval=interval, num_clips=2, target_fps=target, test_mode=test_mode)
    for clip in sampler.indices(len(times), rng(seed), times):
        wanted = np.minimum(times[clip[0]] + np.arange(8) * interval / target, times[-1])  # which is shown to the end
        assert np.abs(times[clip] - wanted).max() <= 0.501 / fps  # the nearest frame there is


FRAMES_AT = [
    # fps, frames, target, interval, first clip
    (60, 240, 30, 4, [0, 8, 16, 24]),  # twice the rate: twice as far apart
    (30, 120, 30, 4, [0, 4, 8, 12]),
    (15, 60, 30, 4, [0, 2, 4, 6]),
    (15, 60, 30, 1, [0, 0, 1, 1]),  # faster than the video: half way between two frames, the earlier
    (25, 100, 30, 3, [0, 2, 5, 7]),  # 0.1, 0.2, 0.3 s: frames 2.5 (the earlier), 5, 7.5
    (60, 240, 24, 1, [0, 2, 5, 7]),
]


@pytest.mark.parametrize(("fps", "num_frames", "target", "interval", "expected"), FRAMES_AT)
def test_frames_at_returns_nearest_frames(fps, num_frames, target, interval, expected):
    sampler = SampleFrames(clip_len=4, frame_interval=interval, twice_sample=True, test_mode=True, target_fps=target)
    assert sampler.indices(num_frames, rng(), even(num_frames, fps))[1].tolist() == expected  # the one from frame 0


def test_target_fps_follows_variable_frame_rate():
    times = np.array([0, 0.1, 0.2, 0.3, 1.3, 1.4, 1.5, 1.6, 1.7])  # the camera paused for a second
    sampler = SampleFrames(clip_len=4, target_fps=2.0, twice_sample=True, test_mode=True)  # at 0, 0.5, 1.0, 1.5 s
    assert sampler.indices(len(times), rng(), times)[1].tolist() == [0, 3, 4, 6]


def test_clip_seconds_sets_rate():
    times = even(300, 30)
    by_seconds = SampleFrames(clip_len=16, clip_seconds=2.0, num_clips=3, test_mode=True)
    assert by_seconds.rate == 8
    by_rate = SampleFrames(clip_len=16, target_fps=8.0, num_clips=3, test_mode=True)
    np.testing.assert_array_equal(by_seconds.indices(300, rng(), times), by_rate.indices(300, rng(), times))
    assert np.ptp(times[by_seconds.indices(300, rng(), times)], axis=1) == pytest.approx(np.full(3, 15 / 8), abs=1 / 30)
    assert SampleFrames(clip_len=8, frame_interval=4, clip_seconds=2.0).rate == 16  # every fourth frame at 16


def test_target_fps_starts_are_uniform_over_fitting_frames():
    # 2 s at 30 fps, a clip of 1 s: frames 0..30 can start it, whatever the target
    for target in (4.0, 30.0, 50.0):
        sampler = SampleFrames(clip_len=int(target), target_fps=target)
        generator = rng(11)
        starts = np.array([sampler.indices(60, generator, even(60, 30))[0, 0] for _ in range(4000)])
        assert_uniform(starts, range(31))


def test_dense_sample_frames_target_fps_window_is_time():
    sampler = DenseSampleFrames(clip_len=1, num_clips=4, sample_range=64, target_fps=30.0)
    generator = rng(2)
    starts = np.stack([sampler.indices(140, generator, even(140, 60))[:, 0] for _ in range(2000)])
    assert_uniform(starts[:, 0], range(13))  # 64 / 30 s are 128 of 140 frames
    np.testing.assert_array_equal(starts - starts[:, :1], np.tile([0, 32, 64, 96], (2000, 1)))


def test_target_fps_short_video_gives_all_clips():
    times = even(15, 30)  # half a second
    loop = SampleFrames(clip_len=4, target_fps=4.0)  # at 0, 0.25, 0.5, 0.75 s
    assert loop.indices(15, rng(), times).tolist() == [[0, 7, 0, 7]]
    last = SampleFrames(clip_len=4, target_fps=4.0, out_of_bound_opt="repeat_last")
    assert last.indices(15, rng(), times).tolist() == [[0, 7, 7, 7]]
    assert last.indices(1, rng(), np.zeros(1)).tolist() == [[0, 0, 0, 0]]


def test_timeline_of_frames_is_exact():
    line = Timeline.of_frames(5)
    assert [line.legal_starts(span) for span in (1, 4, 5, 6)] == [5, 2, 1, 0]
    assert line.frames_at(line.looped(np.arange(12.0))).tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1]
    assert line.inside(np.array([4.0, 5.0])).tolist() == [True, False]


def test_sampling_by_time_invalid_arguments_raise():
    with pytest.raises(UserError, match=r"target_fps=8.0: conflicts with clip_seconds=2.0"):
        SampleFrames(clip_len=4, target_fps=8.0, clip_seconds=2.0)
    with pytest.raises(UserError, match="target_fps=0: must be > 0"):
        DenseSampleFrames(clip_len=4, target_fps=0)
    sampler = SampleFrames(clip_len=4, target_fps=8.0)
    with pytest.raises(UserError, match="requires the times of all 9 frames, 0 are known"):
        sampler.indices(9, rng())
    with pytest.raises(UserError, match="requires the times of all 9 frames, 8 are known"):
        sampler.indices(9, rng(), np.arange(8))


def test_frame_times_of_readers():
    frames = np.zeros((4, 2, 2, 3), np.uint8)
    np.testing.assert_array_equal(frame_times(ArrayReader(frames, fps=2)), [0, 0.5, 1, 1.5])
    with pytest.raises(UserError, match="the frame rate is unknown, so the video cannot be sampled by time"):
        frame_times(ArrayReader(frames))
    reader = ArrayReader(frames, fps=2)
    reader.times = np.array([0, 1, 2, 7.0])  # a container that stores them
    assert frame_times(reader) is reader.times


# ---- one frame of each segment ----

UNIFORM = [
    # clip_len, frames, edges of the segments (both ends belong to them), middles
    (4, 9, [0, 2, 4, 6, 8], [1, 3, 5, 7]),
    (4, 10, [0, 2, 4, 7, 9], [1, 3, 5, 8]),  # 2.25, 4.5 (to even), 6.75
    (8, 5, [0, 0, 1, 2, 2, 2, 3, 4, 4], [0, 0, 1, 2, 2, 2, 3, 4]),  # fewer frames than the clip: repeats
    (2, 1, [0, 0, 0], [0, 0]),
]


@pytest.mark.parametrize(("clip_len", "num_frames", "edges", "middles"), UNIFORM)
def test_frame_uniform_samples_one_frame_per_segment(clip_len, num_frames, edges, middles):
    test = SampleFrames(clip_len=clip_len, frame_uniform=True, test_mode=True)
    assert test.indices(num_frames, rng()).tolist() == [middles]
    train, generator = SampleFrames(clip_len=clip_len, frame_uniform=True), rng(1)
    drawn = np.stack([train.indices(num_frames, generator) for _ in range(2000)])
    assert drawn.shape == (2000, 1, clip_len)
    for i in range(clip_len):
        assert_uniform(drawn[:, 0, i], range(edges[i], edges[i + 1] + 1))


@pytest.mark.parametrize(
    "unused",
    [
        {"frame_interval": 2}, {"num_clips": 2}, {"temporal_jitter": True}, {"twice_sample": True},
        {"keep_tail_frames": True}, {"target_fps": 8.0}, {"clip_seconds": 1.0},
    ],
)  # fmt: skip
def test_frame_uniform_unused_option_raises(unused):
    with pytest.raises(ValueError, match=f"^{next(iter(unused))}=.*: has no effect with frame_uniform=true"):
        SampleFrames(clip_len=4, frame_uniform=True, **unused)


def test_frame_uniform_empty_video_raises():
    with pytest.raises(UserError, match="the video has 0 frames"):
        SampleFrames(clip_len=4, frame_uniform=True).indices(0, rng())


# ---- untrimmed ----

UNTRIMMED = [
    # clip_len, clip_interval, frame_interval, frames, clips
    (1, 16, 1, 40, [[8], [24]]),  # centers 8, 24
    (1, 16, 1, 41, [[8], [24], [40]]),
    (3, 10, 1, 12, [[4, 5, 6]]),
    (4, 10, 2, 16, [[1, 3, 5, 7], [11, 13, 15, 15]]),  # an even clip has its center second half first; the end repeats
    (5, 4, 3, 6, [[0, 0, 2, 5, 5]]),  # both ends repeat
    (1, 16, 1, 9, [[8]]),
    (1, 16, 1, 8, [[4]]),  # mmaction2 gives no clip
    (1, 1, 1, 3, [[0], [1], [2]]),
]


@pytest.mark.parametrize(("clip_len", "clip_interval", "frame_interval", "num_frames", "expected"), UNTRIMMED)
def test_untrimmed_sample_frames_indices(clip_len, clip_interval, frame_interval, num_frames, expected):
    sampler = UntrimmedSampleFrames(clip_len=clip_len, clip_interval=clip_interval, frame_interval=frame_interval)
    assert sampler.indices(num_frames, rng()).tolist() == expected
    assert sampler.clips is None


@given(
    sampler=st.builds(
        UntrimmedSampleFrames,
        clip_len=st.integers(1, 9),
        clip_interval=st.integers(1, 40),
        frame_interval=st.integers(1, 5),
    ),
    num_frames=st.integers(1, 300),
)
def test_untrimmed_sample_frames_any_video_gives_clips(sampler, num_frames):
    indices = sampler.indices(num_frames, rng())
    assert indices.shape[1] == sampler.clip_len
    assert len(indices) == max(1, -(-(num_frames - sampler.clip_interval // 2) // sampler.clip_interval))
    assert indices.min() >= 0
    assert indices.max() < num_frames
    centers = indices[:, sampler.clip_len // 2]
    assert np.all(np.diff(centers) == sampler.clip_interval)


def test_untrimmed_sample_frames_empty_video_raises():
    with pytest.raises(UserError, match="the video has 0 frames"):
        UntrimmedSampleFrames().indices(0, rng())
