"""Windows of shared images against views rendered one by one, bit for bit."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vexp.core.errors import UserError
from vexp.data.transforms.crops import CenterCrop, MultiScaleCrop, RandomCrop, RandomResizedCrop, TenCrop, ThreeCrop
from vexp.data.transforms.resample import Window, render_views, render_windows
from vexp.data.transforms.resize import Flip, RandomRescale, Resize
from vexp.data.transforms.view import View
from vexp.data.transforms.view_layout import ViewLayout


def rng(seed=0):
    return np.random.default_rng(seed)


def noise(frames, height, width, channels=3):
    return np.random.RandomState(0).randint(0, 256, (frames, height, width, channels), np.uint8)


def plan(steps, width, height, seed=0):
    views, generator = [View.whole(width, height)], rng(seed)
    for step in steps:
        views = step.plan(views, generator)
    return views


def built(images, windows, size, positions, start=0, stop=None):
    """The views (V, T, h, w, C) as the device builds them."""
    positions = np.asarray(positions)
    of = ViewLayout.of(images.shape, windows, size, positions)
    out = torch.full(((stop or of.views) - start, *of.view_shape), 7, dtype=torch.uint8)
    of.build(torch.from_numpy(images).reshape(-1), torch.from_numpy(positions).reshape(-1), out, start)
    return out.numpy(), of


steps = st.lists(
    st.one_of(
        st.builds(RandomResizedCrop, area_range=st.just([0.5, 1.0])),
        st.builds(Resize, scale=st.sampled_from([[-1, 12], [20, 14], 1.5])),
        st.builds(RandomRescale, scale_range=st.just([12, 20])),
        st.builds(MultiScaleCrop, input_size=st.just(9), scales=st.just([1.0, 0.8])),
        st.builds(Flip),
    ),
    max_size=3,
)
last = st.lists(
    st.one_of(
        st.builds(RandomCrop, size=st.integers(1, 5)),
        st.builds(CenterCrop, crop_size=st.integers(1, 5)),
        st.builds(TenCrop, crop_size=st.integers(1, 5)),
        st.just(Flip(flip_ratio=1.0)),
    ),
    max_size=3,
)


@settings(deadline=None, max_examples=150)
@given(
    first=steps,
    last=last,
    channels=st.integers(1, 3),
    clips=st.integers(1, 3),
    part=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    seed=st.integers(0, 2**32 - 1),
)
def test_render_windows_reproduces_views(first, last, channels, clips, part, seed):
    frames = noise(4, 24, 31, channels)
    try:
        views = plan([*first, *last], 31, 24, seed)
    except UserError:  # a crop that does not fit
        return
    positions = rng(seed).integers(0, 4, (clips, 3))  # frames repeat, in any order
    expected = render_views(frames, views)[:, positions].reshape(-1, 3, *views[0].size[::-1], channels)  # crop-major
    images, windows = render_windows(frames, views)
    start = int(part[0] * (len(expected) - 1))
    stop = start + 1 + int(part[1] * (len(expected) - start - 1))
    made, _ = built(images, windows, views[0].size, positions, start, stop)
    np.testing.assert_array_equal(made, expected[start:stop])
    assert images.shape[0] in (1, len(views))


def test_render_windows_three_crops_share_one_image():
    frames = noise(2, 48, 64)
    views = plan([Resize(scale=[-1, 24]), ThreeCrop(crop_size=24)], 64, 48)
    images, windows = render_windows(frames, views)
    assert images.shape == (1, 2, 24, 32, 3)  # not 3 of 24 x 24
    assert windows == [Window(0, 0, 0), Window(0, 8, 0), Window(0, 4, 0)]


def test_render_windows_ten_crops_keep_only_visible_pixels():
    views = plan([TenCrop(crop_size=8)], 23, 21)  # a margin of 15 and 13: steps 3 and 3, 3 columns and 1 row are lost
    images, windows = render_windows(noise(1, 21, 23), views)
    assert images.shape == (1, 1, 20, 20, 3)
    assert windows[:4] == [Window(0, 0, 0), Window(0, 0, 0, True), Window(0, 12, 0), Window(0, 12, 0, True)]


def test_render_windows_without_shared_pixels_has_image_per_view():
    alone = plan([RandomResizedCrop(), Resize(scale=[8, 8], keep_ratio=False), Flip(flip_ratio=1.0)], 31, 24)
    images, windows = render_windows(noise(2, 24, 31), alone)
    assert (images.shape, windows) == ((1, 2, 8, 8, 3), [Window(0, 0, 0)])  # mirrored already
    fractional = plan([Resize(scale=[-1, 10]), ThreeCrop(crop_size=10), Resize(scale=[7, 7], keep_ratio=False)], 31, 24)
    images, windows = render_windows(noise(2, 24, 31), fractional)
    assert (images.shape, windows) == ((3, 2, 7, 7, 3), [Window(i, 0, 0) for i in range(3)])
    far = [View.whole(40, 8).cropped(x, 0, 4, 8) for x in (0, 36)]  # 2 x 4 columns of 40
    assert render_windows(noise(1, 8, 40), far)[0].shape == (2, 1, 8, 4, 3)


def test_render_windows_view_between_pixels_is_not_shared():
    """As large as its part of the frame, it is a resample: cut, it would lie half a pixel off."""
    steps = [Resize(scale=[-1, 128]), ThreeCrop(crop_size=128), Resize(scale=[64, 64], keep_ratio=False)]
    frames, views = noise(2, 64, 85), plan(steps, 85, 64)
    assert [view.box for view in views] == [(x, 0, 64, 64) for x in (0, 21, 10.5)]
    images, windows = render_windows(frames, views)
    np.testing.assert_array_equal(images, render_views(frames, views))
    assert windows == [Window(i, 0, 0) for i in range(3)]


def test_view_layout_is_identity_for_images_equal_to_views():
    one = [[0, 1], [2, 3]]
    images = noise(4, 6, 8)[None]
    assert built(images, [Window(0, 0, 0)], (8, 6), one)[1].is_identity
    assert not built(images, [Window(0, 0, 0)], (8, 6), [[0, 1], [3, 2]])[1].is_identity  # another order
    assert not built(images, [Window(0, 0, 0)], (8, 6), [[0, 1]])[1].is_identity  # not all
    assert not built(images, [Window(0, 0, 0)], (8, 5), one)[1].is_identity  # a part
    assert not built(images, [Window(0, 0, 0, True)], (8, 6), one)[1].is_identity
    assert not built(images, [Window(0, 0, 0)] * 2, (8, 6), one)[1].is_identity


def test_view_layout_mirrored_flow_negates_x_once():
    flow = noise(2, 6, 8, channels=2)
    expected = flow[:, :, ::-1].copy()
    expected[..., 0] = 255 - expected[..., 0]
    view = View.whole(8, 6)
    np.testing.assert_array_equal(render_views(flow, [view.flipped()])[0], expected)
    np.testing.assert_array_equal(Flip(flip_ratio=1.0).apply(flow, rng())[0], expected)
    np.testing.assert_array_equal(render_views(flow, [view.flipped().flipped()])[0], flow)
    images, windows = render_windows(flow, [view, view.flipped()])  # cut and mirrored on the device
    np.testing.assert_array_equal(built(images, windows, (8, 6), [[0, 1]])[0][1], expected)
