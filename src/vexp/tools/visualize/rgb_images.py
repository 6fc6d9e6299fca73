"""Frames and model inputs as RGB images: optical flow by its direction, heat maps by color, values as levels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vexp.data.transforms.resample import FLOW_CHANNELS
from vexp.tools.visualize.canvas import RGBImage

_MIN_FULL_SATURATION = 16.0  # grey levels; shorter motion, such as noise, stays pale


def to_rgb_image(frames: NDArray[Any]) -> RGBImage:
    """Return uint8 (..., 3) unchanged, optical flow (..., 2) as ``flow_to_rgb``, others as ``heat_maps_to_rgb``."""
    if not has_colors(frames.shape[-1]) or frames.dtype != np.uint8:
        return heat_maps_to_rgb(frames if frames.dtype != np.uint8 else frames / np.float32(255))
    return flow_to_rgb(frames) if frames.shape[-1] == FLOW_CHANNELS else frames


def has_colors(channels: int) -> bool:
    """Return whether these are the channels of an image or of optical flow; otherwise they are heat maps."""
    return channels in (FLOW_CHANNELS, 3)


def heat_maps_to_rgb(maps: NDArray[np.floating[Any]]) -> RGBImage:
    """Convert heat maps, 0..1 (..., C), to RGB: each in a color of its own, the brightest of a pixel, on black."""
    hue = 2 * np.pi * (np.arange(maps.shape[-1]) / maps.shape[-1])[:, None] + np.array([0, -2, 2]) * np.pi / 3
    colors = np.clip(0.6 + 0.5 * np.cos(hue), 0, 1)  # (C, 3)
    planes = [(maps * channel.astype(np.float32)).max(axis=-1) for channel in colors.T]
    levels: RGBImage = np.rint(np.clip(np.stack(planes, axis=-1), 0, 1) * 255).astype(np.uint8)
    return levels


def flow_to_rgb(flow: NDArray[np.uint8]) -> RGBImage:
    """Convert uint8 (..., 2) x, y around 128 to RGB: direction as hue, length as saturation, white without motion.

    The color wheel of Baker et al. 2011 in HSV: right is red, down is green-yellow, left is cyan, up is violet. The
    longest motion of the frames is fully saturated, unless it is shorter than 16 grey levels.
    """
    import cv2

    motion = flow.astype(np.float32) - 128
    length = np.hypot(motion[..., 0], motion[..., 1])
    longest = max(_MIN_FULL_SATURATION, float(length.max()))
    angle = np.degrees(np.arctan2(motion[..., 1], motion[..., 0])) % 360
    hsv = np.stack([angle, length / longest, np.ones_like(length)], axis=-1).astype(np.float32)
    rgb = cv2.cvtColor(hsv.reshape(-1, hsv.shape[-2], 3), cv2.COLOR_HSV2RGB)
    levels: RGBImage = np.rint(rgb.reshape(hsv.shape) * 255).astype(np.uint8)
    return levels


def flow_wheel(size: int) -> RGBImage:
    """Return the legend of ``flow_to_rgb``: uint8 (size, size, 3)."""
    ys, xs = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    inside = np.hypot(xs, ys) <= 1
    flow = np.where(inside[..., None], np.stack([xs, ys], axis=-1) * 127 + 128, 128)
    return flow_to_rgb(flow.astype(np.uint8))


def input_to_rgb(values: NDArray[np.float32], low: float, high: float) -> RGBImage:
    """Convert model input, float (C, T, H, W), to uint8 (T, H, W, 3); ``low`` becomes 0 and ``high`` 255.

    Channels 0, 1, 2 become red, green, blue whatever they mean: the colors of BGR input are swapped. Two channels
    become two grey images side by side, other numbers are heat maps.
    """
    if not has_colors(len(values)):
        return heat_maps_to_rgb(values.transpose(1, 2, 3, 0) / max(high, 1e-12))
    levels = np.clip((values - low) * (255 / max(high - low, 1e-12)), 0, 255)
    images: RGBImage = np.rint(levels).astype(np.uint8).transpose(1, 2, 3, 0)  # (T, H, W, C)
    if images.shape[-1] == 3:
        return images
    grey = np.concatenate([images[..., channel] for channel in range(images.shape[-1])], axis=2)
    return np.repeat(grey[..., None], 3, axis=-1)
