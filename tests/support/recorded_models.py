"""The recipe of the recorded logits: what the weights and the input of the recorded models are."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def filled(key: str, shape: Sequence[int], scale: tuple[str, float] = ("", 1.0)) -> Tensor:
    """A tensor that depends on its name and shape alone: the recipe of the recorded logits.

    ``scale`` is the factor of the tensors of two and more dimensions with a part in their name.
    """
    rng = np.random.RandomState(zlib.crc32(key.encode()) & 0x7FFFFFFF)
    if key.endswith("num_batches_tracked"):
        return torch.tensor(0)
    if key.endswith("running_var") or (len(shape) == 1 and key.endswith("weight")):
        values = rng.uniform(0.5, 1.5, shape)
    elif len(shape) <= 1:
        values = rng.standard_normal(shape) * 0.1
    else:
        values = rng.standard_normal(shape) * math.sqrt(1 / math.prod(shape[1:]))
        values = values * scale[1] if scale[0] in key else values
    return torch.tensor(values, dtype=torch.float32)


def clip_of(shape: Sequence[int]) -> Tensor:
    """The input of the recorded logits."""
    return torch.tensor(np.random.RandomState(0).standard_normal(tuple(shape)), dtype=torch.float32)
