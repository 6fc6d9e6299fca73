"""Conversion of decoded frames to upright RGB images.

Color. swscale converts to full-range RGB with the matrix and range that in the frame's tags; untagged frames are
taken as BT.601, limited range, at any size (as decord, OpenCV and the ffmpeg program do). More than 8 bits are reduced
to 8; HDR transfer curves are not tone-mapped. Non-square pixels are not stretched.

Rotation. The display matrix (phones) is applied, as players do: quarter turns and mirroring. Other angles are ignored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from av import VideoFrame
    from av.video.reformatter import VideoReformatter


def to_rgb(frame: VideoFrame, reformatter: VideoReformatter) -> NDArray[np.uint8]:
    """Convert a decoded frame to uint8 (H, W, 3) RGB without rotation.

    The result is a view of swscale's buffer, whose rows are padded, without a copy. It uses one thread, since PyAV (from
    version 17) otherwise starts a pool with a thread per core for every frame.
    """
    plane: Any = reformatter.reformat(frame, format="rgb24", threads=1).planes[0]
    rows: NDArray[np.uint8] = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
    return rows[:, : 3 * plane.width].reshape(plane.height, plane.width, 3)


def display_matrix(frame: VideoFrame) -> tuple[int, int, int, int] | None:
    """Return the entries (a, b, c, d) of the display matrix; None if there is none."""
    side_data: Any = frame.side_data  # a mapping by name; PyAV's stubs know one of its keys
    matrix = side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return None
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    return a, b, c, d


def is_rotated(matrix: tuple[int, int, int, int] | None) -> bool:
    """Return whether ``apply_display_matrix`` changes a frame."""
    a, b, c, d = matrix or (1, 0, 0, 1)
    return a == d == 0 or (b == c == 0 and (a < 0 or d < 0))


def apply_display_matrix(frame: NDArray[np.uint8], matrix: tuple[int, int, int, int] | None) -> NDArray[np.uint8]:
    """Rotate and mirror a frame, uint8 (H, W, ...), by its display matrix; the result is a view.

    The matrix (a, b, u, c, d, v, x, y, w) displays column p, row q at column ap + cq + x, row bp + dq + y
    (ISO/IEC 14496-12, 6.2.2).
    """
    if matrix is None:
        return frame
    a, b, c, d = matrix
    if a == d == 0 and b and c:  # columns become rows
        frame, a, d = frame.swapaxes(0, 1), c, b
    elif b or c:
        return frame
    return frame[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
