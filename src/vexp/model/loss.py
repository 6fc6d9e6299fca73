"""The ``loss`` group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vexp.fields import Checked, option

if TYPE_CHECKING:
    from torch import nn


@dataclass(kw_only=True, slots=True)
class CrossEntropy(Checked):
    """Softmax cross entropy, the mean over the batch (torch.nn.CrossEntropyLoss)."""

    label_smoothing: float = option(0.0, "share of the target spread over all classes", ge=0, lt=1)

    def build(self) -> nn.Module:
        """A module that maps logits (N, classes) and labels int64 (N,) to a scalar."""
        from torch import nn

        return nn.CrossEntropyLoss(label_smoothing=self.label_smoothing)
