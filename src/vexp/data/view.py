"""One output picture of a clip, planned before any pixel is touched: which part of the source, what size, mirrored.

Crops, resizes and flips compose into a ``View``; ``render`` then resamples once. Geometry is planned in output pixels
and needs no frames, so a sample's views are known before decoding.

Legend: V views, T frames, H, W source and h, w output size in pixels, C channels. Sizes are (width, height), arrays
(T, H, W, C) uint8. Pixel i covers i..i+1, its centre is i + 0.5.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from vexp.fields import Checked

Frames = npt.NDArray[np.uint8]
Box = tuple[float, float, float, float]
Size = tuple[int, int]
INTERPOLATIONS = ("bilinear", "nearest")

#: Boxes of resized views are products and quotients of floats: this close to a whole pixel, they are one.
_PIXEL_TOLERANCE = 1e-6


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

    @classmethod
    def whole(cls, width: int, height: int) -> View:
        """The full source frame as it is."""
        return cls(box=(0.0, 0.0, float(width), float(height)), size=(width, height))

    def resized(self, width: int, height: int, interpolation: str = "bilinear") -> View:
        """The same part of the source at another size; of several resizes only the last size and method count."""
        if min(width, height) < 1:
            raise ValueError(f"a view cannot be resized to {width}x{height} (w x h): both sides need at least 1 pixel")
        if (width, height) == self.size:
            return self
        return replace(self, size=(width, height), interpolation=interpolation, cut_from=None)

    def cropped(self, x: int, y: int, width: int, height: int) -> View:
        """The part at (x, y) of this view's output as it stands, mirrored or not.

        Raises:
            ValueError: the crop does not lie inside the output.
        """
        out_width, out_height = self.size
        if min(x, y) < 0 or min(width, height) < 1 or x + width > out_width or y + height > out_height:
            raise ValueError(
                f"a crop of {width}x{height} (w x h) at ({x}, {y}) does not lie inside a view of "
                f"{out_width}x{out_height}"
            )
        if self.mirrored:
            x = out_width - x - width
        left, top, box_width, box_height = self.box
        # Multiplied before divided: what can be a whole number is one.
        box = (
            left + x * box_width / out_width,
            top + y * box_height / out_height,
            width * box_width / out_width,
            height * box_height / out_height,
        )
        resized = (box_width, box_height) != self.size
        cut_from = self.cut_from or (self if resized else None)
        return replace(self, box=box, size=(width, height), cut_from=cut_from)

    def flipped(self) -> View:
        """This view's output with left and right swapped."""
        return replace(self, mirrored=not self.mirrored)


@dataclass(kw_only=True, slots=True)
class SpatialTransform(Checked):
    """Base of every step that crops, resizes or flips.

    Random numbers come from the generator that is passed in, once for all views of a clip: what one frame or crop
    undergoes, all do. The numbers drawn do not depend on whether a pipeline plans first or applies step by step.

    ``mirrors``: "clip" where a whole clip may come out mirrored, "some views" where only part of its views do. The
    labels of classes with a direction depend on it.
    """

    mirrors: ClassVar[str] = ""

    def plan(self, views: Sequence[View], rng: np.random.Generator) -> list[View]:
        """Every view's successors, in order: the first view's first.

        Raises:
            ValueError: the step cannot be done on views of this size.
        """
        raise NotImplementedError

    def apply(self, frames: Frames, rng: np.random.Generator) -> Frames:
        """The step done at once: uint8 (T, H, W, C), or (V, T, H, W, C) as another step left it -> (V', T, h, w, C)."""
        clips = frames if frames.ndim == 5 else frames[None]
        views = self.plan([View.whole(clips.shape[3], clips.shape[2])] * len(clips), rng)
        each = len(views) // len(clips)
        rendered = [render_views(clip, views[i * each : (i + 1) * each]) for i, clip in enumerate(clips)]
        return rendered[0] if len(rendered) == 1 else np.concatenate(rendered)


def shared_size(views: Sequence[View]) -> Size:
    """The output size (width, height) that all views have; ValueError where they have none or differ."""
    sizes = {view.size for view in views}
    if len(sizes) != 1:
        found = ", ".join(f"{width}x{height}" for width, height in sorted(sizes)) or "no view at all"
        raise ValueError(f"the views of a clip must all have one size (w x h) to go on, got {found}")
    return sizes.pop()


def render(frames: Frames, view: View) -> Frames:
    """One resample of uint8 (T, H, W, C), C = 1 to 4: a new contiguous uint8 array (T, h, w, C).

    Crops and flips around at most one resize give bit for bit what slicing, ``cv2.resize`` and ``cv2.flip`` give one
    after the other (save a flip before a nearest resize: mirroring comes last here). Where a second resize follows a
    crop, the fractional box is sampled once: bilinear about pixel centres, the frame's border repeated.

    Raises:
        ValueError: frames are not uint8 (T, H, W, C), or the view's box does not lie inside them.
    """
    rendered: Frames = render_views(frames, [view])[0]
    return rendered


def render_views(frames: Frames, views: Sequence[View]) -> Frames:
    """``render`` of several views of equal size: (V, T, h, w, C). Crops of one resized view share its resample."""
    if frames.dtype != np.uint8 or frames.ndim != 4:
        raise ValueError(f"frames must be uint8 (T, H, W, C), got {frames.dtype} {frames.shape}")
    num_frames, height, width, channels = frames.shape
    out_width, out_height = shared_size(views)
    out = np.empty((len(views), num_frames, out_height, out_width, channels), dtype=np.uint8)
    shared: dict[tuple[Box, Size, str], list[tuple[View, Frames]]] = {}
    for view, target in zip(views, out, strict=True):
        _check_inside(view.box, width, height)
        resized = view.cut_from or view
        if all(_is_whole(edge) for edge in resized.box):
            shared.setdefault((resized.box, resized.size, view.interpolation), []).append((view, target))
        else:
            _sample(frames, view, target)
    for (box, size, interpolation), cuts in shared.items():
        _resize_and_cut(frames, box, size, interpolation, cuts)
    return out


def _resize_and_cut(
    frames: Frames, box: Box, size: Size, interpolation: str, cuts: Sequence[tuple[View, Frames]]
) -> None:
    """Resize a box on whole pixels once a frame and write every view cut from it into its target (T, h, w, C)."""
    import cv2

    left, top, width, height = (round(edge) for edge in box)
    source = frames[:, top : top + height, left : left + width]
    windows = [(*_offset(view, box, size), view.mirrored, target) for view, target in cuts]
    flag = _cv2_flag(interpolation)
    # One view that shows all of it: resized straight into place.
    in_place = cuts[0][1] if len(cuts) == 1 and cuts[0][0].size == size and not cuts[0][0].mirrored else None
    resized = np.empty((size[1], size[0], frames.shape[3]), dtype=np.uint8)
    for index, frame in enumerate(source):
        if size == (width, height):
            resized = frame
        elif in_place is not None:
            cv2.resize(frame, size, dst=in_place[index], interpolation=flag)
            continue
        else:
            cv2.resize(frame, size, dst=resized, interpolation=flag)
        for x, y, mirrored, target in windows:
            _write(resized[y : y + target.shape[1], x : x + target.shape[2]], mirrored, target[index])


def _sample(frames: Frames, view: View, target: Frames) -> None:
    """Sample a fractional box about pixel centres into ``target`` (T, h, w, C)."""
    import cv2

    x, y, width, height = view.box
    # Only the pixels that are looked at, and one more on each side; the frame's own border is repeated beyond that.
    left, top = max(0, math.floor(x) - 1), max(0, math.floor(y) - 1)
    source = frames[:, top : math.ceil(y + height) + 1, left : math.ceil(x + width) + 1]
    step_x, step_y = width / view.size[0], height / view.size[1]
    # Output pixel centre i + 0.5 looks at x + step * (i + 0.5); OpenCV counts from the first pixel's centre.
    to_source = np.array([[step_x, 0, x - left + step_x / 2 - 0.5], [0, step_y, y - top + step_y / 2 - 0.5]])
    flags = _cv2_flag(view.interpolation) | cv2.WARP_INVERSE_MAP
    # Measured with OpenCV 5: a 4-channel warp is 2.3 times as fast as a 3-channel one, the conversions included.
    padded = frames.shape[3] == 3
    for index, frame in enumerate(source):
        warped: Any = cv2.cvtColor(frame, cv2.COLOR_RGB2RGBA) if padded else frame
        warped = cv2.warpAffine(warped, to_source, view.size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
        warped = cv2.cvtColor(warped, cv2.COLOR_RGBA2RGB) if padded else warped.reshape(target.shape[1:])
        _write(warped, view.mirrored, target[index])


def _write(part: Frames, mirrored: bool, target: Frames) -> None:
    import cv2

    if mirrored:
        cv2.flip(part, 1, dst=target)
    else:
        target[:] = part


def _offset(view: View, box: Box, size: Size) -> tuple[int, int]:
    """Where, in a resize of ``box`` to ``size``, the unmirrored view begins: (x, y) in output pixels."""
    return round((view.box[0] - box[0]) * size[0] / box[2]), round((view.box[1] - box[1]) * size[1] / box[3])


def _check_inside(box: Box, frame_width: int, frame_height: int) -> None:
    x, y, width, height = box
    right, bottom = frame_width + _PIXEL_TOLERANCE, frame_height + _PIXEL_TOLERANCE
    if min(x, y) < -_PIXEL_TOLERANCE or x + width > right or y + height > bottom:
        raise ValueError(
            f"a view of the box x={x:g} y={y:g} {width:g}x{height:g} (w x h) does not lie inside frames of "
            f"{frame_width}x{frame_height}: plan it for frames of this size"
        )


def _is_whole(value: float) -> bool:
    return abs(value - round(value)) < _PIXEL_TOLERANCE


def _cv2_flag(interpolation: str) -> int:
    import cv2

    return int(cv2.INTER_NEAREST if interpolation == "nearest" else cv2.INTER_LINEAR)
