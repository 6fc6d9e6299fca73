"""Geometry: mmaction2's recorded boxes and pixels, planned rendering equal to separate rendering, random ranges."""

import json

import cv2
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from support.paths import GOLDEN_DIR

from vexp.core.errors import UserError
from vexp.data import transforms
from vexp.data.transforms.crops import CenterCrop, MultiScaleCrop, RandomCrop, RandomResizedCrop, TenCrop, ThreeCrop
from vexp.data.transforms.resample import render, render_views
from vexp.data.transforms.resize import Flip, RandomRescale, Resize
from vexp.data.transforms.view import View

GOLDEN = json.loads((GOLDEN_DIR / "spatial.json").read_text())


def rng(seed=0):
    return np.random.default_rng(seed)


def noise(height, width, *, frames=1, channels=3, seed=0):
    """uint8 (T, H, W, C); the first frame of seed 0 is the golden file's."""
    shape = (height, width, channels)
    return np.stack([np.random.RandomState(seed + i).randint(0, 256, shape, dtype=np.uint8) for i in range(frames)])


def digest(picture):
    values = picture.astype(np.int64).reshape(-1)
    return [int(values.sum()), int((values * (np.arange(values.size) % 9973 + 1)).sum() % (2**31 - 1))]


def corners(view):
    x, y, width, height = view.box
    return [x, y, x + width, y + height]


def plan(step, width, height, seed=0):
    return step.plan([View.whole(width, height)], rng(seed))


def draws(step, width, height, count):
    generator = rng(5)
    return [step.plan([View.whole(width, height)], generator)[0] for _ in range(count)]


def assert_uniform(values, support):
    """Pearson's chi-square within 4 standard deviations of its mean, and nothing outside the support."""
    counts = np.array([np.sum(np.asarray(values) == value) for value in support])
    assert counts.sum() == len(values)
    expected = len(values) / len(support)
    freedom = len(support) - 1
    assert np.sum((counts - expected) ** 2 / expected) <= freedom + 4 * np.sqrt(2 * freedom), counts


# ---- against the recorded outputs of mmaction2 0.24.1 ----


def test_resize_sizes_equal_mmaction2():
    for arguments, width, height, size in GOLDEN["resize"]:
        (view,) = plan(Resize(**arguments), width, height)
        assert (view.size, view.box) == (tuple(size), (0, 0, width, height)), (arguments, width, height)


def test_resize_rounds_half_up_to_at_least_one_pixel():
    assert plan(Resize(scale=0.5), 5, 9)[0].size == (3, 5)  # 2.5 and 4.5
    assert plan(Resize(scale=0.01), 300, 10)[0].size == (3, 1)


def test_resize_nearest_pixels_equal_mmaction2():
    for arguments, width, height, pixels in GOLDEN["resize_nearest"]:
        resized = Resize(**arguments).apply(noise(height, width), rng())
        assert resized[0, 0].tolist() == pixels


def test_resize_bilinear_pixels_equal_mmaction2():
    # Recorded with OpenCV 4.8.1.
    for arguments, width, height, shape, expected in GOLDEN["resize_bilinear"]:
        resized = Resize(**arguments).apply(noise(height, width), rng())[0, 0]
        assert [list(resized.shape), *digest(resized)] == [shape, *expected]


def test_crops_equal_mmaction2():
    for name, crop_size, width, height, boxes, digests in GOLDEN["crops"]:
        step = getattr(transforms, name)(crop_size=crop_size)
        assert [corners(view) for view in plan(step, width, height)] == boxes, (name, crop_size, width, height)
        assert [digest(crop[0]) for crop in step.apply(noise(height, width), rng())] == digests


def test_multi_scale_crop_boxes_equal_mmaction2():
    for arguments, width, height, boxes in GOLDEN["multi_scale_crop"]:
        drawn = {tuple(corners(view)) for view in draws(MultiScaleCrop(**arguments), width, height, 4000)}
        assert drawn == set(map(tuple, boxes)), arguments


def test_random_rescale_sizes_equal_mmaction2():
    for scale_range, width, height, sizes in GOLDEN["random_rescale"]:
        drawn = [view.size for view in draws(RandomRescale(scale_range=scale_range), width, height, 4000)]
        assert set(drawn) == set(map(tuple, sizes))
        assert_uniform([min(size) for size in drawn], range(scale_range[0], scale_range[1] + 1))  # both ends


# ---- order and shape of several views ----


def test_three_crop_order():
    assert [view.box[:2] for view in plan(ThreeCrop(crop_size=4), 9, 4)] == [(0, 0), (4, 0), (2, 0)]  # column 8 is lost
    assert [view.box[:2] for view in plan(ThreeCrop(crop_size=4), 4, 8)] == [(0, 0), (0, 4), (0, 2)]
    assert [view.box[:2] for view in plan(ThreeCrop(crop_size=4), 4, 4)] == [(0, 0)] * 3
    assert [view.box[:2] for view in plan(ThreeCrop(crop_size=[3, 4]), 9, 4)] == [(0, 0), (6, 0), (3, 0)]


def test_ten_crop_is_corners_and_center_each_followed_by_its_mirror_image():
    views = plan(TenCrop(crop_size=[4, 4]), 12, 9)  # margins 8 and 5: steps 2 and 1, row 8 is lost
    assert [view.box[:2] for view in views[::2]] == [(0, 0), (8, 0), (0, 4), (8, 4), (4, 2)]
    assert views[1::2] == [view.flipped() for view in views[::2]]
    frames = noise(9, 12, frames=2)
    crops = TenCrop(crop_size=4).apply(frames, rng())
    assert crops.shape == (10, 2, 4, 4, 3)
    np.testing.assert_array_equal(crops[3], frames[:, :4, 8:][:, :, ::-1])


def test_transforms_after_multi_crop_treat_all_views_alike():
    frames = noise(8, 20, frames=2)
    crops = ThreeCrop(crop_size=[9, 8]).apply(frames, rng())
    (one,) = plan(RandomCrop(size=5), 9, 8, seed=7)
    x, y = map(int, one.box[:2])
    np.testing.assert_array_equal(RandomCrop(size=5).apply(crops, rng(7)), crops[:, :, y : y + 5, x : x + 5])
    # Each view's successors come in a row.
    np.testing.assert_array_equal(
        TenCrop(crop_size=4).apply(crops, rng()), np.concatenate([TenCrop(crop_size=4).apply(c, rng()) for c in crops])
    )
    flipped = Flip(flip_ratio=0.5)
    assert {tuple(v.mirrored for v in flipped.plan([View.whole(4, 4)] * 3, rng(seed))) for seed in range(20)} == {
        (False,) * 3,
        (True,) * 3,
    }


def test_plan_views_of_different_sizes_raise():
    with pytest.raises(UserError, match=r"must all have one size .* got 4x4, 5x4"):
        CenterCrop(crop_size=2).plan([View.whole(5, 4), View.whole(4, 4)], rng())
    with pytest.raises(UserError, match="got no view at all"):
        CenterCrop(crop_size=2).plan([], rng())


# ---- random places ----


def test_random_crop_draws_every_offset():
    views = draws(RandomCrop(size=[6, 4]), 9, 5, 6000)  # mmaction2 never draws x = 3 nor y = 1
    assert {view.size for view in views} == {(6, 4)}
    assert_uniform([view.box[0] + 4 * view.box[1] for view in views], range(8))


def test_random_resized_crop_is_within_ranges():
    step = RandomResizedCrop(area_range=[0.25, 0.5], aspect_ratio_range=[0.5, 2.0])
    views = draws(step, 400, 400, 3000)
    widths, heights = np.array([view.size for view in views]).T
    areas, ratios = widths * heights / 160_000, widths / heights
    # Rounding to whole pixels moves a side by half a pixel of at least 141.
    assert areas.min() == pytest.approx(0.25, rel=0.01)
    assert areas.max() == pytest.approx(0.5, rel=0.01)
    assert ratios.min() == pytest.approx(0.5, rel=0.01)
    assert ratios.max() == pytest.approx(2.0, rel=0.01)
    # All candidates fit: areas are uniform, log ratios are uniform. Four bins each.
    assert_uniform(np.clip((areas - 0.25) // 0.0625, 0, 3), range(4))
    assert_uniform(np.clip((np.log2(ratios) + 1) // 0.5, 0, 3), range(4))
    # Offsets reach both ends.
    assert min(view.box[0] for view in views) == 0
    assert max(view.box[0] + view.box[2] for view in views) == 400
    assert max(view.box[1] + view.box[3] for view in views) == 400


@pytest.mark.parametrize(("width", "height", "box"), [(1000, 64, [468, 0, 532, 64]), (64, 1000, [0, 468, 64, 532])])
def test_random_resized_crop_without_fit_is_centered_square(width, height, box):
    (view,) = plan(RandomResizedCrop(area_range=[0.9, 1.0]), width, height)
    assert corners(view) == box


def test_multi_scale_crop_with_random_crop_draws_every_offset():
    step = MultiScaleCrop(input_size=20, scales=[1.0], random_crop=True)
    assert_uniform([view.box[0] for view in draws(step, 8, 6, 3000)], range(3))


@pytest.mark.parametrize(
    ("short_side", "size"),
    [
        (227, (227, 227)),  # 3 pixels from the input size
        (226, (224, 224)),  # 2 pixels: snaps
        (223, (223, 223)),  # would snap past the frame's edge (mmaction2 does)
    ],
)
def test_multi_scale_crop_near_input_size_is_input_size(short_side, size):
    assert plan(MultiScaleCrop(input_size=224), short_side, short_side)[0].size == size


def test_flip_ratio_is_a_probability():
    assert not any(view.mirrored for view in draws(Flip(flip_ratio=0), 4, 4, 100))
    assert all(view.mirrored for view in draws(Flip(flip_ratio=1), 4, 4, 100))
    flips = sum(view.mirrored for view in draws(Flip(flip_ratio=0.3), 4, 4, 4000))
    assert abs(flips - 1200) < 4 * np.sqrt(4000 * 0.3 * 0.7)


# ---- one resample against one operation after the other ----

crops = st.one_of(
    st.builds(RandomResizedCrop, area_range=st.just([0.3, 1.0])),
    st.builds(RandomCrop, size=st.lists(st.integers(1, 6), min_size=2, max_size=2)),
    st.builds(CenterCrop, crop_size=st.integers(1, 6)),
    st.builds(TenCrop, crop_size=st.integers(1, 6)),
    st.builds(MultiScaleCrop, input_size=st.just(6), scales=st.just([1.0, 0.8]), random_crop=st.booleans()),
    st.builds(Flip),
)
resizes = st.one_of(
    st.builds(
        Resize,
        scale=st.lists(st.integers(7, 30), min_size=2, max_size=2),
        keep_ratio=st.just(False),
        interpolation=st.sampled_from(["bilinear", "nearest"]),
    ),
    st.builds(Resize, scale=st.sampled_from([[-1, 8], [13, -1], [9, 16], 2.0, 0.75, 1.0])),
    st.builds(RandomRescale, scale_range=st.just([7, 20])),
)


@settings(deadline=None, max_examples=200)
@given(
    before=st.lists(crops, max_size=2),
    resize=st.lists(resizes, max_size=1),
    after=st.lists(crops, max_size=3),
    channels=st.integers(1, 4),
    seed=st.integers(0, 2**32 - 1),
)
def test_planned_and_rendered_equals_transform_by_transform(before, resize, after, channels, seed):
    frames = noise(31, 40, frames=2, channels=channels)
    nearest = any(getattr(step, "interpolation", "") == "nearest" for step in resize)
    assume(not (nearest and any(isinstance(step, Flip | TenCrop) for step in before)))  # it is not symmetric in cv2
    views, lazy_rng = [View.whole(40, 31)], rng(seed)
    eager, eager_rng = frames, rng(seed)
    for step in [*before, *resize, *after]:
        try:
            views = step.plan(views, lazy_rng)
        except UserError:  # a fixed crop behind a smaller one
            with pytest.raises(UserError, match="the frames are"):
                step.apply(eager, eager_rng)
            return
        eager = step.apply(eager, eager_rng)
    rendered = render_views(frames, views)
    turned_first = channels == 2 and any(isinstance(step, Flip | TenCrop) for step in before)
    difference = np.abs(rendered.astype(int) - eager.reshape(rendered.shape))
    assert difference.max(initial=0) <= turned_first  # 255 - x of flow, then rounded, or the other way round
    assert lazy_rng.bit_generator.state == eager_rng.bit_generator.state


def test_crop_after_resize_reads_neighbors_and_crop_before_it_does_not():
    # Both have the same box and size; only the border pixels tell them apart.
    frames = noise(8, 8)
    inside = render(frames, View.whole(8, 8).resized(16, 16).cropped(4, 4, 8, 8))
    np.testing.assert_array_equal(inside[0], cv2.resize(frames[0], (16, 16))[4:12, 4:12])
    alone = render(frames, View.whole(8, 8).cropped(2, 2, 4, 4).resized(8, 8))
    np.testing.assert_array_equal(alone[0], cv2.resize(frames[0, 2:6, 2:6], (8, 8)))
    np.testing.assert_array_equal(inside[:, 1:-1, 1:-1], alone[:, 1:-1, 1:-1])
    assert not np.array_equal(inside, alone)


def smooth(height, width):
    """An image without noise, with at most 10 gray levels between neighbors: (1, H, W, 3)."""
    y, x = np.mgrid[:height, :width]
    planes = [10 * x % 256, 8 * y, 127 + 60 * np.sin(x / 7 + y / 9)]
    return np.minimum(np.stack(planes, axis=-1), 255).astype(np.uint8)[None]


def sampled(picture, box, size):
    """Bilinear samples about pixel centers, border repeated: float64 (h, w, C)."""
    (x, y, width, height), (height_in, width_in) = box, picture.shape[:2]
    at_x = np.clip(x + (np.arange(size[0]) + 0.5) * width / size[0] - 0.5, 0, width_in - 1)
    at_y = np.clip(y + (np.arange(size[1]) + 0.5) * height / size[1] - 0.5, 0, height_in - 1)
    left, top = np.floor(at_x).astype(int), np.floor(at_y).astype(int)
    right, bottom = np.minimum(left + 1, width_in - 1), np.minimum(top + 1, height_in - 1)
    to_right, to_bottom = (at_x - left)[:, None], (at_y - top)[:, None, None]
    p = picture.astype(float)
    upper = p[top][:, left] * (1 - to_right) + p[top][:, right] * to_right
    lower = p[bottom][:, left] * (1 - to_right) + p[bottom][:, right] * to_right
    return upper * (1 - to_bottom) + lower * to_bottom


@pytest.mark.parametrize(
    ("x", "y", "width", "height"),
    [
        (3, 2, 13, 12),  # inside
        (0, 0, 13, 12),  # upper left corner: the border is repeated
        (12, 9, 13, 12),  # lower right corner
    ],
)
@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_second_resize_samples_fractional_box_once(x, y, width, height, mirrored, channels):
    frames = np.ascontiguousarray(smooth(24, 25)[..., :channels])
    view = View.whole(25, 24).resized(25, 21).cropped(x, y, width, height).resized(31, 30)
    assert view.box == pytest.approx((x, y * 24 / 21, width, height * 24 / 21))
    expected = sampled(frames[0], view.box, (31, 30))
    # 1 gray level: OpenCV 4 computes such samples with 1/32 pixel, OpenCV 5 exactly.
    if mirrored:
        view, expected = view.flipped(), expected[:, ::-1]
        if channels == 2:  # optical flow: what moved right moves left
            expected = np.stack([255 - expected[..., 0], expected[..., 1]], axis=-1)
    assert np.abs(render(frames, view)[0] - expected).max() <= 1


def test_second_nearest_resize_takes_pixel_at_position():
    frames = noise(24, 25)
    view = View.whole(25, 24).resized(25, 21).cropped(3, 2, 13, 12).resized(31, 29, "nearest")  # no ties
    x, y, width, height = view.box
    columns = np.floor(x + (np.arange(31) + 0.5) * width / 31).astype(int)
    rows = np.floor(y + (np.arange(29) + 0.5) * height / 29).astype(int)
    np.testing.assert_array_equal(render(frames, view)[0], frames[0][rows][:, columns])


# ---- views ----

boxes = st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(1, 9), st.integers(1, 9))


@given(box=boxes, size=st.one_of(st.none(), st.tuples(st.integers(18, 40), st.integers(18, 40))))
def test_crop_of_mirrored_view_equals_cropped_mirrored_frames(box, size):
    x, y, width, height = box
    frames = noise(18, 18)
    view = View.whole(18, 18).resized(*(size or (18, 18)))
    flipped = render(frames, view.flipped())
    np.testing.assert_array_equal(flipped, render(frames, view)[:, :, ::-1])
    cropped = render(frames, view.flipped().cropped(x, y, width, height))
    np.testing.assert_array_equal(cropped, flipped[:, y : y + height, x : x + width])
    # Flips commute with what is symmetric, and undo themselves.
    assert view.flipped().flipped() == view
    assert view.flipped().resized(20, 30) == view.resized(20, 30).flipped()
    mirror_x = view.size[0] - x - width
    at_mirror = render(frames, view.cropped(mirror_x, y, width, height).flipped())
    np.testing.assert_array_equal(cropped, at_mirror)


@given(
    step=crops.filter(lambda step: not isinstance(step, Flip)),
    width=st.integers(6, 60),
    height=st.integers(6, 60),
    mirrored=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_crops_are_within_frame_on_whole_pixels(step, width, height, mirrored, seed):
    view = View.whole(width, height)
    for crop in step.plan([view.flipped() if mirrored else view], rng(seed)):
        left, top, right, bottom = corners(crop)
        assert min(left, top) >= 0
        assert right <= width
        assert bottom <= height
        assert all(float(edge).is_integer() for edge in crop.box)
        assert crop.size == crop.box[2:]
        if isinstance(step, RandomCrop | CenterCrop | TenCrop):
            wanted = step.size if isinstance(step, RandomCrop) else step.crop_size
            assert crop.size == (tuple(wanted) if isinstance(wanted, list) else (wanted, wanted))


def test_resize_to_same_size_changes_nothing():
    view = View.whole(8, 6).resized(12, 10).cropped(1, 1, 5, 5)
    assert view.resized(5, 5, "nearest") == view


def test_crop_outside_view_raises():
    for x, y, width, height in [(-1, 0, 2, 2), (0, 3, 2, 2), (3, 0, 2, 2), (0, 0, 0, 2)]:
        with pytest.raises(UserError, match="does not lie inside a view of 4x4"):
            View.whole(4, 4).cropped(x, y, width, height)
    with pytest.raises(UserError, match="0x4"):
        View.whole(4, 4).resized(0, 4)


# ---- render ----


def test_render_returns_new_contiguous_array():
    frames = noise(6, 8, frames=2)
    before = frames.copy()
    whole = View.whole(8, 6)
    for view in (whole, whole.flipped(), whole.cropped(1, 1, 4, 4), whole.resized(4, 4).flipped()):
        out = render(frames, view)
        assert out.flags.c_contiguous
        assert not np.shares_memory(out, frames)
        out[:] = 0
    np.testing.assert_array_equal(frames, before)


def test_render_views_equals_render_of_each_view():
    frames = noise(20, 30, frames=2)
    resized = View.whole(30, 20).resized(45, 24)
    views = [
        *TenCrop(crop_size=16).plan([resized], rng()),
        View.whole(30, 20).cropped(3, 2, 16, 16),
        resized.cropped(1, 1, 20, 20).resized(16, 16),
        View.whole(30, 20).resized(45, 24, "nearest").cropped(0, 0, 16, 16),
    ]
    np.testing.assert_array_equal(render_views(frames, views), np.stack([render(frames, view) for view in views]))


@pytest.mark.parametrize(
    ("frames", "view", "message"),
    [
        (np.zeros((1, 4, 4, 3), np.float32), View.whole(4, 4), r"must be uint8 \(T, H, W, C\), got float32"),
        (np.zeros((4, 4, 3), np.uint8), View.whole(4, 4), r"got uint8 \(4, 4, 3\)"),
        (np.zeros((1, 4, 4, 3), np.uint8), View.whole(5, 4), "does not lie inside frames of 4x4"),
        (np.zeros((1, 4, 4, 3), np.uint8), View((-1, 0, 2, 2), (2, 2)), "does not lie inside frames of 4x4"),
    ],
)
def test_render_invalid_input_raises(frames, view, message):
    with pytest.raises(ValueError, match=message):
        render(frames, view)


# ---- what a user gets wrong ----


@pytest.mark.parametrize(
    "step", [RandomCrop(size=[8, 4]), CenterCrop(crop_size=[8, 4]), ThreeCrop(crop_size=[8, 4]), TenCrop(crop_size=8)]
)
def test_crop_larger_than_frames_raises(step):
    # mmaction2: an empty assertion, or crops that are silently cut short.
    with pytest.raises(UserError, match=r"^\w+Crop: (crop_)?size=.* the frames are 7x6 .* add a Resize before it"):
        plan(step, 7, 6)


def test_three_crop_without_full_side_raises():
    with pytest.raises(UserError, match=r"crop_size=4 must be as wide or as high as the frames, which are 7x6 .*"):
        plan(ThreeCrop(crop_size=4), 7, 6)


@pytest.mark.parametrize(
    ("step", "arguments", "message"),
    [
        (Resize, {"scale": 256}, r"scale=256: is ambiguous: write \[-1,256\] for a short side"),
        (Resize, {"scale": -0.5}, "scale=-0.5: must be a positive factor"),
        (Resize, {"scale": [-1, -1]}, r"scale=\[-1,-1\]: must have sides >= 1"),
        (Resize, {"scale": [0, 256]}, r"scale=\[0,256\]: must have sides >= 1"),
        (Resize, {"scale": [256]}, r"scale=\[256\]: must be \[width,height\]"),
        (Resize, {"scale": "half"}, r"scale=half: must be \[width,height\]"),
        (Resize, {"scale": [-1, 256], "keep_ratio": False}, "must be .width,height. with keep_ratio=false"),
        (Resize, {"scale": 0.5, "keep_ratio": False}, "must be .width,height. with keep_ratio=false"),
        (Resize, {"scale": 0.5, "interpolation": "cubic"}, "interpolation=cubic: must be one of bilinear, nearest"),
        (RandomRescale, {"scale_range": [320, 256]}, r"scale_range=\[320,256\]: must be \[shortest,longest\]"),
        (RandomRescale, {"scale_range": [256]}, "needs exactly 2 values, got 1"),
        (RandomResizedCrop, {"area_range": [0.0, 1.0]}, r"area_range=\[0.0,1.0\]: must be > 0"),
        (RandomResizedCrop, {"area_range": [0.5, 1.5]}, "must be <= 1"),
        (RandomResizedCrop, {"aspect_ratio_range": [2.0, 0.5]}, r"must be \[smallest,largest\]"),
        (RandomCrop, {"size": 224.0}, "size=224.0: must be an integer >= 1"),
        (RandomCrop, {"size": [1, 2, 3]}, "must be an integer >= 1"),
        (CenterCrop, {"crop_size": 0}, "crop_size=0: must be an integer >= 1"),
        (ThreeCrop, {"crop_size": True}, "crop_size=true: must be an integer >= 1"),
        (TenCrop, {"crop_size": [224, -1]}, r"crop_size=\[224,-1\]: must be"),
        (MultiScaleCrop, {"input_size": 224, "scales": [1, 1.1]}, r"scales=\[1,1.1\]: must be <= 1"),
        (MultiScaleCrop, {"input_size": 224, "scales": []}, r"scales=\[\]: needs at least one scale"),
        (MultiScaleCrop, {"input_size": 224, "num_fixed_crops": 9}, "num_fixed_crops=9: must be 5 or 13"),
        (Flip, {"flip_ratio": 1.5}, "flip_ratio=1.5: must be <= 1"),
        (Flip, {"direction": "vertical"}, "direction=vertical: must be one of horizontal"),
    ],
)
def test_spatial_transform_invalid_option_raises(step, arguments, message):
    with pytest.raises(ValueError, match=message):
        step(**arguments)


@pytest.mark.parametrize(
    ("step", "arguments"),
    [
        (Resize, {"scale": [-1, 8]}),
        (RandomRescale, {"scale_range": [8, 9]}),
        (RandomResizedCrop, {}),
        (RandomCrop, {"size": 8}),
        (CenterCrop, {"crop_size": [8, 4]}),
        (ThreeCrop, {"crop_size": 8}),
        (TenCrop, {"crop_size": 8}),
        (MultiScaleCrop, {"input_size": 8, "scales": [1.0, 0.5]}),
        (Flip, {}),
    ],
)
def test_spatial_transform_from_config_equals_constructed_one(step, arguments):
    node = OmegaConf.merge(OmegaConf.structured(step), arguments)
    assert OmegaConf.to_object(node) == step(**arguments)
