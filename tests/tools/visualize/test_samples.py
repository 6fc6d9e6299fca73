"""Descriptions of samples, and evenly spaced indices."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vexp.data.sources.base import ArrayReader
from vexp.data.transforms.color import build_transforms
from vexp.data.transforms.frame_sampling import SampleFrames
from vexp.data.transforms.resize import Flip, Resize
from vexp.tools.visualize.samples import Video, evenly_spaced, format_label, format_step

CLASSES = ["left", "right", "up"]


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        (torch.tensor(2), "up"),
        (torch.tensor([1.0, 0.0, 1.0]), "left, up"),  # several labels
        (torch.tensor([0.0, 0.0, 0.0]), "no class"),
        (torch.tensor([0.25, 0.75, 0.0]), "0.75 right + 0.25 left"),  # blended, the larger share first
        (torch.tensor([1.0, 0.5, 0.0]), "1.00 left + 0.50 right"),  # blended, one class in both
    ],
)
def test_format_label_prints_weights_only_if_blended(labels: torch.Tensor, text: str) -> None:
    assert format_label(labels, CLASSES) == text


@pytest.mark.parametrize(
    ("step", "text"),
    [
        (SampleFrames(clip_len=8), "SampleFrames(clip_len=8)"),  # defaults are not shown
        (Resize(scale=[-1, 64]), "Resize(scale=[-1,64])"),
        (Flip(), "Flip()"),
    ],
)
def test_format_step_omits_defaults(step: object, text: str) -> None:
    assert format_step(step) == text


def test_format_step_of_torchvision_transform() -> None:
    from torchvision.transforms import v2

    class Option:
        def build(self) -> v2.GaussianBlur:
            return v2.GaussianBlur(3)

    (step,) = build_transforms({"blur": Option()}).values()
    assert format_step(step).startswith("GaussianBlur(kernel_size=(3, 3)")


@pytest.mark.parametrize(
    ("count", "most", "chosen"),
    [(3, 8, [0, 1, 2]), (9, 3, [0, 4, 8]), (1, 1, [0]), (9, 1, [4]), (32, 8, [0, 4, 9, 13, 18, 22, 27, 31])],
)
def test_evenly_spaced_includes_both_ends(count: int, most: int, chosen: list[int]) -> None:
    assert evenly_spaced(count, most) == chosen


def test_video_describe_with_and_without_times() -> None:
    frames = np.zeros((30, 4, 6, 3), np.uint8)
    known, unknown = Video("v", ArrayReader(frames, fps=15.0)), Video("v", ArrayReader(frames))
    assert known.describe() == "30 frames of 6x4 · 2.0 s at 15 fps"
    assert known.frame_label(15) == "15 · 1.00 s"
    assert unknown.describe() == "30 frames of 6x4 · unknown fps"
    assert unknown.frame_label(15) == "15"
