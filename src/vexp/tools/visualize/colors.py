"""Frames and net inputs as pictures: optical flow in the colours of its direction, normalised values as grey levels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vexp.data.transforms.resample import FLOW_CHANNELS
from vexp.tools.visualize.canvas import Picture

_NO_NOISE = 16.0  # grey levels: shorter motion stays pale


def as_rgb(frames: NDArray[np.uint8]) -> Picture:
    """uint8 (..., 3) as it is; optical flow (..., 2) by ``flow_colours``."""
    return flow_colours(frames) if frames.shape[-1] == FLOW_CHANNELS else frames


def flow_colours(flow: NDArray[np.uint8]) -> Picture:
    """uint8 (..., 2) x, y around 128 -> RGB: the direction as hue, the length as depth, white where nothing moves.

    The wheel of Baker et al. 2011 in HSV: right is red, down is green-yellow, left is cyan, up is violet. The deepest
    colour is the longest motion among these frames, or 16 grey levels where none is as long.
    """
    import cv2

    motion = flow.astype(np.float32) - 128
    length = np.hypot(motion[..., 0], motion[..., 1])
    longest = max(_NO_NOISE, float(length.max()))
    angle = np.degrees(np.arctan2(motion[..., 1], motion[..., 0])) % 360
    hsv = np.stack([angle, length / longest, np.ones_like(length)], axis=-1).astype(np.float32)
    flat = cv2.cvtColor(hsv.reshape(-1, hsv.shape[-2], 3), cv2.COLOR_HSV2RGB)
    painted: Picture = np.rint(flat.reshape(hsv.shape) * 255).astype(np.uint8)
    return painted


def flow_wheel(size: int) -> Picture:
    """The legend of ``flow_colours``: uint8 (size, size, 3)."""
    ys, xs = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    inside = np.hypot(xs, ys) <= 1
    flow = np.where(inside[..., None], np.stack([xs, ys], axis=-1) * 127 + 128, 128)
    return flow_colours(flow.astype(np.uint8))


def as_levels(values: NDArray[np.float32], low: float, high: float) -> Picture:
    """Net input, float (C, T, H, W), as it lies in memory: ``low`` black, ``high`` full; uint8 (T, H, W, 3).

    Channel 0 is painted red, 1 green, 2 blue, whatever they mean: a net that is given BGR shows swapped colours here.
    Two channels are painted beside each other in grey.
    """
    levels = np.clip((values - low) * (255 / max(high - low, 1e-12)), 0, 255)
    pictures: Picture = np.rint(levels).astype(np.uint8).transpose(1, 2, 3, 0)  # (T, H, W, C)
    if pictures.shape[-1] == 3:
        return pictures
    grey = np.concatenate([pictures[..., channel] for channel in range(pictures.shape[-1])], axis=2)
    return np.repeat(grey[..., None], 3, axis=-1)
