"""The losses are torch's, with weights of the classes."""

import pytest
import torch
from torch import nn

from vexp import compose
from vexp.core.errors import UserError
from vexp.model.loss import Bce, CrossEntropy

RANDOM = torch.Generator().manual_seed(0)
LOGITS = torch.randn(6, 4, generator=RANDOM)
NUMBERS = torch.tensor([0, 1, 2, 3, 0, 1])
MULTI_HOT = (torch.rand(6, 4, generator=RANDOM) < 0.4).float()
WEIGHTS = [0.5, 1.0, 2.0, 0.0]


@pytest.mark.parametrize(
    ("loss", "labels", "expected"),
    [
        (CrossEntropy(), NUMBERS, nn.CrossEntropyLoss()),
        (CrossEntropy(label_smoothing=0.1), NUMBERS, nn.CrossEntropyLoss(label_smoothing=0.1)),
        (CrossEntropy(class_weights=WEIGHTS), NUMBERS, nn.CrossEntropyLoss(weight=torch.tensor(WEIGHTS))),
        (Bce(), MULTI_HOT, nn.BCEWithLogitsLoss()),
        (Bce(class_weights=WEIGHTS), MULTI_HOT, nn.BCEWithLogitsLoss(weight=torch.tensor(WEIGHTS))),
        (Bce(pos_weight=WEIGHTS), MULTI_HOT, nn.BCEWithLogitsLoss(pos_weight=torch.tensor(WEIGHTS))),
    ],
)
def test_build_loss_equals_torch(loss, labels, expected):
    assert torch.equal(loss.build()(LOGITS, labels), expected(LOGITS, labels))


@pytest.mark.parametrize("smoothing", [0, 0.1])
def test_cross_entropy_batch_without_weighted_class_is_zero(smoothing):
    loss = CrossEntropy(class_weights=[1, 0, 0, 0], label_smoothing=smoothing).build()
    for labels, is_weighted in ((torch.tensor([1, 2, 3, 3, 1, 2]), False), (NUMBERS, True)):
        logits = LOGITS.clone().requires_grad_()
        loss(logits, labels).backward()
        assert bool(loss(logits, labels) > 0) == is_weighted
        assert bool(logits.grad.any()) == is_weighted
        if is_weighted:
            same = LOGITS.clone().requires_grad_()
            nn.CrossEntropyLoss(torch.tensor([1.0, 0, 0, 0]), label_smoothing=smoothing)(same, labels).backward()
            assert torch.equal(logits.grad, same.grad)


@pytest.mark.parametrize(
    ("counts", "weights"),
    [
        ([10, 10, 10], [1, 1, 1]),
        ([10, 20], [4 / 3, 2 / 3]),
        ([1, 2, 4], [12 / 7, 6 / 7, 3 / 7]),
        ([0, 1], [1, 1]),  # a class without videos weighs as if it had one
    ],
)
def test_weights_auto_are_inverse_frequencies_of_mean_one(counts, weights):
    found = CrossEntropy(class_weights="auto").weights(counts)
    assert found == pytest.approx(weights)
    assert sum(found) == pytest.approx(len(counts))


def test_weights_list_of_wrong_length_raises():
    assert CrossEntropy().weights([1, 2]) is None
    assert Bce(class_weights=[1, 3]).weights([1, 2]) == [1.0, 3.0]
    with pytest.raises(UserError, match=r"loss\.class_weights: must have one value per class: got 2, .* has 3 classes"):
        CrossEntropy(class_weights=[1, 3]).weights([1, 2, 3])
    with pytest.raises(UserError, match=r"loss\.pos_weight: must have one value per class: got 2, .* has 3 classes"):
        Bce(pos_weight=[1, 3]).weights([1, 2, 3])


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["loss.class_weights=balanced"], "loss.class_weights=balanced: must be auto, null, or a list"),
        (["loss.class_weights=[1,-1]"], "must be auto, null, or a list"),
        (["loss.class_weights=[]"], "must be auto, null, or a list"),
        (["loss.class_weights=[0,0]"], "not all 0"),
        (["loss.class_weights=3"], "must be auto, null, or a list"),
        (["loss=bce", "loss.pos_weight=auto"], "loss.pos_weight=auto: must be null or a list"),
        (["loss=bce", "loss.label_smoothing=0.1"], "Bce has no 'label_smoothing'"),
    ],
)
def test_compose_invalid_loss_raises(words, text):
    with pytest.raises(ValueError, match=text):
        compose(words)


def test_compose_loss_options_are_parsed():
    assert compose(["loss.class_weights=auto", "loss.label_smoothing=0.1"]).loss == CrossEntropy(
        class_weights="auto", label_smoothing=0.1
    )
    assert compose(["loss=bce", "loss.pos_weight=[1,2.5]"]).loss == Bce(pos_weight=[1, 2.5])
