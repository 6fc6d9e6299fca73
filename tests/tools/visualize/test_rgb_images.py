"""Optical flow and model input as RGB images."""

from __future__ import annotations

import numpy as np
import pytest

from vexp.tools.visualize.rgb_images import flow_to_rgb, flow_wheel, input_to_rgb, to_rgb_image


@pytest.mark.parametrize(
    ("x", "y", "color"),
    [
        (228, 128, (255, 0, 0)),  # to the right: red
        (28, 128, (0, 255, 255)),  # to the left: its opposite
        (128, 228, (128, 255, 0)),  # down
        (128, 28, (128, 0, 255)),  # up
        (128, 128, (255, 255, 255)),  # still
    ],
)
def test_flow_to_rgb_direction_is_hue(x: int, y: int, color: tuple[int, int, int]) -> None:
    flow = np.array([[[[x, y], [228, 128]]]], np.uint8)  # beside a motion of length 100
    np.testing.assert_allclose(flow_to_rgb(flow)[0, 0, 0], color, atol=1)


def test_flow_to_rgb_short_motion_is_pale() -> None:
    assert flow_to_rgb(np.array([[[129, 128]]], np.uint8)).min() > 230


def test_to_rgb_image_keeps_rgb_and_flow_wheel_is_round() -> None:
    frames = np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3)
    assert to_rgb_image(frames) is frames
    wheel = flow_wheel(21)
    assert wheel[0, 0].tolist() == wheel[10, 10].tolist() == [255, 255, 255]
    np.testing.assert_allclose(wheel[10, 20], [255, 0, 0], atol=2)


def test_input_to_rgb_keeps_channel_order() -> None:
    """The lowest value becomes 0, the highest 255; the colors of BGR are swapped."""
    values = np.array([-2.0, 0.5, 3.0], np.float32).reshape(3, 1, 1, 1)
    assert input_to_rgb(values, -2.0, 3.0)[0, 0, 0].tolist() == [0, 128, 255]


def test_input_to_rgb_two_channels_side_by_side() -> None:
    values = np.stack([np.zeros((1, 2, 3)), np.ones((1, 2, 3))]).astype(np.float32)
    image = input_to_rgb(values, 0.0, 1.0)
    assert image.shape == (1, 2, 6, 3)
    assert (image[..., :3, :] == 0).all()
    assert (image[..., 3:, :] == 255).all()
