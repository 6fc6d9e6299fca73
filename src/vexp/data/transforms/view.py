"""One output picture of a clip, planned before any pixel is touched: which part of the source, what size, mirrored.

Crops, resizes and flips compose into a ``View``; ``vexp.data.transforms.resample`` then resamples once. Geometry is planned in
output pixels and needs no frames, so a sample's views are known before decoding.

Legend: V views, T frames, H, W source and h, w output size in pixels, C channels. Sizes are (width, height), arrays
(T, H, W, C) uint8. Pixel i covers i..i+1, its centre is i + 0.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from vexp.core.errors import UserError

Frames = npt.NDArray[np.uint8]
Box = tuple[float, float, float, float]

Size = tuple[int, int]
INTERPOLATIONS = ("bilinear", "nearest")


@dataclass(frozen=True, slots=True)
class View:
    """``box`` of the source, resampled to ``size``, then mirrored left-right if ``mirrored``.

    Attributes:
        box: x, y, width, height in source pixels; fractional once a resized view has been cropped.
        size: (width, height) in output pixels.
        mirrored: whether left and right are swapped in the output.
        interpolation: of the resample, ``bilinear`` (no antialias, as ``cv2.resize``) or ``nearest``.
        cut_from: the resized view that this one was cropped from. Pixels at the edge of such a crop mix with neighbours
            outside it, so ``render`` resizes that view and cuts; None where no crop came after a resize.
    """

    box: Box
    size: Size
    mirrored: bool = False
    interpolation: str = "bilinear"
    cut_from: View | None = None

    @property
    def scale(self) -> tuple[float, float]:
        """Output pixels a source pixel, along x and y: what a resize does to the length of optical flow."""
        return self.size[0] / self.box[2], self.size[1] / self.box[3]

    @classmethod
    def whole(cls, width: int, height: int) -> View:
        """The full source frame as it is."""
        return cls(box=(0.0, 0.0, float(width), float(height)), size=(width, height))

    def resized(self, width: int, height: int, interpolation: str = "bilinear") -> View:
        """The same part of the source at another size; of several resizes only the last size and method count."""
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
        """This view's output with left and right swapped."""
        return replace(self, mirrored=not self.mirrored)

    def within(self, outer: View) -> View:
        """This view of what ``outer`` shows as a view of the source of ``outer``: where it lies, not how it is made."""
        return View(outer._source_box(*self.box), self.size, self.mirrored != outer.mirrored, self.interpolation)

    def _source_box(self, x: float, y: float, width: float, height: float) -> Box:
        """A part of the output, in output pixels, as a part of the source."""
        out_width, out_height = self.size
        if self.mirrored:
            x = out_width - x - width
        left, top, box_width, box_height = self.box
        # Multiplied before divided: what can be a whole number is one.
        return (
            left + x * box_width / out_width,
            top + y * box_height / out_height,
            width * box_width / out_width,
            height * box_height / out_height,
        )


def shared_size(views: Sequence[View]) -> Size:
    """The output size (width, height) of all views; UserError if there are none or they differ."""
    sizes = {view.size for view in views}
    if len(sizes) != 1:
        found = ", ".join(f"{width}x{height}" for width, height in sorted(sizes)) or "no view at all"
        raise UserError(f"the views of a clip must all have one size (w x h) to go on, got {found}")
    return sizes.pop()
