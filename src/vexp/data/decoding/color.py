"""A decoded video frame as an upright RGB picture.

Colour. swscale converts to full-range RGB with the matrix and range that the frame is tagged with; an untagged one is
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
    """A decoded frame as uint8 (H, W, 3) RGB, not yet upright: the one place where colour is converted.

    A view of swscale's own rows, which are longer than a picture is wide: nothing is copied.
    On one thread: by default PyAV (from version 17) starts a pool with a thread for every core, anew for every frame.
    """
    plane: Any = reformatter.reformat(frame, format="rgb24", threads=1).planes[0]
    rows: NDArray[np.uint8] = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
    return rows[:, : 3 * plane.width].reshape(plane.height, plane.width, 3)


def display_matrix(frame: VideoFrame) -> tuple[int, int, int, int] | None:
    """How the frame is meant to be turned: (a, b, c, d) of ``upright``; None: as it is."""
    side_data: Any = frame.side_data  # a mapping by name; PyAV's stubs know one of its keys
    matrix = side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return None
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    return a, b, c, d


def is_rotated(matrix: tuple[int, int, int, int] | None) -> bool:
    """Whether `upright` changes a picture."""
    a, b, c, d = matrix or (1, 0, 0, 1)
    return a == d == 0 or (b == c == 0 and (a < 0 or d < 0))


def apply_display_matrix(picture: NDArray[np.uint8], matrix: tuple[int, int, int, int] | None) -> NDArray[np.uint8]:
    """`picture`, uint8 (H, W, ...), turned and mirrored as a display matrix says; a view.

    The matrix (a, b, u, c, d, v, x, y, w) shows column p, row q at column ap + cq + x, row bp + dq + y
    (ISO/IEC 14496-12, 6.2.2).
    """
    if matrix is None:
        return picture
    a, b, c, d = matrix
    if a == d == 0 and b and c:  # columns become rows
        picture, a, d = picture.swapaxes(0, 1), c, b
    elif b or c:
        return picture
    return picture[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
