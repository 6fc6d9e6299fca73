"""One sample: a video of a source through the pipeline, with randomness that depends on nothing but its identity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from vexp.data.batch import Failure, Sample
from vexp.data.photometric import runnable
from vexp.data.pipeline import make_clips
from vexp.data.source import Source, is_multi_label
from vexp.errors import UserError

#: (epoch, index), and how often the index came before in the epoch where an order repeats some
Key = tuple[int, int] | tuple[int, int, int]


class ClipDataset(Dataset["Sample | Failure"]):
    """Samples of a source, asked for by ``Key``.

    The generator of a sample is a function of (seed, epoch, index, times before): the same for any number of workers,
    any order and after any restart.
    """

    def __init__(
        self, source: Source, steps: Mapping[str, Any], *, seed: int, lazy: bool, flip_labels: np.ndarray | None = None
    ) -> None:
        """Args:
        source: the videos.
        steps: the pipeline's steps.
        seed: of the run.
        lazy: compose the geometry into one resample.
        flip_labels: int64 (classes,), the class that each becomes when mirrored; None: the same.
        """
        self.source = source
        self.multi_label = is_multi_label(source)
        self.steps = runnable(dict(steps))
        self.seed = seed
        self.lazy = lazy
        self.flip_labels = flip_labels

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, key: Key) -> Sample | Failure:
        epoch, index, *before = key
        rng = np.random.default_rng([self.seed, epoch, index, *before])  # the first time, 0, is as if it were not there
        try:
            with self.source.open(index) as reader:
                clips = make_clips(reader, self.steps, rng, lazy=self.lazy)
        except ValueError as error:  # also a UserError: a file that cannot be read, a frame smaller than its crop
            name = self.source.name(index)
            return Failure(index, str(error) if name in str(error) else f"{name}: {error}")
        return Sample(clips, self._labels(index, mirrored=bool(clips.mirrored.any())), index)

    def _labels(self, index: int, *, mirrored: bool) -> torch.Tensor:
        """int64 (), or float32 (classes,) where a sample may have several."""
        labels = np.atleast_1d(np.asarray(self.source.labels[index], np.int64))
        if self.flip_labels is not None and mirrored:
            labels = self.flip_labels[labels]
        if not self.multi_label:
            return torch.tensor(int(labels[0]))
        several = torch.zeros(len(self.source.classes))
        several[torch.from_numpy(labels)] = 1.0
        return several


def flip_table(classes: list[str], flip_label_map: Mapping[str, str]) -> np.ndarray | None:
    """``data.flip_label_map`` (by class name, one direction is enough) as int64 (classes,); None where it is empty.

    Raises:
        UserError: a name that is no class, or a class with two mirror images.
    """
    if not flip_label_map:
        return None
    for name in (*flip_label_map, *flip_label_map.values()):
        if name not in classes:
            raise UserError(f"data.flip_label_map: {name!r} is no class; classes: {', '.join(classes)}")
    both = {right: left for left, right in flip_label_map.items()} | dict(flip_label_map)
    for left, right in flip_label_map.items():
        if both[right] != left:
            raise UserError(f"data.flip_label_map: {left} mirrors to {right}, but {right} to {both[right]}")
    return np.array([classes.index(both.get(name, name)) for name in classes], np.int64)
