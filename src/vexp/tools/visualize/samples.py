"""What a sheet is drawn from: samples of a split, made by the data set that training or evaluation asks."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vexp.core.errors import UserError, format_value
from vexp.data.batch.batch import Failure, Sample
from vexp.data.loading.bad_samples import ReplacedSample
from vexp.data.loading.dataset import ClipDataset, Key
from vexp.data.sources.base import Reader, frame_times
from vexp.data.transforms.color import TensorTransform


@dataclass(frozen=True, slots=True)
class Split:
    """Samples as a run takes them: ``name`` train, val or test; ``note`` where videos or steps are another split's."""

    name: str
    dataset: ClipDataset
    note: str = ""

    @property
    def title(self) -> str:
        return f"{self.name} · {self.note}" if self.note else self.name


@dataclass(frozen=True, slots=True)
class Video:
    """``times``: seconds at which each frame is shown, (num_frames,); None where nobody knows."""

    name: str
    num_frames: int
    width: int
    height: int
    times: NDArray[np.float64] | None

    @classmethod
    def of(cls, name: str, reader: Reader) -> Video:
        try:
            times = frame_times(reader) - frame_times(reader)[0]
        except ValueError:
            times = None
        return cls(name, reader.num_frames, reader.width, reader.height, times)

    @property
    def period(self) -> float | None:
        """Mean seconds a frame."""
        if self.times is None or self.num_frames < 2 or self.times[-1] <= 0:
            return None
        return float(self.times[-1]) / (self.num_frames - 1)

    @property
    def fps(self) -> float | None:
        return 1 / self.period if self.period else None

    @property
    def seconds(self) -> float | None:
        return self.num_frames * self.period if self.period else None

    def text(self) -> str:
        """``280 frames of 340x256 · 9.3 s at 29.97 fps``."""
        length = f"{self.num_frames} frame{'s' * (self.num_frames != 1)} of {self.width}x{self.height}"
        return f"{length} · {self.seconds:.1f} s at {self.fps:.4g} fps" if self.fps else f"{length} · fps not known"

    def at(self, number: int) -> str:
        """A frame by its number and, where known, its time."""
        return f"{number}" if self.times is None else f"{number} · {self.times[number]:.2f} s"


def draw(dataset: ClipDataset, key: Key) -> Sample:
    """The sample of a key, in this process.

    Raises:
        UserError: it cannot be made.
    """
    made = dataset[key]
    if isinstance(made, ReplacedSample):
        made = made.bad[0]
    if isinstance(made, Failure):
        raise UserError(made.message)
    return made


def label_text(labels: Any, classes: Sequence[str]) -> str:
    """The class of an int64 label or the classes of a float32 (classes,): blended ones with their shares."""
    if labels.ndim == 0:
        return classes[int(labels)]
    found = [(float(share), name) for share, name in zip(labels, classes, strict=True) if share > 0]
    if all(share == 1 for share, _ in found):
        return ", ".join(name for _, name in found) or "no class"
    return " + ".join(f"{share:.2f} {name}" for share, name in sorted(found, reverse=True))


def step_text(step: Any) -> str:
    """The class of a step and the arguments that are not its defaults."""
    if isinstance(step, TensorTransform):
        return f"{step.transform}".replace("\n", " ")
    if not dataclasses.is_dataclass(step):
        return type(step).__name__
    said = []
    for field in dataclasses.fields(step):
        value = getattr(step, field.name)
        made = field.default_factory
        default = made() if made is not dataclasses.MISSING else field.default
        if value != default:
            said.append(f"{field.name}={format_value(value)}")
    return f"{type(step).__name__}({', '.join(said)})"


def truncate_pipeline(dataset: ClipDataset, steps: Mapping[str, Any]) -> ClipDataset:
    """The same samples through the first steps only, one after the other as documented; the same random numbers."""
    return ClipDataset(dataset.source, steps, seed=dataset.seed, lazy=False, flip_labels=dataset.flip_labels)


def evenly_spaced(count: int, most: int) -> list[int]:
    """At most ``most`` of 0..count-1, evenly spread, first and last among them."""
    if most == 1 and count > 1:
        return [count // 2]
    return sorted({round(float(place)) for place in np.linspace(0, count - 1, min(count, most))})
