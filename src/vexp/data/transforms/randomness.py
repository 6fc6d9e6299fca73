"""Whether a pipeline draws random numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np

from vexp.data.sources.base import ArrayReader, Reader
from vexp.data.sources.skeletons import SkeletonReader
from vexp.data.transforms.pipeline import make_clips

_FRAMES, _SIZE = 512, (256, 340)  # a video long enough for a random start


def first_random_step(steps: Mapping[str, Any], channels: int) -> str | None:
    """Return the name of the first transform of a pipeline that draws random numbers; None if there is none."""
    reader, rng = blank_reader(steps, _FRAMES, *_SIZE, channels), cast(Any, _NoGenerator())
    for count, (name, step) in enumerate(steps.items(), 1):
        if hasattr(step, "build"):  # of torchvision: its generator is seeded from that of the sample
            return name
        try:
            make_clips(reader, dict(list(steps.items())[:count]), rng, lazy=True)
        except _DrawError:
            return name
    return None


def blank_reader(steps: Mapping[str, Any], frames: int, height: int, width: int, channels: int) -> Reader:
    """Return a video of black frames, or of a skeleton if the transforms draw heat maps."""
    target = list(steps.values())[-1]
    if not hasattr(target, "prepare"):
        black = np.broadcast_to(np.zeros((1, height, width, channels), np.uint8), (frames, height, width, channels))
        return ArrayReader(black, fps=30.0)
    diagonal = np.linspace(0.25, 0.75, target.joints)[:, None] * (width, height, 0) + (0, 0, 1)
    return SkeletonReader(np.broadcast_to(diagonal, (1, frames, *diagonal.shape)), width, height)


class _DrawError(Exception):
    """A transform has used the generator."""


class _NoGenerator:
    """In place of a random generator."""

    def __getattr__(self, name: str) -> Any:
        raise _DrawError(name)
