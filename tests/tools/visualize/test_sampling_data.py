"""Coverage of videos by their clips, and its warnings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from support.overlaps import overlapping_texts

from vexp.data.transforms.crops import CenterCrop
from vexp.data.transforms.frame_sampling import SampleFrames, UntrimmedSampleFrames
from vexp.data.transforms.segment_sampling import SegmentFrames
from vexp.tools.visualize.samples import Split
from vexp.tools.visualize.sampling_data import Coverage, covered_fraction, sampling_warnings
from vexp.tools.visualize.sampling_sheet import sampling_sheet

Make = Callable[..., Split]
CROP = CenterCrop(crop_size=8)
VIDEOS: list[tuple[int, float | None]] = [(300, 30.0)] * 3


@pytest.mark.parametrize(
    ("clips", "frames", "spanned"),
    [
        ([[0, 1, 2, 3]], 10, 0.4),  # both ends counted
        ([[0, 4], [2, 6]], 10, 0.7),  # what two clips see counts once
        ([[0, 1], [8, 9]], 10, 0.4),  # what lies between two clips is not seen
        ([[8, 9, 0, 1]], 10, 1.0),  # past the end and on from the start
        ([[3]], 10, 0.1),
    ],
)
def test_covered_fraction_counts_frames_between_clip_ends(clips: list[list[int]], frames: int, spanned: float) -> None:
    assert covered_fraction(np.array(clips), frames) == pytest.approx(spanned)


def test_coverage_matches_training(split: Make) -> None:
    """Training draws once per epoch, evaluation draws once."""
    one = split("train", [SampleFrames(clip_len=4), CROP], [(30, 10.0), (40, 10.0)])
    found = Coverage(one, draws=3, videos=2)
    for index, sampled in enumerate(found.shown):
        assert [draw.tolist() for draw in sampled.draws] == [
            one.dataset[epoch, index].clips.numbers.tolist() for epoch in range(3)
        ]
    assert len(Coverage(Split("val", one.dataset), draws=3, videos=1).shown[0].draws) == 1


def warnings_of(
    split: Make, train: Any, val: Any = None, *, train_videos: Any = VIDEOS, val_videos: Any = VIDEOS
) -> str:
    splits = [split("train", [train, CROP], train_videos), split("val", [val or train, CROP], val_videos)]
    return "\n".join(sampling_warnings([Coverage(one, draws=2, videos=1) for one in splits]))


def test_sampling_warnings_empty_for_sensible_config(split: Make) -> None:
    assert warnings_of(split, SampleFrames(clip_len=16, frame_interval=4)) == ""
    assert warnings_of(split, SegmentFrames(segments=8), train_videos=[(300, None)]) == ""  # no frame rate is known


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        # half a second of ten
        ({"train": SampleFrames(clip_len=16)}, "train, val: a draw covers 5.3% of the median video"),
        (
            {"train": SampleFrames(clip_len=16, frame_interval=4), "val": SampleFrames(clip_len=16, frame_interval=8)},
            "train and val: neighboring frames are 0.133 s and 0.267 s apart",
        ),
        (
            {"train": SampleFrames(clip_len=16, frame_interval=4), "val_videos": [(600, 60.0)] * 2},
            "train and val: the median video has 30 and 60 fps",
        ),
        (
            {"train": SampleFrames(clip_len=16, frame_interval=4), "train_videos": [(300, 30.0), (250, 25.0)]},
            "train: the videos have 25 to 30 fps, so clips of equal length cover different times",
        ),
        (
            {"train": SampleFrames(clip_len=16, frame_interval=4), "val_videos": [(300, 30.0), (20, 30.0)]},
            "val: 1 of 2 videos are shorter than a clip, so their frames repeat",
        ),
    ],
)
def test_sampling_warnings_for_likely_mistakes(split: Make, arguments: dict[str, Any], text: str) -> None:
    assert text in warnings_of(split, **arguments)


def test_sampling_warnings_ignore_fps_if_timed(split: Make) -> None:
    timed = SampleFrames(clip_len=16, frame_interval=4, clip_seconds=2.0)
    assert "fps" not in warnings_of(split, timed, train_videos=[(300, 30.0), (600, 60.0)])


def test_sampling_sheet_texts_do_not_overlap(split: Make) -> None:
    samplers = [
        SampleFrames(clip_len=1),
        SampleFrames(clip_len=32, num_clips=10, test_mode=True),
        UntrimmedSampleFrames(clip_len=4, clip_interval=4),  # more lines than are drawn
    ]
    videos: list[tuple[int, float | None]] = [(200, 30.0), (5, 1.0), (64, None)]
    names = ("train", "val", "test")
    found = [
        Coverage(split(name, [sampler, CROP], videos), draws=6, videos=3)
        for name, sampler in zip(names, samplers, strict=True)
    ]
    canvas = sampling_sheet(found, warnings=["a warning"] * 3)
    assert overlapping_texts(canvas) == []
