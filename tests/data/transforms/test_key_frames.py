"""Sampling around key frames: mmaction2's frames at 30 frames per second, and the video's own rate elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from support.ava_cases import FILE, cases

from vexp.core.errors import UserError
from vexp.data.sources.base import ArrayReader
from vexp.data.sources.key_frames import KeyFrameReader
from vexp.data.transforms.key_frames import SampleKeyFrames
from vexp.data.transforms.pipeline import sampled_frames


@pytest.mark.parametrize("case", cases("ava", "SampleAVAFrames"), ids=lambda case: case["name"])
def test_indices_equal_recorded_file_numbers(case) -> None:
    """Images are counted from 1: index 0 is file 1. mmaction2 clips to 0 (which is missing) .. end - 1."""
    fps, start, end = case["fps"], case["timestamp_start"], case["timestamp_end"]
    frames = fps * (end - start)
    center = fps * (case["timestamp"] - start)
    sampler = SampleKeyFrames(clip_len=case["clip_len"], frame_interval=case["frame_interval"], test_mode=True)
    numbers = sampler.indices(frames, np.random.default_rng(0), center=center)[0] + 1
    expected = np.array(case["out"]["test"]) - case["start_index"]
    assert np.array_equal(np.clip(numbers, 0, frames - 1), np.clip(expected, 1, frames - 1).clip(max=frames - 1))
    inside = (expected > 0) & (expected < frames - 1)
    assert np.array_equal(numbers[inside], expected[inside])


@pytest.mark.parametrize("case", cases("ava", "SampleAVAFrames"), ids=lambda case: case["name"])
def test_indices_training_shifts_have_recorded_range(case) -> None:
    sampler = SampleKeyFrames(clip_len=200, frame_interval=case["frame_interval"])
    fixed = SampleKeyFrames(clip_len=200, frame_interval=case["frame_interval"], test_mode=True)
    rng = np.random.default_rng(0)
    center = 100 * case["frame_interval"] + 50
    drawn = sampler.indices(10**6, rng, center=center) - fixed.indices(10**6, rng, center=center)
    assert [drawn.min(), drawn.max()] == case["out"]["offset_range"]


def test_indices_of_1x_are_those_of_0x_counted_from_one_more() -> None:
    for case in FILE["key_frames_1x"]:
        given, options = case["results"], case["kw"]
        center = given["fps"] * (given["timestamp"] - given["timestamp_start"])
        sampler = SampleKeyFrames(**options)
        ours = sampler.indices(27000, np.random.default_rng(0), center=center)[0] + 1
        expected = np.array(case["out"]["frame_inds"])
        assert set((expected - ours)[ours > 1].tolist()) <= {given["start_index"]}  # start_index is added twice


def reader(frames=60, fps=25.0):
    return ArrayReader(np.zeros((frames, 4, 6, 3), np.uint8), fps=fps)


def test_sampled_frames_use_the_rate_of_the_video() -> None:
    sampler = SampleKeyFrames(clip_len=4, frame_interval=2, test_mode=True)
    for fps, center in ((25.0, 25), (24.0, 24), (30.0, 30), (12.5, 12)):
        video = KeyFrameReader("v.mp4", reader(fps=fps), 1.0)
        assert video.key_frame == center
        assert sampled_frames(video, sampler, np.random.default_rng(0)).tolist() == [
            [center - 4, center - 2, center, center + 2]
        ]


def test_sampled_frames_of_target_fps_are_as_far_apart_in_time() -> None:
    sampler = SampleKeyFrames(clip_len=4, frame_interval=3, target_fps=30.0, test_mode=True)
    video = KeyFrameReader("v.mp4", reader(frames=100, fps=10.0), 5.0)
    assert sampled_frames(video, sampler, np.random.default_rng(0)).tolist() == [[48, 49, 50, 51]]


def test_sampled_frames_without_key_frame_are_around_the_middle() -> None:
    sampler = SampleKeyFrames(clip_len=3, frame_interval=2, test_mode=True)
    assert sampled_frames(reader(frames=21), sampler, np.random.default_rng(0)).tolist() == [[8, 10, 12]]


@pytest.mark.parametrize("second", [-0.5, 3.0, 902.0])
def test_key_frame_outside_of_the_video_is_an_error(second) -> None:
    with pytest.raises(UserError, match="timestamp_start"):
        KeyFrameReader("v.mp4", reader(), second)
