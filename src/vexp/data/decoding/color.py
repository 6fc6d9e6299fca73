"""Conversion of decoded frames to upright RGB images.

Color. swscale converts to full-range RGB with the matrix and range in the frame's tags; untagged frames are taken as
BT.601, limited range, at any size (as decord, OpenCV and the ffmpeg program do). More than 8 bits are reduced to 8; HDR
transfer curves are not tone-mapped. Non-square pixels are not stretched. In 8-bit 4:2:0 and 4:2:2, a pixel has the
chroma of the sample of its block; in other formats, chroma is interpolated at its tagged position. The two fields of an
interlaced frame are converted separately, since each has its own chroma. docs/explanation/decoding.md has the table.

Rotation. The display matrix (phones) is applied, as players do: quarter turns and mirroring. For other angles, frames
stay as coded, and the reader logs a warning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

if TYPE_CHECKING:
    from av import VideoFrame

FULL_CHROMA = 2 | 1 << 13
"""SWS_BILINEAR and SWS_FULL_CHR_H_INT: without the latter, swscale uses one chroma value for two pixels of a row."""

DisplayMatrix = tuple[int, int, int, int]
"""(a, b, c, d) of (a, b, u, c, d, v, x, y, w), which displays column p, row q at column ap + cq + x, row bp + dq + y
(ISO/IEC 14496-12, 6.2.2)."""

IDENTITY: DisplayMatrix = (1, 0, 0, 1)

TABLE_FORMATS = ("yuv420p", "yuvj420p", "yuv422p", "yuvj422p")
"""Formats that swscale converts to RGB with tables."""


class RgbConverter:
    """Conversion of frames to uint8 (H, W, 3) RGB without rotation."""

    def __init__(self) -> None:
        # swscale sets a context up anew when the format changes, so that each step has its own.
        self._to_planes, self._to_rgb = VideoReformatter(), VideoReformatter()

    def __call__(self, frame: VideoFrame) -> NDArray[np.uint8]:
        """Return a view of swscale's buffer, whose rows are padded, without a copy.

        It uses one thread, since PyAV (from version 17) otherwise starts a pool with a thread per core for every frame.
        """
        (height, width), even = (frame.height, frame.width), _even(frame)
        if even.format.is_planar and not even.format.is_rgb and even.format.name not in TABLE_FORMATS:
            # The same values as by the direct way to RGB, four times as fast.
            even = self._to_planes.reformat(even, format="gbrp", interpolation=FULL_CHROMA, threads=1)
        rgb = self._to_rgb.reformat(even, format="rgb24", interpolation=FULL_CHROMA, threads=1)
        return _rows(rgb.planes[0])[:height, : 3 * width].reshape(height, width, 3)


def _even(frame: VideoFrame) -> VideoFrame:
    """Return a frame of even size: swscale would stretch the chroma of an odd one, which has half a sample too many."""
    width, height, pixels = frame.width, frame.height, frame.format
    if width % 2 == height % 2 == 0 or pixels.chroma_width(2) == pixels.chroma_height(2) == 2 or frame.interlaced_frame:
        return frame
    even = type(frame)(width + width % 2, height + height % 2, pixels.name)
    even.colorspace, even.color_range = frame.colorspace, frame.color_range
    for source, target in zip(map(_rows, frame.planes), map(_rows, even.planes), strict=True):
        size = min(source.shape[1], target.shape[1])
        target[: len(source), :size] = source[:, :size]
    return even


def _rows(plane: Any) -> NDArray[np.uint8]:
    """Return the bytes of each row, which are padded, uint8 (height, line size)."""
    return np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)


def display_matrix(frame: VideoFrame) -> DisplayMatrix:
    """Return the display matrix of a frame; ``IDENTITY`` if it has none."""
    side_data: Any = frame.side_data  # a mapping by name; PyAV's stubs know one of its keys
    matrix = side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return IDENTITY
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    return a, b, c, d


def is_oblique(matrix: DisplayMatrix) -> bool:
    """Return whether a display matrix is not a rotation by a multiple of 90 degrees, mirrored or not."""
    a, b, c, d = matrix
    return bool((a or d) and (b or c))


def is_rotated(matrix: DisplayMatrix) -> bool:
    """Return whether ``apply_display_matrix`` changes a frame."""
    return not is_oblique(matrix) and (matrix[0] <= 0 or matrix[3] <= 0)


def apply_display_matrix(frame: NDArray[np.uint8], matrix: DisplayMatrix) -> NDArray[np.uint8]:
    """Rotate and mirror a frame, uint8 (H, W, ...), by its display matrix; the result is a view."""
    a, b, c, d = matrix
    if is_oblique(matrix):
        return frame
    if b and c:  # columns become rows
        frame, a, d = frame.swapaxes(0, 1), c, b
    return frame[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
