"""Random erasing: boxes of timm on the same draw, and their content."""

import json
import random

import numpy as np
import pytest
from support.paths import GOLDEN_DIR

from vexp.core.errors import ConfigError, UserError
from vexp.data.transforms.random_erasing import RandomErasing

FRAMES = np.full((3, 60, 80, 3), 7, np.uint8)


def rng(seed=0):
    return np.random.default_rng(seed)


def erased(step, seed=0, frames=FRAMES):
    """The clip, and a mask (H, W) of the pixels that changed in the first frame."""
    after = step.apply(frames, rng(seed))
    return after, (after[0] != frames[0]).any(-1)


def test_random_erasing_is_one_box_in_all_frames():
    for seed in range(20):
        after, mask = erased(RandomErasing(probability=1.0), seed)
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        area = len(rows) * len(columns)
        assert 0.015 < area / mask.size < 0.36
        assert 0.25 < len(rows) / len(columns) < 4
        outside = np.ones_like(mask)
        outside[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = False
        assert np.array_equal(after[:, outside], FRAMES[:, outside])
        assert not np.array_equal(after[0], after[1])  # noise of each frame


def test_random_erasing_box_equals_timm_on_the_same_draw(monkeypatch):
    timm = pytest.importorskip("timm.data.random_erasing")
    import torch

    step = RandomErasing(probability=1.0, mode="const")
    for seed in range(30):
        draws = rng(seed)
        monkeypatch.setattr(random, "random", draws.random)
        monkeypatch.setattr(random, "uniform", lambda low, high, draws=draws: float(draws.uniform(low, high)))
        monkeypatch.setattr(random, "randint", lambda low, high, draws=draws: int(draws.integers(low, high + 1)))
        image = torch.ones(3, 60, 80)
        draws_of_timm = timm.RandomErasing(1.0, device="cpu")
        draws.random()  # the probability, which timm does not draw if it is 1 and vexp does
        draws.integers(1, 2)  # the number of boxes
        monkeypatch.setattr(random, "random", lambda: 0.0)
        draws_of_timm(image)
        _, mask = erased(step, seed)
        np.testing.assert_array_equal(mask, (image == 0).all(0).numpy())


def test_random_erasing_noise_is_normal_after_normalization():
    large = np.zeros((16, 100, 100, 3), np.uint8)
    step = RandomErasing(probability=1.0, min_area=0.3)
    after, mask = erased(step, 1, large)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = after[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(float)
    normalized = (box - step.mean) / step.std
    assert normalized.mean() == pytest.approx(0, abs=0.02)
    assert normalized.std() == pytest.approx(0.97, abs=0.02)  # 1 before it is cut to 0..255


@pytest.mark.parametrize(("mode", "colors"), [("rand", 1), ("const", 1), ("pixel", 1000), ("uniform", 1000)])
def test_random_erasing_mode_is_content_of_box(mode, colors):
    after, mask = erased(RandomErasing(probability=1.0, mode=mode, min_area=0.2), 4)
    assert len(np.unique(after[:, mask].reshape(-1, 3), axis=0)) >= colors
    if mode in ("rand", "const"):
        assert len(np.unique(after[:, mask].reshape(-1, 3), axis=0)) == 1
    if mode == "const":
        assert after[0][mask][0].tolist() == [124, 116, 104]
    if mode == "uniform":
        assert after[:, mask].mean() == pytest.approx(127.5, abs=3)
        assert after[:, mask].std() == pytest.approx(256 / 12**0.5, abs=2)


def test_random_erasing_probability_and_several_boxes():
    changed = sum(erased(RandomErasing(), seed)[1].any() for seed in range(800))
    assert changed == pytest.approx(200, abs=50)  # 4 standard deviations
    areas = [erased(RandomErasing(probability=1.0, max_count=3), seed)[1].mean() for seed in range(100)]
    assert max(areas) < 0.36
    assert RandomErasing(probability=0.0).apply(FRAMES, rng()) is FRAMES


def test_random_erasing_rejects_flow_and_invalid_areas():
    with pytest.raises(UserError, match="RandomErasing requires RGB"):
        RandomErasing().apply(FRAMES[..., :2], rng())
    with pytest.raises(ConfigError) as caught:
        RandomErasing(min_area=0.5)
    assert caught.value.key == "min_area"


def test_random_erasing_areas_are_distributed_as_in_mmaction2():
    recorded = json.loads((GOLDEN_DIR / "augment.json").read_text())["erasing"]
    low, high = recorded["arguments"]["min_area_ratio"], recorded["arguments"]["max_area_ratio"]
    step, generator = RandomErasing(min_area=low, max_area=high, min_aspect=0.5), rng()
    size = recorded["width"], recorded["height"]
    boxes = np.array([step.box(size, generator) for _ in range(2000)])
    areas = boxes[:, 2] * boxes[:, 3] / (size[0] * size[1])
    np.testing.assert_allclose(np.quantile(areas, [0, 0.25, 0.5, 0.75, 1]), recorded["area_quantiles"], atol=0.004)
