"""Crops as pure policies: each plans views of a clip, in output pixels of the views it is given.

Names, arguments and orders: mmaction2 0.24.1. Sizes are an int (square) or [width, height]. A crop never pads: frames
smaller than the crop are refused. Random offsets include the last one (mmaction2's RandomCrop never draws it).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from vexp.core.errors import format_value
from vexp.core.fields import option
from vexp.data.transforms.base import SpatialTransform
from vexp.data.transforms.view import Size, View, shared_size

_SIZE = "int or list of 2 int"


def _size_rule(value: Any) -> str | None:
    sides = value if isinstance(value, list | tuple) and len(value) == 2 else [value]
    if all(isinstance(side, int) and not isinstance(side, bool) and side >= 1 for side in sides):
        return None
    return "must be a whole number of pixels of at least 1, or two of them as [width,height]"


def _range_rule(value: Sequence[float]) -> str | None:
    return None if value[0] <= value[1] else "must be [smallest,largest]"


def _scales_rule(value: Sequence[float]) -> str | None:
    return None if len(value) > 0 else "needs at least one scale"


def _fixed_crops_rule(value: int) -> str | None:
    return None if value in (5, 13) else "must be 5 or 13"


def _as_size(value: Any) -> Size:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def _fitting_size(step: SpatialTransform, name: str, frame: Size) -> Size:
    """The crop size (width, height) that option ``name`` of a step asks for; ValueError where frames are smaller."""
    value = getattr(step, name)
    width, height = _as_size(value)
    if width > frame[0] or height > frame[1]:
        raise ValueError(
            f"{type(step).__name__}: {name}={format_value(value)} cuts {width}x{height} (w x h), but the frames are "
            f"{frame[0]}x{frame[1]} at this step; put a Resize before it, e.g. scale=[-1,{max(width, height)}], "
            f"or choose a smaller {name}"
        )
    return width, height


def _random_offset(frame: Size, crop: Size, rng: np.random.Generator) -> tuple[int, int]:
    """A uniform (x, y) of a crop inside a frame, the last one included."""
    return int(rng.integers(frame[0] - crop[0] + 1)), int(rng.integers(frame[1] - crop[1] + 1))


@dataclass(kw_only=True, slots=True)
class RandomResizedCrop(SpatialTransform):
    """A crop of random area and aspect ratio, the "Inception-style" crop (https://arxiv.org/abs/1409.4842).

    Ten candidates: areas uniform in ``area_range``, aspect ratios log-uniform in ``aspect_ratio_range``; the first that
    fits is placed uniformly. None fits: the centred square of the short side (torchvision clamps the ratio instead).
    It does not resize, whatever its name says: put ``Resize`` with keep_ratio=false after it.
    """

    area_range: list[float] = option(
        [0.08, 1.0], "smallest and largest area as a share of the frame's", gt=0, le=1, length=2, check=_range_rule
    )
    aspect_ratio_range: list[float] = option(
        [3 / 4, 4 / 3], "smallest and largest width / height", gt=0, length=2, check=_range_rule
    )

    def plan(self, views: Sequence[View], rng: np.random.Generator) -> list[View]:
        frame = shared_size(views)
        crop = self._first_fitting(frame, rng)
        if crop is None:
            crop = (min(frame), min(frame))
            x, y = (frame[0] - crop[0]) // 2, (frame[1] - crop[1]) // 2
        else:
            x, y = _random_offset(frame, crop, rng)
        return [view.cropped(x, y, *crop) for view in views]

    def _first_fitting(self, frame: Size, rng: np.random.Generator) -> Size | None:
        low, high = self.aspect_ratio_range
        aspects = np.exp(rng.uniform(math.log(low), math.log(high), size=10))
        areas = rng.uniform(self.area_range[0], self.area_range[1], size=10) * (frame[0] * frame[1])
        widths = np.round(np.sqrt(areas * aspects)).astype(int).tolist()
        heights = np.round(np.sqrt(areas / aspects)).astype(int).tolist()
        for width, height in zip(widths, heights, strict=True):
            if 1 <= width <= frame[0] and 1 <= height <= frame[1]:
                return width, height
        return None


@dataclass(kw_only=True, slots=True)
class RandomCrop(SpatialTransform):
    """A crop of fixed size at a uniform place, one place for the whole clip."""

    size: Any = option(doc="size of the crop: an int or [width,height]", unit="pixels", accepts=_SIZE, check=_size_rule)

    def plan(self, views: Sequence[View], rng: np.random.Generator) -> list[View]:
        frame = shared_size(views)
        crop = _fitting_size(self, "size", frame)
        x, y = _random_offset(frame, crop, rng)
        return [view.cropped(x, y, *crop) for view in views]


@dataclass(kw_only=True, slots=True)
class CenterCrop(SpatialTransform):
    """The centre of the frame; with an odd margin the larger half is right and below."""

    crop_size: Any = option(
        doc="size of the crop: an int or [width,height]", unit="pixels", accepts=_SIZE, check=_size_rule
    )

    def plan(self, views: Sequence[View], rng: np.random.Generator) -> list[View]:
        frame = shared_size(views)
        crop = _fitting_size(self, "crop_size", frame)
        return [view.cropped((frame[0] - crop[0]) // 2, (frame[1] - crop[1]) // 2, *crop) for view in views]


@dataclass(kw_only=True, slots=True)
class ThreeCrop(SpatialTransform):
    """Three crops along the long side: left, right, middle, or top, bottom, middle (in this order).

    The crop must be as high or as wide as the frame. The outer crops are twice ``margin // 2`` apart, so an odd margin
    leaves the last column (row) out, as in mmaction2.
    """

    crop_size: Any = option(
        doc="size of each crop: an int or [width,height]", unit="pixels", accepts=_SIZE, check=_size_rule
    )

    def plan(self, views: Sequence[View], rng: np.random.Generator) -> list[View]:
        frame = shared_size(views)
        crop = _fitting_size(self, "crop_size", frame)
        if crop[0] != frame[0] and crop[1] != frame[1]:
            raise ValueError(
                f"ThreeCrop: crop_size={format_value(self.crop_size)} must be as wide or as high as the frames, which are "
                f"{frame[0]}x{frame[1]} (w x h) at this step; put Resize with scale=[-1,{min(crop)}] before it, "
                f"or set crop_size={min(frame)}"
            )
        step_x, step_y = (frame[0] - crop[0]) // 2, (frame[1] - crop[1]) // 2
        return [view.cropped(i * step_x, i * step_y, *crop) for view in views for i in (0, 2, 1)]


@dataclass(kw_only=True, slots=True)
class TenCrop(SpatialTransform):
    """Four corners and the centre, each followed by its mirror image.

    Order: upper left, upper right, lower left, lower right, centre. Corners lie on a grid of ``margin // 4``, so up to
    three pixels are left out at the right and at the bottom, as in mmaction2.
    """

    mirrors: ClassVar[str] = "some views"

    crop_size: Any = option(
        doc="size of each crop: an int or [width,height]", unit="pixels", accepts=_SIZE, check=_size_rule
    )

    def plan(self, views: Sequence[View], rng: np.random.Generator) -> list[View]:
        frame = shared_size(views)
        crop = _fitting_size(self, "crop_size", frame)
        crops = [view.cropped(x, y, *crop) for view in views for x, y in _grid(frame, crop, _CORNERS_AND_CENTRE)]
        return [side for view in crops for side in (view, view.flipped())]


@dataclass(kw_only=True, slots=True)
class MultiScaleCrop(SpatialTransform):
    """A crop whose sides are drawn from ``scales`` of the short side, TSN's augmentation (arXiv:1608.00859).

    A side within 2 pixels of ``input_size`` becomes it, where the frame is large enough. The place is one of 5 (corners
    and centre) or 13 grid points, or uniform with ``random_crop``. It does not resize: put ``Resize`` after it.
    """

    input_size: Any = option(
        doc="input size of the model: an int or [width,height]; sides that nearly have it snap to it",
        unit="pixels",
        accepts=_SIZE,
        check=_size_rule,
    )
    scales: list[float] = option([1.0], "sides as shares of the frame's short side", gt=0, le=1, check=_scales_rule)
    max_wh_scale_gap: int = option(1, "how far apart in the list of scales those of width and height may be", ge=0)
    random_crop: bool = option(False, "place the crop anywhere instead of on a grid point")
    num_fixed_crops: int = option(
        5, "places of the crop without random_crop: 5 or 13", unit="places", check=_fixed_crops_rule
    )

    def plan(self, views: Sequence[View], rng: np.random.Generator) -> list[View]:
        frame = shared_size(views)
        sizes = self._sizes(frame)
        crop = sizes[rng.integers(len(sizes))]
        if self.random_crop:
            x, y = _random_offset(frame, crop, rng)
        else:
            points = _grid(frame, crop, _CORNERS_AND_CENTRE if self.num_fixed_crops == 5 else _THIRTEEN_POINTS)
            x, y = points[rng.integers(len(points))]
        return [view.cropped(x, y, *crop) for view in views]

    def _sizes(self, frame: Size) -> list[Size]:
        sides = [max(1, int(min(frame) * scale)) for scale in self.scales]
        near = self.max_wh_scale_gap
        pairs = [(width, height) for i, height in enumerate(sides) for width in sides[max(0, i - near) : i + near + 1]]
        wanted = _as_size(self.input_size)
        return [(_snap(width, wanted[0], frame[0]), _snap(height, wanted[1], frame[1])) for width, height in pairs]


def _snap(side: int, wanted: int, limit: int) -> int:
    return wanted if abs(side - wanted) <= 2 and wanted <= limit else side


#: Grid points in quarters of the margin, (x, y).
_CORNERS_AND_CENTRE = ((0, 0), (4, 0), (0, 4), (4, 4), (2, 2))
_THIRTEEN_POINTS = (
    *_CORNERS_AND_CENTRE,
    *((0, 2), (4, 2), (2, 4), (2, 0)),  # middles of the sides
    *((1, 1), (3, 1), (1, 3), (3, 3)),  # half way from the centre to the corners
)


def _grid(frame: Size, crop: Size, points: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Offsets (x, y) of a crop at grid points: whole quarters of the margin, rounded down first."""
    step_x, step_y = (frame[0] - crop[0]) // 4, (frame[1] - crop[1]) // 4
    return [(x * step_x, y * step_y) for x, y in points]
