"""Whether a pipeline draws random numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from vexp.data.sources.base import ArrayReader
from vexp.data.transforms.pipeline import make_clips

_FRAMES, _SIZE = 512, (256, 340)  # a video long enough for a random start


def first_random_step(steps: Mapping[str, Any], channels: int) -> str | None:
    """Return the name of the first transform of a pipeline that draws random numbers; None if there is none."""
    frames = np.broadcast_to(np.zeros((1, *_SIZE, channels), np.uint8), (_FRAMES, *_SIZE, channels))
    rng: Any = _NoGenerator()
    for count, (name, step) in enumerate(steps.items(), 1):
        if hasattr(step, "build"):  # of torchvision: its generator is seeded from that of the sample
            return name
        try:
            make_clips(ArrayReader(frames, fps=30.0), dict(list(steps.items())[:count]), rng, lazy=True)
        except _DrawError:
            return name
    return None


class _DrawError(Exception):
    """A transform has used the generator."""


class _NoGenerator:
    """In place of a random generator."""

    def __getattr__(self, name: str) -> Any:
        raise _DrawError(name)
