"""Random videos in memory, some of which cannot be read."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np

from vexp.core.errors import UserError
from vexp.data.loading.dataset import ClipDataset
from vexp.data.sources.base import ArrayReader, Source
from vexp.data.transforms.crops import RandomResizedCrop
from vexp.data.transforms.frame_sampling import SampleFrames
from vexp.data.transforms.resize import Resize


class NoiseSource(Source):
    """``num`` random videos; those in ``bad`` cannot be read."""

    classes = ("a", "b")
    backend = "memory"

    def __init__(self, bad, num=9):
        self.bad, self.num = set(bad), num
        self.labels = np.arange(num) % 2

    def __len__(self):
        return self.num

    def name(self, index):
        return f"video {index}.mp4"

    @contextmanager
    def open(self, index):
        if index in self.bad:
            raise UserError(f"{self.name(index)}: truncated")
        yield ArrayReader(np.random.RandomState(index).randint(0, 256, (10, 16, 20, 3), np.uint8))


def dataset_of(bad, on_bad, seed=1, num=9):
    """Build a dataset of clips of a ``NoiseSource``."""
    steps = {
        "sample": SampleFrames(clip_len=3),
        "crop": RandomResizedCrop(),
        "resize": Resize(scale=[8, 8], keep_ratio=False),
    }
    return ClipDataset(NoiseSource(bad, num), steps, seed=seed, lazy=True, on_bad=on_bad)


def content(batch):
    """Return the content of a batch in a form that can be compared with ``==``."""
    return batch.frames.numpy().tobytes(), batch.labels.tolist(), batch.ids.tolist()
