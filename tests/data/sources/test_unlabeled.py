"""Windows of long videos."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from vexp.core.errors import UserError
from vexp.data.sources.unlabeled import split_into_windows


@pytest.mark.parametrize(
    ("window", "stride", "text"),
    [
        (1e-9, 1e-9, r"window=1e-09 is shorter than a frame, which lasts 0\.\d+ seconds$"),
        (0.5, 1e-9, r"stride=1e-09 is shorter than a frame"),
    ],
)
def test_split_into_windows_shorter_than_a_frame_raises(
    video: Callable[[str], Path], window: float, stride: float, text: str
) -> None:
    """There would be billions of them."""
    path = video("h264_gop12")
    with pytest.raises(UserError, match=text) as caught:
        split_into_windows(path, path.name, window=window, stride=stride)
    assert str(caught.value).startswith(f"{path}: ")


def test_split_into_windows_of_one_frame(video: Callable[[str], Path]) -> None:
    path = video("h264_gop12")
    (whole,) = split_into_windows(path, path.name, window=1000, stride=1000)
    assert whole.window is not None
    duration = whole.window[1]
    count = len(split_into_windows(path, path.name, window=duration / 10, stride=duration / 10))
    assert count == 10
