"""Orders of samples by class."""

from __future__ import annotations

from typing import Any

import numpy as np

from vexp.data.loading.class_balance import BalancedOrder, class_quota


def of_classes(labels: Any, num_classes: int, *, seed: int, balance: float) -> BalancedOrder:
    """Return the order of one list of samples."""
    labels = np.asarray(labels)
    return BalancedOrder(labels, class_quota(np.bincount(labels, minlength=num_classes), balance), seed=seed)
