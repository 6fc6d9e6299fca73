"""Splits with videos in memory."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest

from vexp.data.loading.dataset import ClipDataset
from vexp.data.sources.base import ArrayReader, Source
from vexp.tools.visualize.samples import Split


class Videos(Source):
    """Videos of noise with 24x16 pixels, given as (number of frames, frame rate)."""

    classes = ("a", "a class whose name is longer than any image is wide")

    def __init__(self, videos: list[tuple[int, float | None]], channels: int = 3) -> None:
        rng = np.random.default_rng(0)
        self.videos = [(rng.integers(0, 256, (n, 16, 24, channels), np.uint8), fps) for n, fps in videos]
        self.labels = np.arange(len(videos)) % 2

    def __len__(self) -> int:
        return len(self.videos)

    def name(self, index: int) -> str:
        return f"/a/long/way/through/many/folders/to/the/video/number_{index}.mp4"

    def open(self, index: int) -> Any:
        return nullcontext(ArrayReader(*self.videos[index]))


@pytest.fixture(scope="session")
def split() -> Callable[..., Split]:
    def make(
        name: str, steps: list[Any], videos: list[tuple[int, float | None]], *, channels: int = 3, lazy: bool = True
    ) -> Split:
        named = {f"{type(step).__name__.lower()}_{place}": step for place, step in enumerate(steps)}
        return Split(name, ClipDataset(Videos(videos, channels), named, seed=3, lazy=lazy))

    return make
