"""A view of a clip: the part of the source, the output size, and whether it is mirrored.

Crops, resizes and flips are composed into a ``View``, which ``vexp.data.transforms.resample`` renders with one
resample. Planning uses output pixels and needs no frames, so the views of a sample are known before decoding.

Notation: V views, T frames, H, W source and h, w output size in pixels, C channels. Sizes are (width, height), arrays
(T, H, W, C) uint8. Pixel i covers i..i+1, its center is i + 0.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from vexp.core.errors import UserError

Box = tuple[float, float, float, float]

Size = tuple[int, int]
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

    @property
    def scale(self) -> tuple[float, float]:
        """Output pixels per source pixel along x and y, by which optical flow has to be scaled."""
        return self.size[0] / self.box[2], self.size[1] / self.box[3]

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

    def flipped(self) -> View:
        """Return this view mirrored horizontally."""
        return replace(self, mirrored=not self.mirrored)

    def within(self, outer: View) -> View:
        """Convert this view of the output of ``outer`` to a view of the source of ``outer`` (its position only)."""
        return View(outer._source_box(*self.box), self.size, self.mirrored != outer.mirrored, self.interpolation)

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


def shared_size(views: Sequence[View]) -> Size:
    """Return the output size (width, height) of all views; raise UserError if they differ or there are none."""
    sizes = {view.size for view in views}
    if len(sizes) != 1:
        found = ", ".join(f"{width}x{height}" for width, height in sorted(sizes)) or "no view at all"
        raise UserError(f"the views of a clip must all have one size (w x h) to go on, got {found}")
    return sizes.pop()
