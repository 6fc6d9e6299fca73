"""Flow by its direction, net inputs by their channels."""

from __future__ import annotations

import numpy as np
import pytest

from vexp.tools.visualize.colors import as_levels, as_rgb, flow_colours, flow_wheel


@pytest.mark.parametrize(
    ("x", "y", "colour"),
    [
        (228, 128, (255, 0, 0)),  # to the right: red
        (28, 128, (0, 255, 255)),  # to the left: its opposite
        (128, 228, (128, 255, 0)),  # down
        (128, 28, (128, 0, 255)),  # up
        (128, 128, (255, 255, 255)),  # still
    ],
)
def test_the_direction_of_flow_is_a_hue(x: int, y: int, colour: tuple[int, int, int]) -> None:
    flow = np.array([[[[x, y], [228, 128]]]], np.uint8)  # beside a motion of length 100
    np.testing.assert_allclose(flow_colours(flow)[0, 0, 0], colour, atol=1)


def test_noise_of_a_still_scene_stays_pale() -> None:
    assert flow_colours(np.array([[[129, 128]]], np.uint8)).min() > 230


def test_pictures_are_left_alone_and_the_wheel_is_round() -> None:
    frames = np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3)
    assert as_rgb(frames) is frames
    wheel = flow_wheel(21)
    assert wheel[0, 0].tolist() == wheel[10, 10].tolist() == [255, 255, 255]
    np.testing.assert_allclose(wheel[10, 20], [255, 0, 0], atol=2)


def test_channel_0_is_red_whatever_it_means() -> None:
    """The lowest value black, the highest full: BGR shows its colours swapped."""
    net = np.array([-2.0, 0.5, 3.0], np.float32).reshape(3, 1, 1, 1)
    assert as_levels(net, -2.0, 3.0)[0, 0, 0].tolist() == [0, 128, 255]


def test_two_channels_are_shown_side_by_side() -> None:
    net = np.stack([np.zeros((1, 2, 3)), np.ones((1, 2, 3))]).astype(np.float32)
    picture = as_levels(net, 0.0, 1.0)
    assert picture.shape == (1, 2, 6, 3)
    assert (picture[..., :3, :] == 0).all()
    assert (picture[..., 3:, :] == 255).all()
