"""Operations on the pixels of a clip that equal those of Pillow to the bit, for ``rand_augment``.

They are functions ``(frames, *arguments) -> frames`` of uint8 (T, H, W, 3) RGB. Every frame is transformed by itself,
as an image: equalization, contrast and the like depend on the frame, the arguments do not. All of them are tables of
256 levels, or of 256 x 256 pairs of levels, so that a clip is read and written once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from vexp.core.lazy import np
from vexp.data.pixel_type import Frame, Frames

if TYPE_CHECKING:
    from numpy.typing import NDArray

Levels: TypeAlias = "NDArray[np.uint8]"  # (256,), or (256, 3) with a table for each channel
#: Weights of Pillow's conversion to gray (ITU-R 601), in 1/65536, and half a level.
_GRAY = [[weight / 65536 for weight in (19595, 38470, 7471, 0x8000)]]


@functools.cache
def _levels() -> NDArray[np.int64]:
    return np.arange(256)


def invert(frames: Frames) -> Frames:
    """Replace each level v by 255 - v."""
    return 255 - frames


def solarize(frames: Frames, threshold: float) -> Frames:
    """Invert the levels from ``threshold`` on."""
    return _replace(frames, np.where(threshold > _levels(), _levels(), 255 - _levels()))


def solarize_add(frames: Frames, amount: int) -> Frames:
    """Add ``amount`` to the levels below 128, up to 255."""
    return _replace(frames, np.where(_levels() < 128, np.minimum(_levels() + amount, 255), _levels()))


def posterize(frames: Frames, bits: int) -> Frames:
    """Keep the ``bits`` most significant bits of each level; none are left of 0 bits."""
    return _replace(frames, _levels() & ~(2 ** (8 - bits) - 1)) if bits < 8 else frames


def auto_contrast(frames: Frames) -> Frames:
    """Stretch the range of levels of each channel to 0..255."""
    return _replace_each(frames, lambda frame: np.stack([_stretched(h) for h in _histograms(frame)], axis=1))


def equalize(frames: Frames) -> Frames:
    """Equalize the histogram of each channel."""
    return _replace_each(frames, lambda frame: np.stack([_equalized(h) for h in _histograms(frame)], axis=1))


def brightness(frames: Frames, factor: float) -> Frames:
    """Blend with black: 0 is black, 1 the frame itself, and above 1 it is brighter."""
    return _replace(frames, _blended(np.zeros(256, np.uint8), factor))


def contrast(frames: Frames, factor: float) -> Frames:
    """Blend with the mean gray level of the frame: 0 is gray, 1 the frame itself."""
    return _replace_each(frames, lambda frame: _blended(np.full(256, int(_gray(frame).mean() + 0.5)), factor))


def color(frames: Frames, factor: float) -> Frames:
    """Blend each pixel with its gray level: 0 is gray, 1 the frame itself."""
    return _blend_each(frames, lambda frame: np.repeat(_gray(frame)[..., None], 3, axis=2), factor)


def sharpness(frames: Frames, factor: float) -> Frames:
    """Blend with the frame smoothed by a 3x3 kernel: 0 is smooth, 1 the frame itself, and above 1 it is sharper."""
    return _blend_each(frames, _smoothed, factor)


def _replace(frames: Frames, levels: NDArray[np.integer]) -> Frames:
    """Replace each level by its entry in a table (256,), or (256, 3) of the channels."""
    import cv2

    table = levels.astype(np.uint8).reshape(256, 1, -1)
    replaced: Any = cv2.LUT(frames.reshape(-1, *frames.shape[2:]), table)  # one image of all frames
    result: Frames = replaced.reshape(frames.shape)
    return result


def _replace_each(frames: Frames, levels: Callable[[Frame], NDArray[np.integer]]) -> Frames:
    return np.concatenate([_replace(frame[None], levels(frame)) for frame in frames])


def _blend_each(frames: Frames, other: Callable[[Frame], Frame], factor: float) -> Frames:
    table = _blended(_levels()[:, None], factor).reshape(-1)
    out = np.empty_like(frames)
    for frame, target in zip(frames, out, strict=True):
        pairs = other(frame).astype(np.uint16)
        pairs <<= 8
        pairs |= frame
        np.take(table, pairs, out=target)
    return out


def _blended(other: NDArray[np.integer], factor: float) -> Levels:
    """Return ``other + factor * (level - other)`` of all levels, in float32, cut to 0..255 and truncated (Pillow)."""
    other = other.astype(np.float32)
    values = other + np.float32(factor) * (_levels().astype(np.float32) - other)
    return np.clip(values, 0, 255).astype(np.uint8)


def _gray(frame: Frame) -> NDArray[np.uint8]:
    """Convert to gray, (H, W); the sums are integers below 2^24, so that float32 is exact."""
    import cv2

    gray: NDArray[np.uint8] = cv2.transform(frame.astype(np.float32), np.array(_GRAY, np.float32)).astype(np.uint8)
    return gray


def _smoothed(frame: Frame) -> Frame:
    """Apply Pillow's SMOOTH, a mean with weight 5 of the center and 1 of the others; pixels at the border stay."""
    import cv2

    kernel = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / 13
    smooth: Any = cv2.filter2D(frame, -1, kernel)  # a sum of integers over 13 has no ties to round
    smooth[[0, -1]], smooth[:, [0, -1]] = frame[[0, -1]], frame[:, [0, -1]]
    result: Frame = smooth
    return result


def _histograms(frame: Frame) -> list[NDArray[np.int64]]:
    import cv2

    return [cv2.calcHist([frame], [i], None, [256], [0, 256]).ravel().astype(np.int64) for i in range(frame.shape[2])]


def _stretched(histogram: NDArray[np.int64]) -> NDArray[np.integer]:
    used = np.flatnonzero(histogram)
    low, high = int(used[0]), int(used[-1])
    if high <= low:
        return _levels()
    scale = 255.0 / (high - low)
    return np.clip((_levels() * scale - low * scale).astype(np.int64), 0, 255)


def _equalized(histogram: NDArray[np.int64]) -> NDArray[np.integer]:
    used = histogram[histogram > 0]
    step = int(used.sum() - used[-1]) // 255
    if len(used) <= 1 or step == 0:
        return _levels()
    below = np.concatenate([[0], np.cumsum(histogram)[:-1]])
    levels: NDArray[np.int64] = np.minimum((step // 2 + below) // step, 255)
    return levels
