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


def logits_of(outputs: Tensor | AuxiliaryLogits) -> Tensor:
    """Return the logits of a model's output in training or evaluation."""
    return outputs.logits if isinstance(outputs, AuxiliaryLogits) else outputs


def losses(
    criterion: Callable[[Tensor, Tensor], Tensor], outputs: Tensor | AuxiliaryLogits, targets: Tensor
) -> dict[str, Tensor]:
    """Return the training loss as ``loss``; with an auxiliary classifier its parts, too, as ``loss_cls``, ``loss_aux``.

    The targets are those of ``criterion``, for both classifiers.
    """
    loss = criterion(logits_of(outputs), targets)
    if not isinstance(outputs, AuxiliaryLogits):
        return {"loss": loss}
    auxiliary = outputs.weight * criterion(outputs.auxiliary, targets)
    return {"loss": loss + auxiliary, "loss_cls": loss, "loss_aux": auxiliary}
