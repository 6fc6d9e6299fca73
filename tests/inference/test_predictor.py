"""Predictions of videos without labels: those that cannot be read are returned with an error."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from vexp import compose
from vexp.core.errors import UserError
from vexp.data.sources.base import ArrayReader
from vexp.data.sources.unlabeled import UnlabeledVideos, VideoWindow
from vexp.inference.predictor import predict_videos

pytestmark = [
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork"),
]


def open_video(videos: UnlabeledVideos, index: int) -> ArrayReader:
    """Video 0 takes more than a second, 1 is damaged, 2 is fine, 3 crashes its worker, 4 hangs."""
    if index in (0, 4):
        time.sleep((1.2, 0, 0, 0, 1000)[index])
    if index == 1:
        raise UserError(f"{videos.name(1)}: truncated")
    if index == 3:
        os.abort()
    return ArrayReader(np.full((40, 96, 128, 3), index, np.uint8), fps=16.0)


@pytest.mark.slow
def test_predict_videos_returns_error_of_unreadable_video(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(UnlabeledVideos, "open", open_video)
    predictor: Any = SimpleNamespace(
        config=compose(["data.num_workers=1", "data.sample_timeout=3"]), classes=["a"], device=torch.device("cpu")
    )
    clips = [VideoWindow(Path(f"{name}.mp4"), f"{name}.mp4") for name in "abcde"]
    predictions = list(predict_videos(predictor, clips, lambda batch: batch.ids.numpy()[:, None] + 0.5, split="val"))
    assert [prediction.clip for prediction in predictions] == clips
    assert [None if prediction.values is None else prediction.values.tolist() for prediction in predictions] == [
        [0.5], None, [2.5], None, None,
    ]  # fmt: skip
    assert [prediction.error for prediction in predictions] == [
        "",
        "b.mp4: truncated",
        "",
        "d.mp4: the decoder crashed, its worker died of SIGABRT",
        "e.mp4: not loaded within data.sample_timeout=3 seconds, its worker was killed",
    ]
