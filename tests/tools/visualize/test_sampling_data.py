"""How much of a video clips span, and when that is worth a warning."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from vexp.data.transforms.frame_sampling import SampleFrames, UntrimmedSampleFrames
from vexp.data.transforms.resize import CenterCrop
from vexp.data.transforms.segment_sampling import SegmentFrames
from vexp.tools.visualize.samples import Split
from vexp.tools.visualize.sampling_data import collect, share, warnings
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
def test_share(clips: list[list[int]], frames: int, spanned: float) -> None:
    assert share(np.array(clips), frames) == pytest.approx(spanned)


def test_the_frames_are_those_of_training(split: Make) -> None:
    """Of every epoch what the data set of that epoch takes; evaluation is drawn once."""
    one = split("train", [SampleFrames(clip_len=4), CROP], [(30, 10.0), (40, 10.0)])
    found = collect(one, draws=3, videos=2)
    for index, sampled in enumerate(found.shown):
        assert [draw.tolist() for draw in sampled.draws] == [
            one.dataset[epoch, index].clips.numbers.tolist() for epoch in range(3)
        ]
    assert len(collect(Split("val", one.dataset), draws=3, videos=1).shown[0].draws) == 1


def said(split: Make, train: Any, val: Any = None, *, train_videos: Any = VIDEOS, val_videos: Any = VIDEOS) -> str:
    splits = [split("train", [train, CROP], train_videos), split("val", [val or train, CROP], val_videos)]
    return "\n".join(warnings([collect(one, draws=2, videos=1) for one in splits]))


def test_a_sensible_choice_is_not_warned_of(split: Make) -> None:
    assert said(split, SampleFrames(clip_len=16, frame_interval=4)) == ""
    assert said(split, SegmentFrames(segments=8), train_videos=[(300, None)]) == ""  # no frame rate is known


@pytest.mark.parametrize(
    ("words", "text"),
    [
        # half a second of ten
        ({"train": SampleFrames(clip_len=16)}, "train, val: a draw spans 5.3% of the median video"),
        (
            {"train": SampleFrames(clip_len=16, frame_interval=4), "val": SampleFrames(clip_len=16, frame_interval=8)},
            "train and val: neighbouring frames lie 0.133 s and 0.267 s apart",
        ),
        (
            {"train": SampleFrames(clip_len=16, frame_interval=4), "val_videos": [(600, 60.0)] * 2},
            "train and val: the median video has 30 and 60 fps",
        ),
        (
            {"train": SampleFrames(clip_len=16, frame_interval=4), "train_videos": [(300, 30.0), (250, 25.0)]},
            "train: videos of 25 to 30 fps, equal clips span different times",
        ),
        (
            {"train": SampleFrames(clip_len=16, frame_interval=4), "val_videos": [(300, 30.0), (20, 30.0)]},
            "val: 1 of 2 videos looked at are shorter than a clip, their frames repeat",
        ),
    ],
)
def test_what_is_likely_a_mistake_is_said(split: Make, words: dict[str, Any], text: str) -> None:
    assert text in said(split, **words)


def test_counting_in_seconds_ends_the_warning_of_frame_rates(split: Make) -> None:
    timed = SampleFrames(clip_len=16, frame_interval=4, clip_seconds=2.0)
    assert "fps" not in said(split, timed, train_videos=[(300, 30.0), (600, 60.0)])


def test_no_label_lies_on_another(split: Make) -> None:
    samplers = [
        SampleFrames(clip_len=1),
        SampleFrames(clip_len=32, num_clips=10, test_mode=True),
        UntrimmedSampleFrames(clip_len=4, clip_interval=4),  # more lines than are drawn
    ]
    videos: list[tuple[int, float | None]] = [(200, 30.0), (5, 1.0), (64, None)]
    names = ("train", "val", "test")
    found = [
        collect(split(name, [sampler, CROP], videos), draws=6, videos=3)
        for name, sampler in zip(names, samplers, strict=True)
    ]
    sheet = sampling_sheet(found, warnings=["a warning"] * 3)
    assert sheet.overlaps() == []
