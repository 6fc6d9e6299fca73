"""The ``loss`` group."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from vexp.core.errors import UserError
from vexp.core.fields import ValidatedConfig, option

if TYPE_CHECKING:
    from torch import nn


def _weights_rule(value: Any) -> str | None:
    numbers = value if isinstance(value, list) else None
    if value == "auto" or (numbers and all(_is_weight(number) for number in numbers) and any(numbers)):
        return None
    return "must be auto, null, or a list with a number >= 0 for each class, not all 0"


def _list_rule(value: Any) -> str | None:
    fine = isinstance(value, list) and value and all(_is_weight(number) for number in value)
    return None if fine else "must be null or a list with a number >= 0 for each class"


def _is_weight(number: Any) -> bool:
    return isinstance(number, int | float) and not isinstance(number, bool) and 0 <= number < float("inf")


@dataclass(kw_only=True, slots=True)
class Loss(ValidatedConfig, ABC):
    """What every option has: an option of one's own that needs class weights is a subclass with ``build``."""

    multi_label: ClassVar[bool]  # whether it takes multi-hot labels

    class_weights: Any = option(
        None, "weight of each class: a list, auto (inverse frequency in the training list, mean 1), or null (equal)",
        accepts="list of float, auto, or null", check=_weights_rule,
    )  # fmt: skip

    def weights(self, class_counts: Sequence[int]) -> list[float] | None:
        """The weight of each class, given how many training videos it has; None: all equal.

        A class without training videos weighs as if it had one.

        Raises:
            UserError: a list of another length.
        """
        if self.class_weights == "auto":
            inverse = [1 / max(int(count), 1) for count in class_counts]
            return [weight * len(inverse) / sum(inverse) for weight in inverse]
        check_length("class_weights", self.class_weights, len(class_counts))
        return None if self.class_weights is None else [float(weight) for weight in self.class_weights]

    @abstractmethod
    def build(self) -> nn.Module:
        """A module that maps logits (N, classes) and labels to a scalar; ``class_weights`` are numbers by now."""


def check_length(key: str, weights: Any, classes: int) -> None:
    if isinstance(weights, list) and len(weights) != classes:
        raise UserError(f"loss.{key}: holds {len(weights)} numbers, the training list has {classes} classes")


@dataclass(kw_only=True, slots=True)
class CrossEntropy(Loss):
    """Softmax cross entropy, the mean over the batch (torch.nn.CrossEntropyLoss): one label a video, int64 (N,).

    With class weights the mean is weighted, as in torch: a batch counts its samples by their classes' weights.
    """

    multi_label: ClassVar[bool] = False

    label_smoothing: float = option(0.0, "share of the target spread over all classes", ge=0, lt=1)

    def build(self) -> nn.Module:
        import torch

        weight = None if self.class_weights is None else torch.tensor(self.class_weights, dtype=torch.float32)
        return torch.nn.CrossEntropyLoss(weight=weight, label_smoothing=self.label_smoothing)


@dataclass(kw_only=True, slots=True)
class Bce(Loss):
    """Binary cross entropy of each class, the mean over batch and classes (torch.nn.BCEWithLogitsLoss): any number of
    labels a video, float32 (N, classes) of 0 and 1."""

    multi_label: ClassVar[bool] = True

    pos_weight: Any = option(
        None,
        "how much more a positive counts than a negative, a number for each class; null: as much",
        accepts="list of float, or null",
        check=_list_rule,
    )

    def weights(self, class_counts: Sequence[int]) -> list[float] | None:
        check_length("pos_weight", self.pos_weight, len(class_counts))
        return Loss.weights(self, class_counts)

    def build(self) -> nn.Module:
        import torch

        def tensor(numbers: Any) -> torch.Tensor | None:
            return None if numbers is None else torch.tensor(numbers, dtype=torch.float32)

        return torch.nn.BCEWithLogitsLoss(weight=tensor(self.class_weights), pos_weight=tensor(self.pos_weight))
