"""The loss of a model with an auxiliary classifier."""

from __future__ import annotations

import torch
from torch import nn

from vexp.model import zoo_frames
from vexp.model.auxiliary import AuxiliaryLogits, logits_of, losses


def test_auxiliary_loss_is_added_with_its_weight() -> None:
    criterion, targets = nn.CrossEntropyLoss(), torch.tensor([0, 2])
    first, second = torch.randn(2, 3), torch.randn(2, 3)
    output = AuxiliaryLogits(first, second, 0.5)
    assert logits_of(output) is first
    assert logits_of(first) is first
    parts = losses(criterion, output, targets)
    assert torch.equal(parts["loss_cls"], criterion(first, targets))
    assert torch.equal(parts["loss_aux"], 0.5 * criterion(second, targets))
    assert torch.equal(parts["loss"], parts["loss_cls"] + parts["loss_aux"])
    assert losses(criterion, first, targets) == {"loss": criterion(first, targets)}


def test_tpn_returns_auxiliary_logits_in_training_only() -> None:
    clips = torch.randn(2, 3, 2, 64, 64)
    model = zoo_frames.TsmTpn(backbone="resnet18", auxiliary_weight=0.3).build(4)
    output = model.train()(clips)
    assert isinstance(output, AuxiliaryLogits)
    assert (output.logits.shape, output.auxiliary.shape, output.weight) == ((2, 4), (2, 4), 0.3)
    assert model.eval()(clips).shape == (2, 4)
    without = zoo_frames.TsmTpn(backbone="resnet18", auxiliary_weight=0).build(4)
    assert without.train()(clips).shape == (2, 4)
    assert not any("auxiliary" in key for key in without.state_dict())
