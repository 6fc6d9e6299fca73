"""Rendering of planned views with one resample per view, or one for all views cropped from it.

Notation as in ``vexp.data.transforms.view``: V views, T frames, sizes are (width, height), arrays (T, H, W, C) uint8.
Frames with two channels are optical flow (x, y), for which mirroring also negates x.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from vexp.core.errors import UserError
from vexp.core.lazy import np
from vexp.data.decoding.frame_stream import FrameStream
from vexp.data.pixel_type import Frame, Frames
from vexp.data.transforms.view import Box, Size, View, shared_size

if TYPE_CHECKING:
    from numpy.typing import NDArray

FrameWriter = Callable[[Frame, int], None]
"""Writes the result for a frame (H, W, C) with its index into the output."""

#: Tolerance for boxes on integer pixels, which are computed in floating point.
_PIXEL_TOLERANCE = 1e-6
#: Channels of optical flow (x, y); the level 128 is no motion.
FLOW_CHANNELS = 2


def render(frames: Frames | FrameStream, view: View) -> Frames:
    """Render a view of uint8 (T, H, W, C) with C = 1 to 4 to a new contiguous uint8 array (T, h, w, C).

    Crops and flips around at most one resize are equal to slicing, ``cv2.resize`` and ``cv2.flip`` to the bit, except
    for a flip before a nearest resize, since mirroring is last. If another resize follows a crop, the fractional box is
    sampled once, bilinear with pixel centers at 0.5 and replicated borders.

    Raises:
        ValueError: If the frames are not uint8 (T, H, W, C) or the box is not within them.
    """
    rendered: Frames = render_views(frames, [view])[0]
    return rendered


def render_views(frames: Frames | FrameStream, views: Sequence[View]) -> Frames:
    """Render several views of equal size to (V, T, h, w, C). Crops of the same resized view share one resample.

    The frames are processed one by one, so that each is read from memory once.
    """
    if len(frames.shape) != 4 or (isinstance(frames, np.ndarray) and frames.dtype != np.uint8):
        raise ValueError(f"frames must be uint8 (T, H, W, C), got {getattr(frames, 'dtype', '')} {frames.shape}")
    num_frames, height, width, channels = frames.shape
    out_width, out_height = shared_size(views)
    out = np.empty((len(views), num_frames, out_height, out_width, channels), dtype=np.uint8)
    shared: dict[tuple[Box, Size, str], list[tuple[View, Frames]]] = {}
    writers: list[FrameWriter] = []
    for view, target in zip(views, out, strict=True):
        x, y, box_width, box_height = view.root.box
        if min(x, y, width - x - box_width, height - y - box_height) < -_PIXEL_TOLERANCE:
            raise ValueError(
                f"a view of the box x={x:g} y={y:g} {box_width:g}x{box_height:g} (w x h) does not lie inside frames of "
                f"{width}x{height}; plan it for frames of this size"
            )
        resized = view.cut_from or view
        if view.warp is not None:
            writers.append(_warper(view, (width, height), target))
        elif all(_is_whole(edge) for edge in resized.box):
            shared.setdefault((resized.box, resized.size, view.interpolation), []).append((view, target))
        else:
            writers.append(_sampler(view, target))
    writers += [_resizer(*resample, cuts) for resample, cuts in shared.items()]
    for number, frame in zip(range(num_frames), frames, strict=True):
        for draw in writers:
            draw(frame, number)
    return out


@dataclass(frozen=True, slots=True)
class Window:
    """A view as a part of a rendered image: its upper left pixel, and whether it is mirrored after the crop."""

    image: int
    x: int
    y: int
    mirrored: bool = False


def render_windows(frames: Frames | FrameStream, views: Sequence[View]) -> tuple[Frames, list[Window]]:
    """Render several views of equal size to images (K, T, h', w', C) with shared pixels, and a window for each view.

    Views cropped from one resample share the smallest image that contains them all, if it is smaller than the views:
    one of 340x256 has 44 % of the pixels of 3 crops of 256x256. Otherwise every view has its own image.
    """
    shared = _shared_image(views, (frames.shape[2], frames.shape[1]))
    if shared is None:
        return render_views(frames, views), [Window(index, 0, 0) for index in range(len(views))]
    image, windows = shared
    return render_views(frames, [image]), windows


def _shared_image(views: Sequence[View], frame: Size) -> tuple[View, list[Window]] | None:
    """Return the view that contains all ``views`` and the window of each; None if there is none or it saves nothing."""
    width, height = shared_size(views)
    if any(view.warp is not None for view in views):
        return None
    roots = {_root(view, frame) for view in views}
    if len(views) == 1 or len(roots) != 1:
        return None
    root = roots.pop()
    if not all(_is_whole(edge) for edge in root.box):
        return None
    corners = [_offset(view, root.box, root.size) for view in views]
    left, top = min(x for x, _ in corners), min(y for _, y in corners)
    right, bottom = max(x for x, _ in corners) + width, max(y for _, y in corners) + height
    if (right - left) * (bottom - top) >= len(views) * width * height:
        return None
    windows = [Window(0, x - left, y - top, view.mirrored) for (x, y), view in zip(corners, views, strict=True)]
    return root.cropped(left, top, right - left, bottom - top), windows


def _root(view: View, frame: Size) -> View:
    """Return the resample that a view is cropped from, not mirrored; the frame itself if there is none."""
    if view.cut_from is not None:
        return replace(view.cut_from, mirrored=False)
    x, y, width, height = view.box
    # A position between pixels also requires a resample.
    cut = (width, height) == view.size and _is_whole(x) and _is_whole(y)
    return View.whole(*frame) if cut else replace(view, mirrored=False)


def _resizer(box: Box, size: Size, interpolation: str, cuts: Sequence[tuple[View, Frames]]) -> FrameWriter:
    """Build a writer that resizes an integer box once per frame and writes all of its crops into their targets."""
    import cv2

    left, top, width, height = (round(edge) for edge in box)
    windows = [(*_offset(view, box, size), view.mirrored, target) for view, target in cuts]
    flag = _cv2_flag(interpolation)
    # A single view of the whole box is resized directly into the output.
    in_place = cuts[0][1] if len(cuts) == 1 and cuts[0][0].size == size and not cuts[0][0].mirrored else None
    resized = np.empty((size[1], size[0], cuts[0][1].shape[3]), dtype=np.uint8)

    def draw(frame: Frame, number: int) -> None:
        part = frame[top : top + height, left : left + width]
        if in_place is not None and size != (width, height):
            cv2.resize(part, size, dst=in_place[number], interpolation=flag)
            return
        if size != (width, height):
            cv2.resize(part, size, dst=resized, interpolation=flag)
            part = resized
        for x, y, mirrored, target in windows:
            _write(part[y : y + target.shape[1], x : x + target.shape[2]], mirrored, target[number])

    return draw


def _sampler(view: View, target: Frames) -> FrameWriter:
    """Build a writer that samples a fractional box into ``target`` (T, h, w, C)."""
    x, y, width, height = view.box
    # Only the required pixels and one more on each side; beyond the frame its border is replicated.
    left, top = max(0, math.floor(x) - 1), max(0, math.floor(y) - 1)
    right, bottom = math.ceil(x + width) + 1, math.ceil(y + height) + 1
    step_x, step_y = width / view.size[0], height / view.size[1]
    # The output pixel center i + 0.5 samples x + step * (i + 0.5); OpenCV's origin is the center of the first pixel.
    to_source = np.array([[step_x, 0, x - left + step_x / 2 - 0.5], [0, step_y, y - top + step_y / 2 - 0.5]])

    def draw(frame: Frame, number: int) -> None:
        warped = _warp(frame[top:bottom, left:right], to_source, view)
        _write(warped.reshape(target.shape[1:]), view.mirrored, target[number])

    return draw


def _warp(part: Frame, to_source: NDArray[np.float64], view: View) -> Frame:
    """Sample ``part`` at the pixels of a view; ``to_source`` (2, 3) maps their centers, which OpenCV counts from 0."""
    import cv2

    # With OpenCV 5 a 4-channel warp is 2.3 times faster than a 3-channel one, including the conversions.
    padded = part.shape[2] == 3
    warped: Any = cv2.cvtColor(part, cv2.COLOR_RGB2RGBA) if padded else part
    flags = _cv2_flag(view.interpolation) | cv2.WARP_INVERSE_MAP
    warped = cv2.warpAffine(warped, to_source, view.size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    result: Frame = cv2.cvtColor(warped, cv2.COLOR_RGBA2RGB) if padded else warped
    return result


def _warper(view: View, frame: Size, target: Frames) -> FrameWriter:
    """Build a writer that samples a view with a ``warp`` into ``target`` (T, h, w, C), in one resample.

    A pixel whose center a transform maps to a point outside of the image that it is applied to has the color of that
    transform, and every other pixel is sampled as if there were no border, as by ``PIL.Image.transform``.

    Raises:
        UserError: If the frames are optical flow, whose vectors would have to be transformed as well.
    """
    import cv2

    if target.shape[3] != 3:
        raise UserError("only RGB frames can be sheared or rotated, not optical flow; remove the transform")
    *_, (root, matrix) = view.stages()
    left, top, width, height = root.box
    # Pixels outside of an integer box must not influence those at its edge, as if it had been cropped.
    margin = 0 if all(map(_is_whole, root.box)) else 1
    first = max(0, math.floor(left + _PIXEL_TOLERANCE) - margin), max(0, math.floor(top + _PIXEL_TOLERANCE) - margin)
    right, bottom = math.ceil(left + width - _PIXEL_TOLERANCE), math.ceil(top + height - _PIXEL_TOLERANCE)
    part = slice(first[1], min(frame[1], bottom + margin)), slice(first[0], min(frame[0], right + margin))
    to_source = matrix[:2].copy()
    to_source[:, 2] += to_source[:, :2].sum(1) / 2 - 0.5 - np.array(first)
    fill, outside = _fill(view)

    def draw(frame: Frame, number: int) -> None:
        target[number] = cv2.copyTo(fill, outside, dst=_warp(frame[part], to_source, view))

    return draw


def _fill(view: View) -> tuple[Frame, NDArray[np.uint8]]:
    """Return the color of each pixel that lies outside of a transformed image, and whether it does, 0 or 255."""
    width, height = view.size
    fill, outside = np.zeros((height, width, 3), np.uint8), np.zeros((height, width), bool)
    x, y = np.arange(width) + 0.5, np.arange(height)[:, None] + 0.5
    stages = list(view.stages())
    for (stage, matrix), (base, _) in pairwise(stages):
        assert stage.warp is not None
        a, b, c, d, e, f = (np.array([*stage.warp.affine, 0, 0, 1]).reshape(3, 3) @ matrix)[:2].reshape(-1)
        xs, ys = a * x + b * y + c, d * x + e * y + f
        new = ~outside & ~((xs >= 0) & (xs < base.size[0]) & (ys >= 0) & (ys < base.size[1]))
        fill[new] = stage.warp.fill
        outside |= new
    return fill, outside.astype(np.uint8) * 255


def _write(part: Frames, mirrored: bool, target: Frames) -> None:
    import cv2

    if mirrored:
        cv2.flip(part, 1, dst=target)
        if target.shape[-1] == FLOW_CHANNELS:
            target[..., 0] = 255 - target[..., 0]
    else:
        target[:] = part


def _offset(view: View, box: Box, size: Size) -> tuple[int, int]:
    """Return the position (x, y) of the unmirrored view in a resize of ``box`` to ``size``, in output pixels."""
    return round((view.box[0] - box[0]) * size[0] / box[2]), round((view.box[1] - box[1]) * size[1] / box[3])


def _is_whole(value: float) -> bool:
    return abs(value - round(value)) < _PIXEL_TOLERANCE


def _cv2_flag(interpolation: str) -> int:
    import cv2

    return int(cv2.INTER_NEAREST if interpolation == "nearest" else cv2.INTER_LINEAR)
