"""A view of a clip: the part of the source, the output size, and whether it is mirrored.

Crops, resizes and flips are composed into a ``View``, which ``vexp.data.transforms.resample`` renders with one
resample. Planning uses output pixels and needs no frames, so the views of a sample are known before decoding.
A shear, a translation or a rotation starts a new view of the transformed image (``Warp``); such a chain of views is
also rendered with one resample.

Notation: V views, T frames, H, W source and h, w output size in pixels, C channels. Sizes are (width, height), arrays
(T, H, W, C) uint8. Pixel i covers i..i+1, its center is i + 0.5.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from vexp.core.errors import UserError
from vexp.core.lazy import np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Box = tuple[float, float, float, float]
Affine = tuple[float, float, float, float, float, float]
"""(a, b, c, d, e, f) maps the point (x, y) to (a x + b y + c, d x + e y + f), in pixels, as ``PIL.Image.AFFINE``."""
Matrix: TypeAlias = "NDArray[np.float64]"
"""The same as an array (3, 3) for points (x, y, 1)."""

Size = tuple[int, int]
Color = tuple[int, int, int]
INTERPOLATIONS = ("bilinear", "nearest")


@dataclass(frozen=True, slots=True)
class View:
    """A ``box`` of the source, resampled to ``size``, then mirrored horizontally if ``mirrored``."""

    box: Box  # x, y, width, height in source pixels; fractional after cropping a resized view
    size: Size  # (width, height) in output pixels
    mirrored: bool = False
    interpolation: str = "bilinear"  # without antialiasing, as ``cv2.resize``; or "nearest"
    #: The resized view that this one was cropped from; None if no crop followed a resize. Pixels at the edge of such a
    #: crop depend on pixels outside it, so ``render`` resizes ``cut_from`` and crops the result.
    cut_from: View | None = None
    #: The transform of the image that ``box`` is a part of; None if that image is the source itself.
    warp: Warp | None = None

    @property
    def scale(self) -> tuple[float, float]:
        """Output pixels per source pixel along x and y, by which optical flow has to be scaled."""
        return self.size[0] / self.box[2], self.size[1] / self.box[3]

    @property
    def root(self) -> View:
        """The view whose ``box`` is a part of the source: this one, unless there is a ``warp``."""
        return self if self.warp is None else self.warp.base.root

    @property
    def is_mirror_image(self) -> bool:
        """Whether the output is a mirror image of the source, counting the flips before a ``warp``."""
        return self.mirrored != (self.warp is not None and self.warp.base.is_mirror_image)

    @classmethod
    def whole(cls, width: int, height: int) -> View:
        """Return the view of the full source frame."""
        return cls(box=(0.0, 0.0, float(width), float(height)), size=(width, height))

    def resized(self, width: int, height: int, interpolation: str = "bilinear") -> View:
        """Return the same part of the source at another size; the last of several resizes applies."""
        if min(width, height) < 1:
            raise UserError(f"a view cannot be resized to {width}x{height} (w x h): both sides need at least 1 pixel")
        if (width, height) == self.size:
            return self
        return replace(self, size=(width, height), interpolation=interpolation, cut_from=None)

    def cropped(self, x: int, y: int, width: int, height: int) -> View:
        """The part at (x, y) of this view's output as it stands, mirrored or not.

        Raises:
            UserError: If the crop does not lie inside the output.
        """
        out_width, out_height = self.size
        if min(x, y) < 0 or min(width, height) < 1 or x + width > out_width or y + height > out_height:
            raise UserError(
                f"a crop of {width}x{height} (w x h) at ({x}, {y}) does not lie inside a view of "
                f"{out_width}x{out_height}"
            )
        _, _, box_width, box_height = self.box
        resized = (box_width, box_height) != self.size
        cut_from = self.cut_from or (self if resized else None)
        return replace(self, box=self._source_box(x, y, width, height), size=(width, height), cut_from=cut_from)

    def framed(self, x: int, y: int, width: int, height: int) -> View:
        """As ``cropped``, but the part may reach beyond the output: for skeletons, which have no pixels there."""
        return replace(self, box=self._source_box(x, y, width, height), size=(width, height), cut_from=None)

    def flipped(self) -> View:
        """Return this view mirrored horizontally."""
        return replace(self, mirrored=not self.mirrored)

    def warped(self, affine: Affine, fill: Color, interpolation: str = "bilinear") -> View:
        """Return the view of the transformed output of this one, of the same size.

        ``affine`` maps the points of the new image to points of this view's output. Points that come from outside of
        it get the color ``fill``.
        """
        if affine == (1, 0, 0, 0, 1, 0):
            return self
        return replace(View.whole(*self.size), interpolation=interpolation, warp=Warp(self, affine, fill))

    def within(self, outer: View) -> View:
        """Convert this view of the output of ``outer`` to a view of the source of ``outer`` (its position only)."""
        if self.warp is not None:
            return replace(self, warp=replace(self.warp, base=self.warp.base.within(outer)))
        box, mirrored = outer._source_box(*self.box), self.mirrored != outer.mirrored
        return View(box, self.size, mirrored, self.interpolation, warp=outer.warp)

    def stages(self) -> Iterator[tuple[View, Matrix]]:
        """Yield the views that this one consists of, itself first, each with the map of its ``box`` to the output.

        A matrix maps the points of this view's output to points of the image that the ``box`` of the stage is a part
        of; the last of these images is the source.
        """
        view, matrix = self, self._to_box()
        yield view, matrix
        while view.warp is not None:
            affine = np.array([*view.warp.affine, 0, 0, 1]).reshape(3, 3)
            view = view.warp.base
            matrix = view._to_box() @ affine @ matrix
            yield view, matrix

    def map_points(self, points: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Map points (..., 2), x and y in source pixels, to output pixels: the inverse of the map of the output."""
        *_, (_, matrix) = self.stages()
        inverse = np.linalg.inv(matrix)
        return np.asarray(points @ inverse[:2, :2].T + inverse[:2, 2])

    def outline(self) -> NDArray[np.float64]:
        """Return the corners of the output in source pixels, float64 (4, 2), clockwise from the upper left."""
        *_, (_, matrix) = self.stages()
        width, height = self.size
        corners = np.array([[0, 0, 1], [width, 0, 1], [width, height, 1], [0, height, 1]]) @ matrix.T
        return np.asarray(corners[:, :2])

    def map_boxes(self, boxes: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Map boxes of the source to the output: (N, 4) x1, y1, x2, y2 in source pixels to pixels of the output.

        The result is not clipped: a box beside the view lies outside of the output. After a ``warp`` that rotates or
        shears, it is the smallest upright box around the transformed one; otherwise ``source_boxes`` is its inverse.
        """
        if self.warp is not None:
            *_, (_, matrix) = self.stages()
            inverse: Matrix = np.linalg.inv(matrix).astype(np.float64)
            return _upright(boxes, inverse)
        left, top, width, height = self.box
        moved = _as_boxes(boxes) - (left, top, left, top)
        # Multiply before dividing, so that integer results are exact.
        mapped: NDArray[np.float64] = moved * (self.size * 2) / (width, height, width, height)
        return _mirrored(mapped, self.size[0]) if self.mirrored else mapped

    def source_boxes(self, boxes: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Map boxes of the output to the source, (N, 4) x1, y1, x2, y2; see ``map_boxes``."""
        if self.warp is not None:
            *_, (_, matrix) = self.stages()
            return _upright(boxes, matrix)
        left, top, width, height = self.box
        given = _mirrored(_as_boxes(boxes), self.size[0]) if self.mirrored else _as_boxes(boxes)
        source: NDArray[np.float64] = given * (width, height, width, height) / (self.size * 2) + (left, top, left, top)
        return source

    def _to_box(self) -> Matrix:
        """Return the map of points of the output to points of the image that ``box`` is a part of."""
        left, top, width, height = self.box
        x, y = width / self.size[0], height / self.size[1]
        return np.array([[-x, 0, left + width] if self.mirrored else [x, 0, left], [0, y, top], [0, 0, 1]])

    def _source_box(self, x: float, y: float, width: float, height: float) -> Box:
        """Convert a box in output pixels to source pixels."""
        out_width, out_height = self.size
        if self.mirrored:
            x = out_width - x - width
        left, top, box_width, box_height = self.box
        # Multiply before dividing, so that integer results are exact.
        return (
            left + x * box_width / out_width,
            top + y * box_height / out_height,
            width * box_width / out_width,
            height * box_height / out_height,
        )


@dataclass(frozen=True, slots=True)
class Warp:
    """An affine transform of the output of a view, for ``View.warped``."""

    base: View
    affine: Affine  # maps points of the transformed image to points of the output of ``base``
    fill: Color  # of points from outside of it


def _as_boxes(boxes: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    return np.asarray(boxes, np.float64).reshape(-1, 4)


def _mirrored(boxes: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    return np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], axis=1)


def _upright(boxes: NDArray[np.floating[Any]], matrix: Matrix) -> NDArray[np.float64]:
    """Return the smallest upright boxes (N, 4) around boxes that are mapped by ``matrix``."""
    given = _as_boxes(boxes)
    x, y = given[:, [0, 2, 0, 2]], given[:, [1, 1, 3, 3]]  # the four corners
    xs, ys = (row[0] * x + row[1] * y + row[2] for row in matrix[:2])
    return np.stack([xs.min(1), ys.min(1), xs.max(1), ys.max(1)], axis=1)


def shared_size(views: Sequence[View]) -> Size:
    """Return the output size (width, height) of all views; raise UserError if they differ or there are none."""
    sizes = {view.size for view in views}
    if len(sizes) != 1:
        found = ", ".join(f"{width}x{height}" for width, height in sorted(sizes)) or "no view at all"
        raise UserError(f"the views of a clip must all have one size (w x h) to go on, got {found}")
    return sizes.pop()
