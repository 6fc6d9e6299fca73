"""``uniform_sample`` and ``uniform_sample_frames``: the frames that mmaction2 1.2 recorded."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from support.paths import GOLDEN_DIR

from vexp.core.errors import UserError
from vexp.data.transforms import UniformSample, UniformSampleFrames

RECORDED = json.loads((GOLDEN_DIR / "uniform_sampling.json").read_text())
SAMPLERS = {"UniformSample": UniformSample, "UniformSampleFrames": UniformSampleFrames}


@pytest.mark.parametrize("name", SAMPLERS)
def test_test_frames_equal_those_of_mmaction2(name: str) -> None:
    for arguments, frames, expected in RECORDED[f"{name} test"]:
        sampler = SAMPLERS[name](**arguments)
        found = sampler.indices(frames, np.random.default_rng(0))
        assert found.dtype == np.int64
        assert found.shape == (sampler.clips, sampler.clip_len)
        np.testing.assert_array_equal(found.reshape(-1), expected, err_msg=f"{arguments} {frames}")


def test_uniform_sample_draws_from_the_segments_of_mmaction2() -> None:
    for arguments, frames, lowest, highest in RECORDED["UniformSample train"]:
        drawn = UniformSample(**{**arguments, "num_clips": 3000}).indices(frames, np.random.default_rng(1))
        np.testing.assert_array_equal(drawn.min(0), lowest)
        np.testing.assert_array_equal(drawn.max(0), highest)


def draws(sampler: Any, frames: int, count: int = 200) -> np.ndarray:
    rng = np.random.default_rng(1)
    return np.stack([sampler.indices(frames, rng) for _ in range(count)])


def test_uniform_sample_draws_clips_independently() -> None:
    drawn = draws(UniformSample(clip_len=4, num_clips=2), 41)
    assert drawn.shape == (200, 2, 4)
    assert (drawn[:, 0] != drawn[:, 1]).mean() > 0.8


@pytest.mark.parametrize("frames", [1, 5, 8, 11, 15, 16, 40])
def test_uniform_sample_frames_draws_in_order(frames: int) -> None:
    """As the recorded draws: in a long video one frame of each segment, in a medium one ascending, else consecutive."""
    recorded = [clip for arguments, n, found in RECORDED["UniformSampleFrames train"] for draw in found
                for clip in np.reshape(draw, (-1, 8)) if (arguments["clip_len"], n) == (8, frames)]  # fmt: skip
    drawn = draws(UniformSampleFrames(clip_len=8), frames)[:, 0]
    assert 0 <= drawn.min() <= drawn.max() < frames
    for clip in [*drawn, *recorded]:
        if frames < 8:
            assert set(np.diff(clip) % frames) <= {1 % frames}
        elif frames < 16:
            assert (np.diff(clip) >= 1).all()
        else:
            edges = np.arange(9) * frames // 8
            assert ((edges[:-1] <= clip) & (clip < edges[1:])).all()
    assert (len(np.unique(drawn, axis=0)) > 1) == (frames not in (1, 8))


@pytest.mark.parametrize("name", SAMPLERS)
def test_empty_video_raises(name: str) -> None:
    with pytest.raises(UserError, match="the video has 0 frames"):
        SAMPLERS[name](clip_len=4).indices(0, np.random.default_rng(0))
