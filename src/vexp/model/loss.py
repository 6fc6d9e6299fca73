"""The ``loss`` group."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from vexp.core.errors import ConfigError
from vexp.core.fields import ValidatedConfig, option

if TYPE_CHECKING:
    from torch import Tensor, nn


def _is_weights(value: Any) -> bool:
    numbers = isinstance(value, list) and all(isinstance(w, int | float) and not isinstance(w, bool) for w in value)
    return numbers and bool(value) and all(0 <= weight < math.inf for weight in value)


def _check_class_weights(value: Any) -> str | None:
    if value == "auto" or (_is_weights(value) and any(value)):
        return None
    return "must be auto, null, or a list with a number >= 0 for each class, not all 0"


def _check_pos_weight(value: Any) -> str | None:
    return None if _is_weights(value) else "must be null or a list with a number >= 0 for each class"


@dataclass(kw_only=True, slots=True)
class Loss(ValidatedConfig, ABC):
    """Base class of the loss options. A custom loss with class weights is a subclass that implements ``build``.

    ``multi_label`` states whether the targets are multi-hot vectors (True) or class indices (False). With None, the
    labels of the dataset are not checked against the loss.
    """

    multi_label: ClassVar[bool | None] = None

    class_weights: Any = option(
        None,
        "Weight of each class: a list, auto (inverse frequency in the training annotation, mean 1), or null for equal.",
        accepts="list of float, auto, or null", check=_check_class_weights,
    )  # fmt: skip

    def weights(self, class_counts: Sequence[int]) -> list[float] | None:
        """Return the weight of each class given its number of training videos, or None for equal weights.

        A class without training videos is counted as having one.

        Raises:
            ConfigError: If ``class_weights`` is a list of another length.
        """
        if self.class_weights == "auto":
            inverse = [1 / max(int(count), 1) for count in class_counts]
            return [weight * len(inverse) / sum(inverse) for weight in inverse]
        _check_length("class_weights", self.class_weights, len(class_counts))
        return None if self.class_weights is None else [float(weight) for weight in self.class_weights]

    @abstractmethod
    def build(self) -> nn.Module:
        """Build a module that maps logits (N, classes) and labels to a scalar; weights must be numbers or None."""


def _check_length(key: str, weights: Any, num_classes: int) -> None:
    if isinstance(weights, list) and len(weights) != num_classes:
        raise ConfigError(
            f"must have one value per class: got {len(weights)}, the training annotation has {num_classes} classes",
            key=f"loss.{key}",
        )


def _tensor(values: list[float] | None) -> Tensor | None:
    import torch

    return None if values is None else torch.tensor(values, dtype=torch.float32)


@dataclass(kw_only=True, slots=True)
class CrossEntropy(Loss):
    """Softmax cross entropy, averaged over the batch (torch.nn.CrossEntropyLoss), for int64 (N,) class indices.

    With class weights the average over the batch is weighted by the weight of each sample's class, as in torch. The
    loss of a batch whose classes all have weight 0 is 0, and so are its gradients; torch's are NaN.
    """

    multi_label: ClassVar[bool] = False

    label_smoothing: float = option(
        0.0, "Label smoothing: fraction of the target distributed over all classes.", ge=0, lt=1
    )

    def build(self) -> nn.Module:
        from torch.nn import CrossEntropyLoss

        from vexp.model.layers import CrossEntropyWithZeroWeights

        has_zeros = self.class_weights is not None and not all(self.class_weights)
        kind = CrossEntropyWithZeroWeights if has_zeros else CrossEntropyLoss
        return kind(weight=_tensor(self.class_weights), label_smoothing=self.label_smoothing)


@dataclass(kw_only=True, slots=True)
class Bce(Loss):
    """Binary cross entropy, averaged over batch and classes (torch.nn.BCEWithLogitsLoss), for multi-hot labels.

    The targets are float32 (N, classes) with values 0 and 1.
    """

    multi_label: ClassVar[bool] = True

    pos_weight: Any = option(
        None, "Weight of the positive examples of each class relative to its negatives; null for equal.",
        accepts="list of float, or null", check=_check_pos_weight,
    )  # fmt: skip

    def weights(self, class_counts: Sequence[int]) -> list[float] | None:
        _check_length("pos_weight", self.pos_weight, len(class_counts))
        return Loss.weights(self, class_counts)

    def build(self) -> nn.Module:
        from torch.nn import BCEWithLogitsLoss

        return BCEWithLogitsLoss(weight=_tensor(self.class_weights), pos_weight=_tensor(self.pos_weight))


@dataclass(kw_only=True, slots=True)
class Focal(Loss):
    """Focal loss for each class, ``alpha * (1 - p)^gamma * BCE``, averaged over rows and classes, for multi-hot labels.

    p is the probability of the label (Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017). As in mmaction2,
    ``alpha`` is a factor for labels of 0 and 1 alike.
    """

    multi_label: ClassVar[bool] = True

    alpha: float = option(1.0, "Factor of the loss.", gt=0)
    gamma: float = option(2.0, "Exponent that lowers the weight of labels that are predicted well; 0: loss=bce.", ge=0)

    def build(self) -> nn.Module:
        from vexp.model.layers import FocalLoss

        return FocalLoss(self.alpha, self.gamma, weight=_tensor(self.class_weights))
