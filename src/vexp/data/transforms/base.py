"""What a step does to the pixels or the geometry of a clip; ``vexp.data.transforms.pipeline`` tells steps apart by their verb."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from vexp.core.fields import ValidatedConfig
from vexp.data.transforms.resample import render_views
from vexp.data.transforms.view import Frames, View


class FrameTransform(Protocol):
    def apply(self, frames: Frames, rng: np.random.Generator) -> Frames:
        """Anything else on the pixels: uint8 (T, H, W, C) -> uint8 (T, H', W', C), every frame treated alike."""
        ...


@dataclass(kw_only=True, slots=True)
class SpatialTransform(ValidatedConfig):
    """Base of every step that crops, resizes or flips.

    Random numbers come from the generator that is passed in, once for all views of a clip: what one frame or crop
    undergoes, all do. The numbers drawn do not depend on whether a pipeline plans first or applies step by step.

    ``mirrors``: "clip" where a whole clip may come out mirrored, "some views" where only part of its views do. The
    labels of classes with a direction depend on it.
    """

    mirrors: ClassVar[str] = ""

    def plan(self, views: Sequence[View], rng: np.random.Generator) -> list[View]:
        """Every view's successors, in order: the first view's first.

        Raises:
            ValueError: the step cannot be done on views of this size.
        """
        raise NotImplementedError

    def apply(self, frames: Frames, rng: np.random.Generator) -> Frames:
        """The step done at once: uint8 (T, H, W, C), or (V, T, H, W, C) as another step left it -> (V', T, h, w, C)."""
        clips = frames if frames.ndim == 5 else frames[None]
        views = self.plan([View.whole(clips.shape[3], clips.shape[2])] * len(clips), rng)
        each = len(views) // len(clips)
        rendered = [render_views(clip, views[i * each : (i + 1) * each]) for i, clip in enumerate(clips)]
        return rendered[0] if len(rendered) == 1 else np.concatenate(rendered)
