"""ActionFormer: padding has no effect, attention is local, targets by hand, losses, decoding."""

import math

import pytest
import torch

from vexp.model.architectures.actionformer import PyramidOutput, pyramid_candidates
from vexp.model.localizers import ActionFormer, ActionFormerLoss
from vexp.model.segment_losses import SegmentTargets, assign_points, diou_loss, focal_loss

SIZES = {"feature_dim": 6, "width": 16, "heads": 2, "window": 5, "levels": 3, "stem_blocks": 1, "drop_path": 0.0}


def build(num_classes=3, **values):
    torch.manual_seed(0)
    return ActionFormer(**SIZES | values).build(num_classes).eval()


def points(*rows):
    return torch.tensor(rows)


@pytest.mark.parametrize("top_down", [False, True])
def test_padding_does_not_change_the_outputs(top_down):
    model, x = build(top_down=top_down), torch.randn(2, 6, 22)
    valid = torch.ones(2, 22, dtype=torch.bool)
    valid[1, 13:] = False
    with torch.no_grad():
        padded, alone = model(x, valid), model(x[1:, :, :13], valid[1:, :13])
    rows, own = padded.valid[1], alone.valid[0]
    assert int(own.sum()) == 13 + 7 + 4
    torch.testing.assert_close(padded.logits[1][rows], alone.logits[0][own])
    torch.testing.assert_close(padded.distances[1][rows], alone.distances[0][own])


def test_points_have_position_stride_and_range_of_each_level():
    with torch.no_grad():
        output = build()(torch.zeros(1, 6, 8), torch.ones(1, 8, dtype=torch.bool))
    expected = [[t + 0.5, 1, 0, 4] for t in range(8)] + [[2 * t + 0.5, 2, 4, 8] for t in range(4)]
    assert output.points.tolist() == [*expected, [0.5, 4, 8, 1e4], [4.5, 4, 8, 1e4]]
    assert output.logits.shape == (1, 14, 3)
    assert (output.distances >= 0).all()


def test_initial_probability_of_every_class_is_one_percent():
    with torch.no_grad():
        logits = build()(torch.randn(1, 6, 8), torch.ones(1, 8, dtype=torch.bool)).logits
    assert torch.sigmoid(logits).mean() == pytest.approx(0.01, abs=0.005)


def test_attention_depends_on_the_window_only():
    from vexp.model.architectures.actionformer import LocalAttention

    torch.manual_seed(0)
    layer, x = LocalAttention(8, heads=2, window=5, stride=1, dropout=0.0), torch.randn(1, 8, 20)
    changed = x.clone()
    changed[..., 10] += 1
    mask = torch.ones(1, 1, 20, dtype=torch.bool)
    with torch.no_grad():
        difference = (layer(changed, mask) - layer(x, mask)).abs().sum(1)[0]
    assert (difference > 0).nonzero()[:, 0].tolist() == list(range(7, 14))  # window 5 and kernel 3


def test_assign_points_center_range_and_shortest_segment():
    grid = points([10.5, 1.0, 0.0, 8.0], [13.5, 1.0, 0.0, 8.0], [10.5, 4.0, 8.0, 1e4])
    segments, labels = torch.tensor([[5.0, 16.0], [9.0, 12.0]]), torch.tensor([0, 2])
    target, distances = assign_points(grid, segments, labels, 3, radius=1.5)
    # The first point is in the center of both: the shorter one. The second is too far from both centers. The third is
    # of a level for distances of 8 or more, which no segment has.
    assert target.tolist() == [[0, 0, 1], [0, 0, 0], [0, 0, 0]]
    assert distances[0].tolist() == [1.5, 1.5]


def test_assign_points_of_equal_segments_have_both_labels():
    segments, labels = torch.tensor([[0.0, 4.0], [0.0, 4.0]]), torch.tensor([0, 1])
    target, _ = assign_points(points([2.0, 1.0, 0.0, 4.0]), segments, labels, 2, radius=1.5)
    assert target.tolist() == [[1, 1]]


def test_diou_loss_by_hand():
    same, half = torch.tensor([[2.0, 2.0]]), torch.tensor([[1.0, 1.0]])
    assert diou_loss(same, same).item() == 0
    assert diou_loss(half, same).item() == pytest.approx(0.5)  # a common center
    assert diou_loss(torch.tensor([[2.0, 0.0]]), same).item() == pytest.approx(0.5 + (1 / 4) ** 2)


def test_focal_loss_by_hand():
    logits, targets = torch.zeros(2), torch.tensor([1.0, 0.0])
    expected = math.log(2) * 0.25  # (1 - 1/2)^2
    assert focal_loss(logits, targets, 0.25, 2.0).tolist() == pytest.approx([0.25 * expected, 0.75 * expected])


def test_loss_of_a_batch_is_the_mean_of_its_videos():
    model, loss, x = build(), ActionFormerLoss().build(), torch.randn(2, 6, 16)
    valid = torch.ones(2, 16, dtype=torch.bool)
    truth = [torch.tensor([[2.0, 9.0]]), torch.tensor([[1.0, 4.0], [6.0, 16.0]])]
    labels = [torch.tensor([0]), torch.tensor([1, 2])]
    with torch.no_grad():
        output = model(x, valid)
        both = loss(output, SegmentTargets(truth, labels))
        single = [loss(output.select(i), SegmentTargets(truth[i : i + 1], labels[i : i + 1])) for i in range(2)]
    for name, value in both.items():
        assert float(value) == pytest.approx(sum(float(one[name]) for one in single) / 2, rel=1e-5)


def test_loss_without_segments_has_gradients():
    model, loss = build(), ActionFormerLoss().build()
    output = model(torch.randn(1, 6, 16), torch.ones(1, 16, dtype=torch.bool))
    losses = loss(output, SegmentTargets([torch.zeros(0, 2)], [torch.zeros(0, dtype=torch.int64)]))
    losses["loss"].backward()
    assert float(losses["loss_regression"].detach()) == 0
    assert float(losses["loss_classification"].detach()) > 0


def test_candidates_are_decoded_by_stride_and_ordered_by_score():
    output = PyramidOutput(
        logits=torch.tensor([[[0.0, 2.0], [1.0, -20.0], [9.0, 9.0]]]),
        distances=torch.tensor([[[1.0, 2.0], [0.5, 1.5], [1.0, 1.0]]]),
        valid=torch.tensor([[True, True, False]]),
        points=points([4.5, 1.0, 0.0, 4.0], [8.5, 2.0, 4.0, 1e4], [12.5, 2.0, 4.0, 1e4]),
    )
    segments, scores, labels = pyramid_candidates(output, min_score=0.001, max_candidates=10)[0]
    assert segments.tolist() == [[3.5, 6.5], [7.5, 11.5], [3.5, 6.5]]
    assert labels.tolist() == [1, 0, 0]
    assert scores.tolist() == pytest.approx([0.8808, 0.7311, 0.5], abs=1e-4)
    assert len(pyramid_candidates(output, min_score=0.6, max_candidates=10)[0][0]) == 2
    assert len(pyramid_candidates(output, min_score=0.0, max_candidates=1)[0][0]) == 1
