"""One sample: a video of a source through the pipeline, with randomness that depends on nothing but its identity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from vexp.core.errors import UserError
from vexp.data.batch.batch import Failure, Sample
from vexp.data.loading.bad_samples import ReplacedSample
from vexp.data.loading.watchdog import WorkerMonitor
from vexp.data.sources.base import Source, is_multi_label
from vexp.data.transforms.color import build_transforms
from vexp.data.transforms.pipeline import make_clips

#: (epoch, index), and how often the index came before in the epoch where an order repeats some
Key = tuple[int, int] | tuple[int, int, int]
_MOST_DRAWS = 16  # in the place of one bad sample


class ClipDataset(Dataset["Sample | Failure | ReplacedSample"]):
    """Samples of a source, asked for by ``Key``.

    The generator of a sample is a function of (seed, epoch, index, times before): the same for any number of workers,
    any order and after any restart.
    """

    def __init__(
        self,
        source: Source,
        steps: Mapping[str, Any],
        *,
        seed: int,
        lazy: bool,
        flip_labels: np.ndarray | None = None,
        on_bad: str = "fail",
    ) -> None:
        """Args:
        source: the videos.
        steps: the pipeline's steps.
        seed: of the run.
        lazy: compose the geometry into one resample.
        flip_labels: int64 (classes,), the class that each becomes when mirrored; None: the same.
        on_bad: what a sample that cannot be made is: "fail" (a ``Failure``), or within a ``ReplacedSample`` another one
            ("replace") or none ("leave_out").
        """
        self.source = source
        self.multi_label = is_multi_label(source)
        self.steps = build_transforms(dict(steps))
        self.seed = seed
        self.lazy = lazy
        self.flip_labels = flip_labels
        self.on_bad = on_bad
        self.fatal: dict[int, str] = {}  # samples that are not tried again, with the reason
        self.watch: WorkerMonitor | None = None

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, key: Key) -> Sample | Failure | ReplacedSample:
        epoch, index, *before = key
        rng = np.random.default_rng([self.seed, epoch, index, *before])  # the first time, 0, is as if it were not there
        made = self._make(epoch, index, rng)
        if not isinstance(made, Failure) or self.on_bad == "fail":
            return made
        return self._replacement(key, made) if self.on_bad == "replace" else ReplacedSample(None, (made,))

    def _replacement(self, key: Key, failure: Failure) -> ReplacedSample | Failure:
        """Another sample for the place of one that cannot be made: a function of the seed and that place alone."""
        bad = [failure]
        for draw in range(_MOST_DRAWS):
            rng = np.random.default_rng(np.random.SeedSequence([self.seed, *key], spawn_key=(1, draw)))
            made = self._make(failure.epoch, int(rng.integers(len(self))), rng)
            if not isinstance(made, Failure):
                return ReplacedSample(made, tuple(bad))
            bad.append(made)
        return Failure(
            failure.id,
            f"{failure.message}; and none of {_MOST_DRAWS} samples drawn in its place can be made, the last: "
            f"{bad[-1].message}",
            failure.epoch,
        )

    def _make(self, epoch: int, index: int, rng: np.random.Generator) -> Sample | Failure:
        if index in self.fatal:
            return Failure(index, self.fatal[index], epoch, fatal=True)
        if self.watch is not None:
            self.watch.begin(epoch, index)
        try:
            with self.source.open(index) as reader:
                clips = make_clips(reader, self.steps, rng, lazy=self.lazy)
        except (UserError, OSError) as error:
            name = self.source.name(index)
            return Failure(index, str(error) if name in str(error) else f"{name}: {error}", epoch)
        finally:
            if self.watch is not None:
                self.watch.end()
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
