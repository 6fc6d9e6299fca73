"""Boxes carried through views: exact, invertible, and equal to mmaction2's where it is right."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.ava_cases import cases, names

from vexp.core.errors import UserError
from vexp.data.loading.boxes import boxes_in_view
from vexp.data.transforms import CenterCrop, Flip, Resize
from vexp.data.transforms.view import View

STEPS = {
    "Resize": Resize,
    "CenterCrop": CenterCrop,
    "Flip": Flip,
}
#: Steps that draw nothing, so that the recorded boxes are comparable.
FIXED = [
    case for case in cases("ava", "boxes")
    if "out" in case and {step for step, _ in case["steps"]} <= {"Resize", "CenterCrop", "Flip"}
    and all(options.get("direction", "horizontal") == "horizontal" for _, options in case["steps"])
]  # fmt: skip
#: Sizes and positions of a chain of resizes, crops and flips.
CHAIN = st.lists(
    st.one_of(
        st.tuples(st.just("resized"), st.integers(8, 200), st.integers(8, 200)),
        st.tuples(st.just("cropped"), st.floats(0, 1), st.floats(0, 1)),
        st.just(("flipped",)),
    ),
    max_size=6,
)


def view_of(chain, width=128, height=96):
    view = View.whole(width, height)
    for name, *values in chain:
        if name == "cropped":
            size = [max(1, round(side * 0.7)) for side in view.size]
            values = [
                round(share * (side - part)) for share, side, part in zip(values, view.size, size, strict=True)
            ] + size
        view = getattr(view, name)(*values)
    return view


@settings(deadline=None, max_examples=60)
@given(CHAIN, st.lists(st.tuples(*[st.floats(0, 1)] * 4), min_size=1, max_size=4))
def test_source_boxes_of_mapped_boxes_is_the_identity(chain, corners) -> None:
    view = view_of(chain)
    values = np.array(corners)
    boxes = np.concatenate([np.minimum(values[:, :2], values[:, 2:]), np.maximum(values[:, :2], values[:, 2:])], 1)
    boxes *= (128, 96, 128, 96)
    assert np.allclose(view.source_boxes(view.map_boxes(boxes)), boxes, atol=1e-9)
    assert np.allclose(view.map_boxes(view.source_boxes(boxes)), boxes, atol=1e-9)
    whole = view.source_boxes(np.array([[0, 0, *view.size]]))  # the outline of the output
    outline = view.outline()
    assert np.allclose(whole[0], [*outline.min(0), *outline.max(0)])


def test_map_boxes_of_integer_crops_and_flips_is_exact() -> None:
    boxes = np.array([[10.0, 20.0, 30.0, 50.0]])
    view = View.whole(128, 96).cropped(8, 16, 64, 64).flipped()
    assert view.map_boxes(boxes).tolist() == [[64 - 22.0, 4.0, 64 - 2.0, 34.0]]
    assert View.whole(128, 96).resized(64, 48).map_boxes(boxes).tolist() == [[5.0, 10.0, 15.0, 25.0]]


def test_map_boxes_of_rotation_is_the_smallest_upright_box() -> None:
    # Rotates by 90 degrees: the point (x, y) of the new image comes from (y, 100 - x).
    view = View.whole(100, 100).warped((0, 1, 0, -1, 0, 100), (0, 0, 0))
    assert np.allclose(view.map_boxes(np.array([[10.0, 20.0, 30.0, 60.0]])), [[40, 10, 80, 30]])
    assert np.allclose(view.source_boxes(np.array([[40.0, 10.0, 80.0, 30.0]])), [[10, 20, 30, 60]])


@pytest.mark.parametrize("case", FIXED, ids=lambda case: case["name"])
def test_map_boxes_equals_recorded_transforms(case) -> None:
    """The corners are those of mmaction2, before it clips them to width - 1 and height - 1."""
    given_names, (height, width) = names(case), (case["h"], case["w"])
    boxes = np.asarray(given_names["gt"], np.float64) * (width, height, width, height)
    views, rng = [View.whole(width, height)], np.random.default_rng(0)
    for name, options in case["steps"]:
        try:
            views = STEPS[name](**options).plan(views, rng)
        except UserError:  # a crop larger than the image, which mmaction2 cuts to its size
            assert "larger" in case["name"]
            return
    step, (out_height, out_width), expected, _ = case["out"]["log"][-1]
    assert views[0].size == (out_width, out_height), step
    mapped = views[0].map_boxes(boxes)
    if any(name == "CenterCrop" for name, _ in case["steps"]):
        mapped = mapped.clip(0, [out_width - 1, out_height - 1] * 2)
    # mmaction2 rounds the factor of a resize with fixed aspect ratio to the pixels of each side, too.
    assert np.abs(mapped - expected).max() < 1e-3 * max(out_width, out_height)


def test_boxes_in_view_drops_boxes_of_which_less_than_a_tenth_is_left() -> None:
    view = View.whole(100, 100).cropped(50, 0, 50, 100)
    boxes = np.array([[0.0, 0, 50, 10], [41, 0, 51, 10], [40.5, 0, 50.5, 10], [60, 5, 80, 5], [0, 0, 100, 100]])
    clipped, kept = boxes_in_view(view, boxes)
    assert kept.tolist() == [False, True, False, False, True]
    assert clipped[4].tolist() == [0, 0, 50, 100]
