"""Crops: pure functions that plan the views of a clip, in output pixels of the given views.

Names, arguments and the order of crops are those of mmaction2 0.24.1. Sizes are an int (square) or [width, height].
Crops do not pad, so frames smaller than the crop are an error. Random offsets include the last one, which mmaction2's
RandomCrop never draws. A new crop is also a row of ``vexp.config.options`` and a file in conf/transform.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from vexp.core.errors import UserError, format_value
from vexp.core.fields import option
from vexp.core.lazy import np
from vexp.data.transforms.base import SpatialTransform
from vexp.data.transforms.view import Size, View, shared_size


def _size_rule(value: Any) -> str | None:
    sides = value if isinstance(value, list | tuple) and len(value) == 2 else [value]
    if all(isinstance(side, int) and not isinstance(side, bool) and side >= 1 for side in sides):
        return None
    return "must be an integer >= 1 or [width,height]"


def _range_rule(value: Sequence[float]) -> str | None:
    return None if value[0] <= value[1] else "must be [smallest,largest]"


#: Arguments of ``option`` for a size.
_SIZE: dict[str, Any] = {"unit": "pixels", "accepts": "int or list of 2 int", "check": _size_rule}


def _as_size(value: Any) -> Size:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def _frame_and_crop(transform: SpatialTransform, views: Sequence[View], name: str = "crop_size") -> tuple[Size, Size]:
    """Return the size (width, height) of the views and of option ``name``; raise UserError if the views are smaller."""
    frame, value = shared_size(views), getattr(transform, name)
    width, height = _as_size(value)
    if width > frame[0] or height > frame[1]:
        raise UserError(
            f"{type(transform).__name__}: {name}={format_value(value)} is {width}x{height} pixels (w x h), but the "
            f"frames are {frame[0]}x{frame[1]} at this transform; add a Resize before it, such as "
            f"scale=[-1,{max(width, height)}], or choose a smaller {name}"
        )
    return frame, (width, height)


def _random_crop(views: Sequence[View], frame: Size, crop: Size, rng: np.random.Generator) -> list[View]:
    """Crop all views at one uniform offset, including the last one."""
    x, y = int(rng.integers(frame[0] - crop[0] + 1)), int(rng.integers(frame[1] - crop[1] + 1))
    return [view.cropped(x, y, *crop) for view in views]


def _center_crop(views: Sequence[View], frame: Size, crop: Size) -> list[View]:
    return [view.cropped((frame[0] - crop[0]) // 2, (frame[1] - crop[1]) // 2, *crop) for view in views]


@dataclass(kw_only=True, slots=True)
class RandomResizedCrop(SpatialTransform):
    """A crop of random area and aspect ratio, the "Inception-style" crop (https://arxiv.org/abs/1409.4842).

    Ten candidates are drawn, with areas uniform in ``area_range`` and aspect ratios log-uniform in
    ``aspect_ratio_range``. The first that fits is placed uniformly. If none fits, it is the centered square of the
    short side (torchvision clamps the ratio instead). As in mmaction2, it does not resize: add ``Resize`` with
    keep_ratio=false after it.
    """

    area_range: list[float] = option(
        [0.08, 1.0], "Minimum and maximum area as a fraction of the frame.", gt=0, le=1, length=2, check=_range_rule
    )
    aspect_ratio_range: list[float] = option(
        [3 / 4, 4 / 3], "Minimum and maximum aspect ratio, width / height.", gt=0, length=2, check=_range_rule
    )

    def plan(self, views: Sequence[View], rng: np.random.Generator) -> list[View]:
        frame = shared_size(views)
        low, high = self.aspect_ratio_range
        aspects = np.exp(rng.uniform(math.log(low), math.log(high), size=10))
        areas = rng.uniform(self.area_range[0], self.area_range[1], size=10) * (frame[0] * frame[1])
        widths = np.round(np.sqrt(areas * aspects)).astype(int).tolist()
        heights = np.round(np.sqrt(areas / aspects)).astype(int).tolist()
        for width, height in zip(widths, heights, strict=True):
            if 1 <= width <= frame[0] and 1 <= height <= frame[1]:
                return _random_crop(views, frame, (width, height), rng)
        return _center_crop(views, frame, (min(frame), min(frame)))


@dataclass(kw_only=True, slots=True)
class RandomCrop(SpatialTransform):
    """A crop of fixed size at a uniformly random position, which is the same for the whole clip."""

    size: Any = option(doc="Size of the crop, an int or [width,height].", **_SIZE)

    def plan(self, views: Sequence[View], rng: np.random.Generator) -> list[View]:
        return _random_crop(views, *_frame_and_crop(self, views, "size"), rng)


@dataclass(kw_only=True, slots=True)
class CenterCrop(SpatialTransform):
    """A centered crop; the larger half of an odd margin is on the right and at the bottom."""

    crop_size: Any = option(doc="Size of the crop, an int or [width,height].", **_SIZE)

    def plan(self, views: Sequence[View], rng: np.random.Generator) -> list[View]:
        return _center_crop(views, *_frame_and_crop(self, views))


@dataclass(kw_only=True, slots=True)
class ThreeCrop(SpatialTransform):
    """Three crops along the long side in the order left, right, middle or top, bottom, middle.

    The crop must be as high or as wide as the frame. The outer crops are 2 * (margin // 2) apart, so an odd margin
    omits the last column (row), as in mmaction2.
    """

    crop_size: Any = option(doc="Size of each crop, an int or [width,height].", **_SIZE)

    def plan(self, views: Sequence[View], rng: np.random.Generator) -> list[View]:
        frame, crop = _frame_and_crop(self, views)
        if crop[0] != frame[0] and crop[1] != frame[1]:
            raise UserError(
                f"ThreeCrop: crop_size={format_value(self.crop_size)} must be as wide or as high as the frames, which "
                f"are {frame[0]}x{frame[1]} pixels (w x h) at this transform; add Resize with scale=[-1,{min(crop)}] "
                f"before it, or set crop_size={min(frame)}"
            )
        step_x, step_y = (frame[0] - crop[0]) // 2, (frame[1] - crop[1]) // 2
        return [view.cropped(i * step_x, i * step_y, *crop) for view in views for i in (0, 2, 1)]


@dataclass(kw_only=True, slots=True)
class TenCrop(SpatialTransform):
    """Four corner crops and the center crop, each followed by its mirror image.

    The order is upper left, upper right, lower left, lower right, center. The corners are on a grid of ``margin // 4``,
    so up to three pixels are omitted on the right and at the bottom, as in mmaction2.
    """

    mirrors: ClassVar[str] = "some views"

    crop_size: Any = option(doc="Size of each crop, an int or [width,height].", **_SIZE)

    def plan(self, views: Sequence[View], rng: np.random.Generator) -> list[View]:
        frame, crop = _frame_and_crop(self, views)
        crops = [view.cropped(x, y, *crop) for view in views for x, y in _grid(frame, crop, _CORNERS_AND_CENTER)]
        return [side for view in crops for side in (view, view.flipped())]


@dataclass(kw_only=True, slots=True)
class MultiScaleCrop(SpatialTransform):
    """A crop with sides drawn from ``scales`` of the short side, the augmentation of TSN (arXiv:1608.00859).

    A side within 2 pixels of ``input_size`` is set to it if the frame is large enough. The position is one of 5
    (corners and center) or 13 grid points, or uniform with ``random_crop``. It does not resize: add ``Resize`` after
    it.
    """

    input_size: Any = option(
        doc="Input size of the model, an int or [width,height]; nearly equal sides are set to it.", **_SIZE
    )
    scales: list[float] = option(
        [1.0],
        "Sides as fractions of the short side of the frame.",
        gt=0,
        le=1,
        check=lambda value: None if len(value) > 0 else "needs at least one scale",
    )
    max_wh_scale_gap: int = option(1, "Maximum distance between the scales of width and height in the list.", ge=0)
    random_crop: bool = option(False, "Place the crop uniformly instead of on a grid point.")
    num_fixed_crops: int = option(
        5,
        "Grid points for the crop: 5 or 13.",
        unit="positions",
        check=lambda value: None if value in (5, 13) else "must be 5 or 13",
    )

    def plan(self, views: Sequence[View], rng: np.random.Generator) -> list[View]:
        frame = shared_size(views)
        sizes = self._sizes(frame)
        crop = sizes[rng.integers(len(sizes))]
        if self.random_crop:
            return _random_crop(views, frame, crop, rng)
        points = _grid(frame, crop, _CORNERS_AND_CENTER if self.num_fixed_crops == 5 else _THIRTEEN_POINTS)
        x, y = points[rng.integers(len(points))]
        return [view.cropped(x, y, *crop) for view in views]

    def _sizes(self, frame: Size) -> list[Size]:
        sides = [max(1, int(min(frame) * scale)) for scale in self.scales]
        near = self.max_wh_scale_gap
        pairs = [(width, height) for i, height in enumerate(sides) for width in sides[max(0, i - near) : i + near + 1]]
        target = _as_size(self.input_size)
        return [(_snap(width, target[0], frame[0]), _snap(height, target[1], frame[1])) for width, height in pairs]


def _snap(side: int, target: int, limit: int) -> int:
    return target if abs(side - target) <= 2 and target <= limit else side


#: Grid points (x, y) in quarters of the margin.
_CORNERS_AND_CENTER = ((0, 0), (4, 0), (0, 4), (4, 4), (2, 2))
_THIRTEEN_POINTS = (
    *_CORNERS_AND_CENTER,
    *((0, 2), (4, 2), (2, 4), (2, 0)),  # centers of the sides
    *((1, 1), (3, 1), (1, 3), (3, 3)),  # halfway from the center to the corners
)


def _grid(frame: Size, crop: Size, points: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the offsets (x, y) of a crop at grid points, with quarters of the margin rounded down."""
    step_x, step_y = (frame[0] - crop[0]) // 4, (frame[1] - crop[1]) // 4
    return [(x * step_x, y * step_y) for x, y in points]
