"""Map-style data set of samples whose random numbers depend on nothing but the seed and the sample's key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, get_worker_info

from vexp.core.errors import ConfigError, UserError
from vexp.data.batch.batch import FeatureSample, Sample
from vexp.data.loading.feature_cache import FeatureCache
from vexp.data.loading.outcomes import Failure, RepeatedSample, ReplacedSample
from vexp.data.loading.plugin_errors import PluginError, plugin_error, raised_within
from vexp.data.loading.watchdog import loading
from vexp.data.sources.base import Source, complete_source
from vexp.data.transforms.photometric import build_transforms
from vexp.data.transforms.pipeline import make_repeats

#: (epoch, index), followed by the number of earlier occurrences in the epoch if a sampler repeats indices
Key = tuple[int, int] | tuple[int, int, int]
_MAX_REPLACEMENTS = 16  # tried for one bad sample


@dataclass(eq=False, repr=False)
class ClipDataset(Dataset["Sample | RepeatedSample | FeatureSample | Failure | ReplacedSample"]):
    """Samples of a source, indexed by ``Key``.

    The random generator of a sample is a function of (seed, epoch, index, earlier occurrences, repeat): the same for
    any number of workers, in any order and after any restart. The first of ``repeats`` samples of a video is the one
    that it has without repeats; the others differ from it in all transforms but the sampler.

    A sample is bad if its video cannot be read or its frames do not fit a crop (``UserError``, or an ``OSError`` while
    the file is read). Any other exception is an error in the code of a transform or data set: it is raised, as a
    ``PluginError`` if that code is not part of vexp. A worker process returns the ``PluginError`` instead.
    """

    source: Source
    steps: Mapping[str, Any]  # the transforms of the pipeline by name
    _: KW_ONLY
    seed: int  # of the run
    lazy: bool  # compose the geometric transforms into one resampling
    flip_labels: np.ndarray | None = None  # int64 (classes,), the class that each becomes when mirrored; None: the same
    #: Outcome of a bad sample: "fail" (a ``Failure``), "replace" (a ``ReplacedSample`` with another sample) or
    #: "leave_out" (a ``ReplacedSample`` without one).
    on_bad: str = "fail"
    training: bool = False  # whether samples are those that a run trains on
    repeats: int = 1  # samples of each video, a ``RepeatedSample`` if there are several
    apart: bool = False  # batches are of one list each (data.train.mix): a bad sample is replaced by one of its list
    own_classes: bool = False  # labels beyond the classes are those of lists with classes of their own, from 0
    features: FeatureCache | None = None  # cached features, in place of clips: videos are not read

    def __post_init__(self) -> None:
        self.source, self.steps = complete_source(self.source), build_transforms(dict(self.steps))
        self.fatal: dict[int, str] = {}  # see mark_fatal

    def __len__(self) -> int:
        return len(self.source)

    def mark_fatal(self, index: int, message: str) -> None:
        """Treat a sample as bad, for the reason ``message``, without loading it again."""
        self.fatal[index] = message

    def __getitem__(self, key: Key) -> Sample | RepeatedSample | FeatureSample | Failure | ReplacedSample:
        try:
            outcome = self._load(key, self._generators(key))
            if not isinstance(outcome, Failure) or self.on_bad == "fail":
                return outcome
            return self._replacement(key, outcome) if self.on_bad == "replace" else ReplacedSample(None, (outcome,))
        except PluginError as error:
            if get_worker_info() is None:
                raise
            return error  # type: ignore[return-value]  # only in a worker: torch would send an exception as text

    def _generators(self, key: Key, spawn_key: tuple[int, ...] = ()) -> list[np.random.Generator]:
        """Return a random generator for each repeat of a sample."""
        first: list[int] = [self.seed, *key]  # a trailing 0 (no earlier occurrence) changes no draw
        entropies = [first, *([*first, *(3 - len(key)) * [0], repeat] for repeat in range(1, self.repeats))]
        return [np.random.default_rng(np.random.SeedSequence(words, spawn_key=spawn_key)) for words in entropies]

    def _replacement(self, key: Key, failure: Failure) -> ReplacedSample | Failure:
        """Load another sample in place of a bad one; which one is a function of the seed and the key."""
        bad, rows = [failure], np.arange(len(self))
        if self.apart and self.source.parts is not None:
            rows = np.flatnonzero(self.source.parts == self.source.parts[failure.id])
        for draw in range(_MAX_REPLACEMENTS):
            rngs = self._generators(key, spawn_key=(1, draw))
            outcome = self._load((failure.epoch, int(rows[rngs[0].integers(len(rows))])), rngs)
            if not isinstance(outcome, Failure):
                return ReplacedSample(outcome, tuple(bad))
            bad.append(outcome)
        message = f"samples drawn to replace it cannot be read either, the last one: {bad[-1].message}"
        return Failure(failure.id, f"{failure.message}; {_MAX_REPLACEMENTS} {message}", failure.epoch)

    def _load(self, key: Key, rngs: Sequence[np.random.Generator]) -> Sample | RepeatedSample | FeatureSample | Failure:
        epoch, index = key[:2]
        if index in self.fatal:
            return Failure(index, self.fatal[index], epoch, fatal=True)
        if self.features is not None:
            try:
                features = self.features.load(self.source, index)
            except UserError as error:
                return Failure(index, f"{self.source.name(index)}: {error}", epoch)
            return FeatureSample(features, self._labels(index, mirrored=False), index)
        try:
            with loading(epoch, index), self.source.open(index) as reader:
                samples = self.samples(reader, index, rngs)
        except MemoryError:
            raise
        except Exception as error:
            name = self.source.name(index)
            # An OSError within a transform is about a file of the transform, not about the video.
            unreadable = isinstance(error, OSError) and not raised_within(error, self.steps.values())
            if unreadable or isinstance(error, UserError):
                return Failure(index, str(error) if name in str(error) else f"{name}: {error}", epoch)
            attributed = plugin_error(error, name)
            if attributed is None:
                raise
            raise attributed from error
        return samples[0] if self.repeats == 1 else RepeatedSample(tuple(samples))

    def samples(self, reader: Any, index: int, rngs: Sequence[np.random.Generator]) -> list[Any]:
        """Make a sample of an opened video for each generator; a task's data set defines what its samples hold.

        A sample is a ``Sample``, or has a method ``collate(samples)`` that returns a batch of samples of its class.
        """
        repeats = make_repeats(reader, self.steps, rngs, lazy=self.lazy)
        return [Sample(clips, self._labels(index, mirrored=bool(clips.mirrored.any())), index) for clips in repeats]

    def _labels(self, index: int, *, mirrored: bool) -> torch.Tensor:
        """Return the label of a sample, int64 (), or its labels as float32 (classes,) of 0 and 1."""
        labels, classes = np.atleast_1d(np.asarray(self.source.labels[index], np.int64)), len(self.source.classes)
        if self.own_classes and labels[0] >= classes:
            return torch.tensor(int(labels[0]) - classes)
        if self.flip_labels is not None and mirrored:
            labels = self.flip_labels[labels]
        if not self.source.multi_label:
            return torch.tensor(int(labels[0]))
        targets = torch.zeros(classes)
        targets[torch.from_numpy(labels)] = 1.0
        return targets


def flip_table(classes: list[str], flip_label_map: Mapping[str, str]) -> np.ndarray | None:
    """Convert ``data.flip_label_map``, class names by the name of their mirror image, to class indices.

    One direction of each pair is enough. The result is int64 (classes,), the class that each class becomes when
    mirrored; None if the map is empty.

    Raises:
        ConfigError: If a name is not a class, or a class has two mirror images.
    """
    if not flip_label_map:
        return None
    key = "data.flip_label_map"
    for name in (*flip_label_map, *flip_label_map.values()):
        if name not in classes:
            raise ConfigError(f"{name!r} is not a class; classes: {', '.join(classes)}", key=key)
    mirrored = {right: left for left, right in flip_label_map.items()} | dict(flip_label_map)
    for left, right in flip_label_map.items():
        if mirrored[right] != left:
            raise ConfigError(f"{left} is mirrored to {right}, but {right} to {mirrored[right]}", key=key)
    return np.array([classes.index(mirrored.get(name, name)) for name in classes], np.int64)
