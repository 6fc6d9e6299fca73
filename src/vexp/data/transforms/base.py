"""Base classes of the transforms; ``vexp.data.transforms.pipeline`` distinguishes them by their methods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from vexp.core.fields import ValidatedConfig
from vexp.core.lazy import np
from vexp.data.pixel_type import Frames
from vexp.data.transforms.resample import render_views
from vexp.data.transforms.view import View


class FrameTransform(Protocol):
    """A transform of the pixels of a clip."""

    def apply(self, frames: Frames, rng: np.random.Generator) -> Frames:
        """Transform uint8 (T, H, W, C) to uint8 (T, H', W', C), with the same parameters for every frame."""
        ...


@dataclass(kw_only=True, slots=True)
class SpatialTransform(ValidatedConfig):
    """Base class of the transforms that crop, resize or flip.

    Random numbers are drawn from the given generator once for all views of a clip, so that all frames and crops are
    transformed alike. The draws do not depend on whether a pipeline is planned first or applied one transform at a
    time.
    """

    #: "clip" if whole clips may be mirrored, "some views" if only some of their views are, else "". It matters for
    #: datasets whose classes have a direction.
    mirrors: ClassVar[str] = ""

    def plan(self, views: Sequence[View], rng: np.random.Generator) -> list[View]:
        """Return the transformed views, in the order of the given ones.

        Raises:
            UserError: If the transform does not apply to views of this size.
        """
        raise NotImplementedError

    def apply(self, frames: Frames, rng: np.random.Generator) -> Frames:
        """Apply the transform to uint8 (T, H, W, C), or (V, T, H, W, C) after another one; returns (V', T, h, w, C)."""
        clips = frames if frames.ndim == 5 else frames[None]
        views = self.plan([View.whole(clips.shape[3], clips.shape[2])] * len(clips), rng)
        per_clip = len(views) // len(clips)
        rendered = [render_views(clip, views[i * per_clip : (i + 1) * per_clip]) for i, clip in enumerate(clips)]
        return rendered[0] if len(rendered) == 1 else np.concatenate(rendered)
