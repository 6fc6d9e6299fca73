"""Resizing and flipping.

Spatial transforms are planned first and then rendered with a single resample::

    views = [View.whole(width, height)]
    for transform in transforms:
        views = transform.plan(views, rng)
    clip = render(frames, views[0])

``transform.apply(frames, rng)`` applies a single transform to frames.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from vexp.core.errors import ConfigError
from vexp.core.fields import ValidatedConfig, option
from vexp.core.lazy import np
from vexp.data.transforms.base import SpatialTransform
from vexp.data.transforms.view import INTERPOLATIONS, Size, View, shared_size


def _scale_rule(value: Any) -> str | None:
    if isinstance(value, float):
        return None if math.isfinite(value) and value > 0 else "must be a positive factor"
    if isinstance(value, int) and not isinstance(value, bool):
        return (
            f"is ambiguous: write [-1,{value}] for a short side of {value} pixels, [{value},{value}] for a size, "
            f"{value}.0 for a factor"
        )
    if isinstance(value, list | tuple) and len(value) == 2 and all(type(side) is int for side in value):
        if all(side >= 1 or side == -1 for side in value) and max(value) >= 1:
            return None
        return "must have sides >= 1; one of them may be -1, the other is then the short side"
    return "must be [width,height] in integer pixels, [-1,short_side], or a factor such as 0.5"


def _rescaled(frame: Size, factor: float) -> Size:
    """Multiply both sides by a factor, rounding half up (as mmcv) and to at least 1 pixel."""
    return max(1, int(frame[0] * factor + 0.5)), max(1, int(frame[1] * factor + 0.5))


@dataclass(kw_only=True, slots=True)
class Resize(SpatialTransform):
    """Resize to a fixed scale (mmaction2 0.24.1), bilinear without antialiasing.

    ``scale`` is [-1, s] or [s, -1] for a short side of s pixels; [a, b] for the largest size with the same aspect ratio
    within a long side of max(a, b) and a short side of min(a, b), or with keep_ratio=false for exactly a x b pixels; or
    a float for a factor. With keep_ratio=true both sides are rounded as ``int(side * factor + 0.5)``.
    """

    scale: Any = option(
        doc="New size: [width,height], [-1,short_side] or a factor such as 0.5.",
        unit="pixels",
        accepts="list of 2 int, or float",
        check=_scale_rule,
    )
    keep_ratio: bool = option(
        True, "Preserve the aspect ratio, so that scale is a limit; false: resize exactly to scale."
    )
    interpolation: str = option("bilinear", "Interpolation of pixels.", choices=INTERPOLATIONS)

    def __post_init__(self) -> None:
        ValidatedConfig.__post_init__(self)
        if not self.keep_ratio and (isinstance(self.scale, float) or min(self.scale) < 1):
            raise ConfigError("must be [width,height] with keep_ratio=false", key="scale", value=self.scale)

    def plan(self, views: Sequence[View], rng: np.random.Generator) -> list[View]:
        width, height = self._size(shared_size(views))
        return [view.resized(width, height, self.interpolation) for view in views]

    def _size(self, frame: Size) -> Size:
        if not self.keep_ratio:
            return self.scale[0], self.scale[1]
        if isinstance(self.scale, float):
            return _rescaled(frame, self.scale)
        long_side, short_side = max(self.scale), min(self.scale)
        if short_side == -1:
            return _rescaled(frame, long_side / min(frame))
        return _rescaled(frame, min(long_side / max(frame), short_side / min(frame)))


@dataclass(kw_only=True, slots=True)
class RandomRescale(SpatialTransform):
    """Resize the short side to a uniformly random length, preserving the aspect ratio (scale jitter, arXiv:1409.1556).

    Also known as RandomShortSideScale (PyTorchVideo). Both ends of the range are included.
    """

    scale_range: list[int] = option(
        doc="Minimum and maximum short side, inclusive.",
        unit="pixels",
        ge=1,
        length=2,
        check=lambda value: None if value[0] <= value[1] else "must be [shortest,longest]",
    )
    interpolation: str = option("bilinear", "Interpolation of pixels.", choices=INTERPOLATIONS)

    def plan(self, views: Sequence[View], rng: np.random.Generator) -> list[View]:
        frame = shared_size(views)
        short_side = int(rng.integers(self.scale_range[0], self.scale_range[1], endpoint=True))
        width, height = _rescaled(frame, short_side / min(frame))
        return [view.resized(width, height, self.interpolation) for view in views]


@dataclass(kw_only=True, slots=True)
class Flip(SpatialTransform):
    """Mirror a whole clip horizontally with probability ``flip_ratio``.

    For actions with a direction, the dataset maps the labels (``flip_label_map``).
    """

    mirrors: ClassVar[str] = "clip"

    flip_ratio: float = option(0.5, "Probability of mirroring a clip.", ge=0, le=1)
    direction: str = option("horizontal", "Axis of the flip.", choices=("horizontal",))

    def plan(self, views: Sequence[View], rng: np.random.Generator) -> list[View]:
        return [view.flipped() for view in views] if rng.random() < self.flip_ratio else list(views)
