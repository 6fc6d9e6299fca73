"""Mixup and CutMix: labels are mixed in the ratio of the pixels."""

from typing import Any

import numpy as np
import pytest
import torch

from vexp.data.batch.mixup import Blending
from vexp.model.loss import CrossEntropy

LABELS = torch.tensor([0, 1, 2, 3])


def clips() -> torch.Tensor:
    """Four clips float (4, 3, 2, 8, 8), each of one value: its label."""
    return LABELS.float().view(-1, 1, 1, 1, 1).expand(4, 3, 2, 8, 8).contiguous()


def test_blending_default_changes_nothing():
    frames = clips()
    before = torch.get_rng_state()
    assert Blending().apply(frames, LABELS, 4) == (frames, LABELS)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    "options", [{"mixup_alpha": 0.8}, {"cutmix_alpha": 1.0}, {"mixup_alpha": 0.8, "cutmix_alpha": 1.0}]
)
def test_blending_labels_have_ratio_of_pixels(options):
    torch.manual_seed(0)
    for _ in range(10):
        mixed, targets = Blending(**options).apply(clips(), LABELS, 4)
        assert mixed.shape == (4, 3, 2, 8, 8)
        assert type(mixed) is torch.Tensor
        assert targets.shape == (4, 4)
        assert torch.allclose(targets.sum(1), torch.ones(4))
        assert torch.allclose(mixed.mean((1, 2, 3, 4)), targets @ LABELS.float(), atol=1e-5)
        assert torch.equal(mixed[:, :, 0], mixed[:, :, 1])  # all frames alike: one box for the clip


def test_cutmix_pastes_box_and_mixup_mixes_all_pixels():
    torch.manual_seed(1)
    pasted, _ = Blending(cutmix_alpha=1.0).apply(clips(), LABELS, 4)
    assert set(pasted[1].unique().tolist()) == {0.0, 1.0}
    mixed, _ = Blending(mixup_alpha=1.0).apply(clips(), LABELS, 4)
    assert len(mixed[1].unique()) == 1


def test_blending_both_uses_one_for_each_batch():
    torch.manual_seed(0)
    both = Blending(mixup_alpha=1.0, cutmix_alpha=1.0)
    kinds = {len(both.apply(clips(), LABELS, 4)[0][1].unique()) for _ in range(20)}
    assert kinds == {1, 2}


def test_blending_probability_is_fraction_of_mixed_batches():
    torch.manual_seed(0)
    half = Blending(mixup_alpha=1.0, probability=0.5)
    mixed = sum(half.apply(clips(), LABELS, 4)[1].ndim == 2 for _ in range(400))
    assert 160 < mixed < 240  # 4 standard deviations


def test_blending_multi_label_targets_are_mixed():
    torch.manual_seed(0)
    many = torch.tensor([[1.0, 1.0], [0.0, 1.0]])
    _, targets = Blending(mixup_alpha=1.0).apply(clips()[:2], many, 2)
    assert torch.allclose(targets[:, 1], torch.ones(2))
    assert torch.allclose(targets[:, 0].sum(), torch.ones(()))


# ---- as timm ----


def images(count: int = 4) -> torch.Tensor:
    """Random clips of one frame, float (N, 3, 1, 9, 13)."""
    return torch.rand(count, 3, 1, 9, 13, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_of_smoothed_mixup_equals_timm(smoothing: float) -> None:
    """Labels smoothed after mixing (here) and before it (timm) give the same loss."""
    mixup, cross_entropy = pytest.importorskip("timm.data.mixup"), pytest.importorskip("timm.loss.cross_entropy")
    torch.manual_seed(0)
    clips_of_two, labels = images(2), torch.tensor([2, 0])
    mixed, targets = Blending(mixup_alpha=0.8).apply(clips_of_two, labels, 5)
    ratio = float(targets[0, 2])
    of_timm = mixup.Mixup(mixup_alpha=0.8, label_smoothing=smoothing, num_classes=5)
    of_timm._params_per_batch = lambda: (ratio, False)
    expected, smoothed = of_timm(clips_of_two[:, :, 0].clone(), labels)
    torch.testing.assert_close(mixed[:, :, 0], expected)
    logits = torch.randn(2, 5)
    ours = CrossEntropy(label_smoothing=smoothing).build()(logits, targets)
    torch.testing.assert_close(ours, cross_entropy.SoftTargetCrossEntropy()(logits, smoothed))


@pytest.mark.parametrize(
    "options", [{"mixup_alpha": 0.8}, {"cutmix_alpha": 1.0}, {"mixup_alpha": 0.8, "cutmix_alpha": 1.0}]
)
def test_mixing_each_clip_equals_timm_on_the_same_draw(options: dict[str, float], monkeypatch: Any) -> None:
    """Each pair of a clip and the previous one of the batch is a batch of two for timm."""
    timm = pytest.importorskip("timm.data.mixup")
    blending, frames = Blending(**options, mode="elem", probability=0.8), images()
    for seed in range(10):
        torch.manual_seed(seed)
        mixes = [blending._draw(frames) for _ in frames]
        torch.manual_seed(seed)
        mixed, targets = blending.apply(frames, LABELS, 4)
        for index, mix in enumerate(mixes):
            pair = [index, index - 1]
            of_timm = timm.Mixup(label_smoothing=0.0, num_classes=4, mode="elem")
            ratios = np.array([mix.ratio, 1.0], np.float32)
            of_timm._params_per_elem = lambda size, mix=mix, ratios=ratios: (
                ratios,
                np.array([mix.box is not None] * 2),
            )
            if mix.box is not None:
                rows, columns = mix.box
                box = (rows.start, rows.stop, columns.start, columns.stop)
                monkeypatch.setattr(timm, "rand_bbox", lambda *_, box=box, **__: box)
            expected, labels = of_timm(frames[pair][:, :, 0].clone(), LABELS[pair])
            torch.testing.assert_close(mixed[index, :, 0], expected[0])
            torch.testing.assert_close(targets[index], labels[0])


def test_box_of_each_clip_equals_timm_on_the_same_draw(monkeypatch: Any) -> None:
    timm = pytest.importorskip("timm.data.mixup")
    blending, frames = Blending(cutmix_alpha=1.0, mode="elem"), images()
    for seed in range(50):
        torch.manual_seed(seed)
        torch.rand(())
        torch.randint(1, ())
        ratio = float(torch.distributions.Beta(1.0, 1.0).sample())
        centers = iter([int(torch.randint(9, ())), int(torch.randint(13, ()))])
        monkeypatch.setattr(timm.np.random, "randint", lambda low, high, size=None, centers=centers: next(centers))
        (top, bottom, left, right), corrected = timm.cutmix_bbox_and_lam((3, 9, 13), ratio)
        torch.manual_seed(seed)
        mix = blending._draw(frames)
        assert mix.box == (slice(top, bottom), slice(left, right))
        assert mix.ratio == pytest.approx(corrected)


def test_mixing_each_clip_gives_each_its_own_ratio() -> None:
    torch.manual_seed(0)
    mixed, targets = Blending(mixup_alpha=1.0, mode="elem").apply(clips(), LABELS, 4)
    assert len(set(targets.max(1).values.tolist())) == 4
    assert torch.allclose(mixed.mean((1, 2, 3, 4)), targets @ LABELS.float(), atol=1e-5)
    many = torch.tensor([[1.0, 1.0], [0.0, 1.0]])
    _, targets = Blending(mixup_alpha=1.0, mode="elem").apply(clips()[:2], many, 2)
    assert torch.allclose(targets[:, 1], torch.ones(2))
