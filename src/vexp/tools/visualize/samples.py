"""Samples of a split, made by the dataset that training or evaluation uses, and their description as text."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import MISSING, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vexp.core.errors import UserError, format_value
from vexp.data.batch.batch import FeatureSample, Sample
from vexp.data.loading.dataset import ClipDataset, Key
from vexp.data.loading.outcomes import Failure, RepeatedSample, ReplacedSample
from vexp.data.sources.base import Reader, frame_times
from vexp.data.transforms.photometric import TensorTransform


@dataclass(frozen=True, slots=True)
class Split:
    """A split of a run, with its dataset as training or evaluation builds it."""

    name: str  # "train", "val" or "test"
    dataset: ClipDataset
    note: str = ""  # which parts are those of another split; empty if none

    @property
    def title(self) -> str:
        return f"{self.name} · {self.note}" if self.note else self.name


class Video:
    """Properties of a video; those that need the times of its frames are None if these are unknown."""

    def __init__(self, name: str, reader: Reader) -> None:
        self.name, self.num_frames, self.width, self.height = name, reader.num_frames, reader.width, reader.height
        self.times: NDArray[np.float64] | None = None  # seconds, from the first frame
        self.period: float | None = None  # mean time between two frames in seconds
        with suppress(UserError):
            times = frame_times(reader)
            self.times = times - times[0]
            if self.num_frames > 1 and self.times[-1] > 0:
                self.period = float(self.times[-1]) / (self.num_frames - 1)
        self.fps = 1 / self.period if self.period else None
        self.seconds = self.num_frames * self.period if self.period else None

    def describe(self) -> str:
        """Return a description such as ``280 frames of 340x256 · 9.3 s at 29.97 fps``."""
        length = f"{self.num_frames} frame{'s' * (self.num_frames != 1)} of {self.width}x{self.height}"
        return f"{length} · {self.seconds:.1f} s at {self.fps:.4g} fps" if self.fps else f"{length} · unknown fps"

    def frame_label(self, index: int) -> str:
        """Return the index of a frame and, if known, its time."""
        return f"{index}" if self.times is None else f"{index} · {self.times[index]:.2f} s"


def load_sample(dataset: ClipDataset, key: Key, repeat: int = 0) -> Sample:
    """Load one sample in this process, with ``data.train.repeat_augment`` the given one of its repeats.

    Raises:
        UserError: If the sample cannot be read.
    """
    sample = dataset[key]
    if isinstance(sample, ReplacedSample):
        sample = sample.bad[0]
    if isinstance(sample, Failure):
        raise UserError(sample.message)
    assert not isinstance(sample, FeatureSample)  # a dataset that was not given a cache
    return sample.samples[repeat] if isinstance(sample, RepeatedSample) else sample


def format_label(labels: Any, classes: Sequence[str]) -> str:
    """Format an int64 label or float32 (classes,) label weights; weights other than 0 and 1 are printed."""
    if labels.ndim == 0:
        return classes[int(labels)] if int(labels) < len(classes) else f"class {int(labels)}"
    weights = [(float(weight), name) for weight, name in zip(labels, classes, strict=True) if weight > 0]
    if all(weight == 1 for weight, _ in weights):
        return ", ".join(name for _, name in weights) or "no class"
    return " + ".join(f"{weight:.2f} {name}" for weight, name in sorted(weights, reverse=True))


def format_step(step: Any) -> str:
    """Format a pipeline step as its class with the arguments that differ from their defaults."""
    if isinstance(step, TensorTransform):
        return f"{step.transform}".replace("\n", " ")
    if not dataclasses.is_dataclass(step):
        return type(step).__name__
    arguments = []
    for field in dataclasses.fields(step):
        value = getattr(step, field.name)
        if value != (field.default if field.default_factory is MISSING else field.default_factory()):
            arguments.append(f"{field.name}={format_value(value)}")
    return f"{type(step).__name__}({', '.join(arguments)})"


def evenly_spaced(count: int, limit: int) -> list[int]:
    """Return at most ``limit`` evenly spaced indices of 0..count-1, including the first and the last."""
    if limit == 1 and count > 1:
        return [count // 2]
    return sorted({round(float(index)) for index in np.linspace(0, count - 1, min(count, limit))})
