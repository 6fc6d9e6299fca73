"""A pipeline: the named steps that make a sample of a video.

    sampler: frame numbers ─► decoder: those frames ─► geometry: planned, then ONE resample a view ─► uint8 views

Steps are told apart by their verb, so a step of one's own is a dataclass with one of them:

    indices(num_frames, rng) -> int64 (clips, clip_len)             which frames (the first step, and only it)
    plan(views, rng) -> views                                       which part of the frame, at what size
    apply(frames, rng) -> uint8 (T, H, W, 3)                        anything else on the pixels of a view
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from vexp.data.source import Reader
from vexp.data.view import View, render_views
from vexp.fields import Checked, option

if TYPE_CHECKING:
    from vexp.data.sampling import Sampler


class GeometryStep(Protocol):
    def plan(self, views: list[View], rng: np.random.Generator) -> list[View]: ...


class PixelStep(Protocol):
    def apply(self, frames: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]: ...


Step = GeometryStep | PixelStep


@dataclass(kw_only=True, slots=True)
class Pipeline(Checked):
    """The ``pipeline`` group: the steps of each split, by name and in order."""

    lazy: bool = option(True, "geometry is composed into one resample; false: every step resamples in turn")
    train: dict[str, Any] = field(default_factory=dict)
    val: dict[str, Any] = field(default_factory=dict)
    test: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        Checked.__post_init__(self)
        for split, steps in (("train", self.train), ("val", self.val), ("test", self.test)):
            for position, (name, step) in enumerate(steps.items()):
                samples = hasattr(step, "indices")
                if samples != (position == 0):
                    why = "only the first step samples frames" if samples else "the first step must sample frames"
                    raise ValueError(f"{split}.{name}: {why} (SampleFrames ...); steps: {', '.join(steps)}")
                if not (samples or hasattr(step, "plan") or hasattr(step, "apply")):
                    raise ValueError(f"{split}.{name}: {type(step).__name__} has no plan and no apply: it is no step")

    def of(self, split: str) -> dict[str, Any]:
        """The steps of a split; "test" falls back to "val"."""
        steps: dict[str, Any] = {"train": self.train, "val": self.val, "test": self.test or self.val}[split]
        return steps


@dataclass(frozen=True, slots=True)
class Clips:
    """What a pipeline makes of a video.

    ``frames``: uint8 (V, T, H, W, 3) RGB, V = crops x clips in crop-major order (as mmaction2's); ``mirrored``: whether
    each view shows the scene mirrored, bool (V,).
    """

    frames: NDArray[np.uint8]
    mirrored: NDArray[np.bool_]


def make_clips(reader: Reader, steps: Mapping[str, Any], rng: np.random.Generator, *, lazy: bool) -> Clips:
    """Run the steps of one split on one video.

    Frames that several clips share are decoded and resampled once. A run of geometry steps is planned on sizes alone
    and rendered once (``lazy``), or rendered after each step; both draw the same random numbers.
    """
    sampler, *rest = steps.values()
    numbers = cast("Sampler", sampler).indices(reader.num_frames, rng)  # (clips, clip_len)
    distinct, where = np.unique(numbers, return_inverse=True)
    crops = _Crops([reader.frames(distinct)], [False])
    views = crops.whole()
    for step in cast(Sequence[Step], rest):
        if hasattr(step, "plan"):
            views = step.plan(views, rng)
            if lazy:
                continue
        crops = crops.rendered(views)
        if not hasattr(step, "plan"):
            crops = _Crops([step.apply(frames, rng) for frames in crops.frames], crops.mirrored)
        views = crops.whole()
    crops = crops.rendered(views)
    clips, clip_len = numbers.shape
    stacked = [frames[where.reshape(-1)].reshape(clips, clip_len, *frames.shape[1:]) for frames in crops.frames]
    return Clips(np.concatenate(stacked), np.repeat(np.asarray(crops.mirrored, np.bool_), clips))


@dataclass(frozen=True, slots=True)
class _Crops:
    """The crops rendered so far, each with the distinct frames of the sample: uint8 (T, H, W, 3)."""

    frames: list[NDArray[np.uint8]]
    mirrored: list[bool]

    def whole(self) -> list[View]:
        return [View.whole(frames.shape[2], frames.shape[1]) for frames in self.frames]

    def rendered(self, views: Sequence[View]) -> _Crops:
        """``views`` of these crops: as many in a row of the first crop as of the second, and so on."""
        each = len(views) // len(self.frames)
        frames: list[NDArray[np.uint8]] = []
        for i, source in enumerate(self.frames):
            frames.extend(render_views(source, views[i * each : (i + 1) * each]))
        return _Crops(frames, [self.mirrored[i // each] != view.mirrored for i, view in enumerate(views)])
