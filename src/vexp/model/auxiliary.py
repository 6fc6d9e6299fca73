"""Auxiliary classifiers: further logits that a model returns in training, and their part of the loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor


class AuxiliaryLogits(NamedTuple):
    """What a model with an auxiliary classifier returns in training; in evaluation it returns the logits alone."""

    logits: Tensor  # (N, num_classes)
    auxiliary: Tensor  # (N, num_classes), of features in the middle of the model
    weight: float  # of the auxiliary loss


def logits_and_loss(
    criterion: Callable[[Tensor, Tensor], Tensor], output: Tensor | AuxiliaryLogits, targets: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the logits (N, num_classes) and the training loss, with that of the auxiliary classifier if there is one.

    The targets are those of ``criterion``.
    """
    if isinstance(output, AuxiliaryLogits):
        loss = criterion(output.logits, targets) + output.weight * criterion(output.auxiliary, targets)
        return output.logits, loss
    return output, criterion(output, targets)
