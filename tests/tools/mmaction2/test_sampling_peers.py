"""Compare the frames of an imported config with recorded clips of mmaction2 0.24, and with the rule of 1.x."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.imported import SMALL_0, SMALL_1, convert_source, read, sampler
from support.paths import GOLDEN_DIR

GOLDEN = json.loads((GOLDEN_DIR / "sampling.json").read_text())
LENGTHS = (1, 2, 5, 7, 8, 15, 16, 31, 32, 33, 63, 64, 65, 100, 250, 300)
NONE = np.random.default_rng(0)

IMAGE_NET = """
model = dict(
    type='Recognizer2D',
    backbone=dict(type='ResNetTSM', depth=50, shift_div=8),
    cls_head=dict(type='TSMHead', num_classes=5, in_channels=2048, is_shift=True))
"""


def imported(tmp_path: Path, config: str, kind: str, **given: Any) -> Any:
    """The sampler that training takes of this one step."""
    text = f"{config}\npipeline[0] = dict(type={kind!r}, **{given!r})\n"
    return sampler(convert_source(read(tmp_path / "config.py", text)), "train")


def grouped(rows: list[list[Any]], settings: int) -> dict[tuple[Any, ...], list[list[Any]]]:
    """Recorded rows by their first columns."""
    groups: dict[tuple[Any, ...], list[list[Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[:settings]), []).append(row[settings:])
    return groups


@pytest.mark.parametrize(("given", "rows"), grouped(GOLDEN["sample_frames"], 4).items(), ids=str)
def test_sample_frames_of_0x(given: tuple[Any, ...], rows: list[Any], tmp_path: Path) -> None:
    clip_len, interval, num_clips, twice = given
    step = imported(
        tmp_path, SMALL_0, "SampleFrames",
        clip_len=clip_len, frame_interval=interval, num_clips=num_clips, twice_sample=twice, test_mode=True,
    )  # fmt: skip
    for frames, starts in rows:
        expected = (np.array(starts)[:, None] + np.arange(clip_len) * interval) % frames
        np.testing.assert_array_equal(step.indices(frames, NONE), expected)


def test_repeat_last_of_0x(tmp_path: Path) -> None:
    for (clip_len, interval, num_clips), rows in grouped(GOLDEN["repeat_last"], 3).items():
        step = imported(
            tmp_path, SMALL_0, "SampleFrames", clip_len=clip_len, frame_interval=interval, num_clips=num_clips,
            out_of_bound_opt="repeat_last", test_mode=True,
        )  # fmt: skip
        for frames, expected in rows:
            np.testing.assert_array_equal(step.indices(frames, NONE), expected)


@pytest.mark.parametrize("config", [SMALL_0, SMALL_1], ids=["0.x", "1.x"])
def test_dense_sample_frames_of_both(config: str, tmp_path: Path) -> None:
    for (num_clips, window, positions), rows in grouped(GOLDEN["dense_sample_frames"], 3).items():
        step = imported(
            tmp_path, config, "DenseSampleFrames", clip_len=4, frame_interval=2, num_clips=num_clips,
            sample_range=window, num_sample_positions=positions, test_mode=True,
        )  # fmt: skip
        for frames, starts in rows:
            expected = (np.array(starts)[:, None] + np.arange(4) * 2) % frames
            np.testing.assert_array_equal(step.indices(frames, NONE), expected)


def starts_of_1x(clip_len: int, interval: int, num_clips: int, frames: int) -> np.ndarray:
    """mmaction2 1.2's first frames in test mode."""
    if clip_len == 1:
        return np.floor((np.arange(num_clips) + 0.5) * (frames / num_clips)).astype(int)
    room = max(frames - ((clip_len - 1) * interval + 1), 0)
    if num_clips == 1:
        return np.array([room // 2])
    return np.round(np.arange(num_clips) * (room / (num_clips - 1))).astype(int)


@pytest.mark.parametrize("given", [(32, 2, 1), (32, 2, 10), (8, 8, 3), (16, 4, 10), (4, 16, 2), (1, 1, 10), (1, 1, 1)])
def test_sample_frames_of_1x(given: tuple[int, int, int], tmp_path: Path) -> None:
    clip_len, interval, num_clips = given
    step = imported(
        tmp_path, SMALL_1, "SampleFrames",
        clip_len=clip_len, frame_interval=interval, num_clips=num_clips, test_mode=True,
    )  # fmt: skip
    for frames in LENGTHS:
        starts = starts_of_1x(clip_len, interval, num_clips, frames)
        expected = (starts[:, None] + np.arange(clip_len) * interval) % frames
        np.testing.assert_array_equal(step.indices(frames, NONE), expected, err_msg=f"{frames} frames")


@pytest.mark.parametrize("config", [SMALL_0, SMALL_1], ids=["0.x", "1.x"])
@pytest.mark.parametrize(("segments", "twice"), [(3, False), (8, False), (8, True), (25, False)])
def test_clips_of_image_model_are_frames_of_one_clip(config: str, segments: int, twice: bool, tmp_path: Path) -> None:
    step = imported(
        tmp_path, config + IMAGE_NET, "SampleFrames", clip_len=1, num_clips=segments, test_mode=True, twice_sample=twice
    )
    for frames in LENGTHS:
        length = frames / segments
        first = np.arange(segments) * length
        expected = [np.floor(first + length / 2)] + ([np.floor(first)] if twice else [])
        np.testing.assert_array_equal(step.indices(frames, NONE), np.array(expected, int))


@pytest.mark.parametrize("generation", [0, 1])
def test_adjacent_frames_of_image_model_are_segments(generation: int, tmp_path: Path) -> None:
    """TSN's optical flow: 0.x takes them at the centres of the segments, 1.x from one end to the other."""
    model = IMAGE_NET.replace("type='ResNetTSM', depth=50, shift_div=8", "type='ResNet', depth=50")
    model = model.replace(
        "type='TSMHead', num_classes=5, in_channels=2048, is_shift=True", "type='TSNHead', num_classes=5"
    )
    step = imported(
        tmp_path, (SMALL_0, SMALL_1)[generation] + model, "SampleFrames", clip_len=5, num_clips=3, test_mode=True
    )
    for frames in LENGTHS:
        legal = max(frames - 4, 0)
        centres = np.floor(np.arange(3) * (legal / 3) + legal / 6)
        starts = np.round(np.arange(3) * (max(legal - 1, 0) / 2)) if generation else centres
        expected = (starts[:, None] + np.arange(5)).astype(int) % frames
        np.testing.assert_array_equal(step.indices(frames, NONE), expected.reshape(1, 15))


def test_dense_windows_of_image_model(tmp_path: Path) -> None:
    """Eight clips of a frame, an eighth of the window apart, are one clip of eight frames at that distance."""
    step = imported(tmp_path, SMALL_0 + IMAGE_NET, "DenseSampleFrames", clip_len=1, num_clips=8, test_mode=True)
    for frames in LENGTHS:
        starts = np.linspace(0, max(1, 1 + frames - 64) - 1, 10).astype(int)
        expected = (starts[:, None] + np.arange(8) * 8) % frames
        np.testing.assert_array_equal(step.indices(frames, NONE), expected)


@pytest.mark.parametrize("config", [SMALL_0, SMALL_1], ids=["0.x", "1.x"])
@pytest.mark.parametrize(("num_clips", "frames"), [(1, 70), (2, 71), (7, 70), (1, 64)])
def test_training_draws_the_starts_of_mmaction2(config: str, num_clips: int, frames: int, tmp_path: Path) -> None:
    """Where the legal starts are a multiple of the clips: equal segments, each start as likely."""
    step = imported(tmp_path, config, "SampleFrames", clip_len=16, frame_interval=4, num_clips=num_clips)
    each = (frames - 64 + 1) // num_clips
    assert each * num_clips == frames - 64 + 1
    rng = np.random.default_rng(1)
    drawn = np.stack([step.indices(frames, rng)[:, 0] for _ in range(300)])
    for clip in range(num_clips):
        assert set(drawn[:, clip]) == set(range(clip * each, (clip + 1) * each))


@pytest.mark.parametrize("kind", ["UniformSample", "UniformSampleFrames"])
def test_one_frame_of_each_segment(kind: str, tmp_path: Path) -> None:
    """More lengths and numbers of clips: tests/data/transforms/test_uniform_sampling.py."""
    recorded = json.loads((GOLDEN_DIR / "uniform_sampling.json").read_text())[f"{kind} test"]
    arguments = recorded[0][0]
    step = imported(tmp_path, SMALL_1, kind, **arguments)
    for frames, expected in ((frames, expected) for given, frames, expected in recorded if given == arguments):
        np.testing.assert_array_equal(step.indices(frames, NONE).reshape(-1), expected)
