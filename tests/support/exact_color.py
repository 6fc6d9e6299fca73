"""The conversion of a decoded frame to RGB by the formulas of ITU-T H.273, in floating point."""

from __future__ import annotations

import av
import numpy as np

LUMA_WEIGHTS = {1: (0.2126, 0.0722), 7: (0.212, 0.087), 9: (0.2627, 0.0593)}
"""Matrix coefficients -> weights of red and blue; those of BT.601 in all other cases."""

FULL_RANGE = 2


def exact_rgb(frame: av.VideoFrame, *, cosited: bool) -> np.ndarray:
    """Convert a planar YUV frame: float64 (H, W, 3) in 0..255.

    Chroma of 8-bit 4:2:0 and 4:2:2 is that of the nearest sample. Otherwise it is interpolated linearly, from samples
    on the even columns (``cosited``) or between the columns.
    """
    bits = frame.format.components[0].bits
    y, *chroma = planes(frame)
    u, v = (
        _at(_rows(plane, y, frame, bits == 8).T, y.shape[1], 0 if cosited else 0.5, bits == 8).T for plane in chroma
    )
    scale, peak = 2 ** (bits - 8), 2**bits - 1
    is_full = frame.color_range == FULL_RANGE or "yuvj" in frame.format.name
    y, chroma_range = (y / peak, peak) if is_full else ((y - 16 * scale) / (219 * scale), 224 * scale)
    u, v = ((plane - 128 * scale) / chroma_range for plane in (u, v))
    red_weight, blue_weight = LUMA_WEIGHTS.get(int(frame.colorspace), (0.299, 0.114))
    red, blue = y + 2 * (1 - red_weight) * v, y + 2 * (1 - blue_weight) * u
    green = (y - red_weight * red - blue_weight * blue) / (1 - red_weight - blue_weight)
    return np.clip(255 * np.stack([red, green, blue], axis=-1), 0, 255)


def planes(frame: av.VideoFrame) -> list[np.ndarray]:
    """Return Y, U and V as they were decoded, float64."""
    dtype = "<u2" if frame.format.components[0].bits > 8 else "u1"
    return [
        np.frombuffer(plane, dtype).reshape(plane.height, -1)[:, : plane.width].astype(float)
        for plane in frame.planes[:3]
    ]


def _rows(plane: np.ndarray, y: np.ndarray, frame: av.VideoFrame, nearest: bool) -> np.ndarray:
    """Bring chroma to the height of ``y``; each field of an interlaced frame has its own (ITU-T H.264, table 8-9)."""
    if not frame.interlaced_frame:
        return _at(plane, len(y), 0.5, nearest)
    out = np.empty((len(y), plane.shape[1]))
    for field, offset in ((0, 0.25), (1, 0.75)):
        out[field::2] = _at(plane[field::2], len(y[field::2]), offset, nearest)
    return out


def _at(samples: np.ndarray, size: int, offset: float, nearest: bool) -> np.ndarray:
    """Return ``size`` rows between those of ``samples``, the first of which lies at row ``offset``."""
    last = len(samples) - 1
    if len(samples) == size:
        return samples
    if nearest:
        return samples[np.arange(size) // 2]
    position = (np.arange(size) - offset) / 2
    above = np.floor(position).astype(int)
    share = (position - above)[:, None]
    return samples[np.clip(above, 0, last)] * (1 - share) + samples[np.clip(above + 1, 0, last)] * share
