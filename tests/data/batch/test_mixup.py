"""Mixup and CutMix: labels are mixed in the ratio of the pixels."""

import pytest
import torch

from vexp.data.batch.mixup import Blending

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
