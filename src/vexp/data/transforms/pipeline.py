"""A pipeline: the named steps that make a sample of a video.

    sampler: frame numbers ─► decoder: those frames ─► geometry: planned, then ONE resample a view ─► uint8 views

Steps are told apart by their verb, so a step of one's own is a dataclass with one of them:

    indices(num_frames, rng) -> int64 (clips, clip_len)             which frames (the first step, and only it)
    plan(views, rng) -> views                                       which part of the frame, at what size
    apply(frames, rng) -> uint8 (T, H, W, 3)                        anything else on the pixels (photometric)
    build() -> transform                                            a photometric transform of torchvision v2
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vexp.core.fields import ValidatedConfig, option
from vexp.data.decoding.frame_stream import FrameStream
from vexp.data.sources.base import Reader, frame_times, read_frames
from vexp.data.transforms.base import FrameTransform
from vexp.data.transforms.color import check_torchvision_transform
from vexp.data.transforms.resample import Window, render_views, render_windows
from vexp.data.transforms.view import Frames, View
from vexp.data.transforms.view_layout import ViewLayout

_STEPS = "dict of steps by name"


@dataclass(kw_only=True, slots=True)
class Pipeline(ValidatedConfig):
    """The ``pipeline`` group: the steps of each split, by name and in order."""

    lazy: bool = option(True, "geometry is composed into one resample; false: every step resamples in turn")
    train: dict[str, Any] = option({}, "steps of the training samples, by name and in order", accepts=_STEPS)
    val: dict[str, Any] = option({}, "steps of the validation samples, by name and in order", accepts=_STEPS)
    test: dict[str, Any] = option(
        {}, "steps of the test samples, by name and in order; empty: those of pipeline.val", accepts=_STEPS
    )

    def __post_init__(self) -> None:
        ValidatedConfig.__post_init__(self)
        for split, steps in (("train", self.train), ("val", self.val), ("test", self.test)):
            for position, (name, step) in enumerate(steps.items()):
                samples = hasattr(step, "indices")
                if samples != (position == 0):
                    why = "only the first step samples frames" if samples else "the first step must sample frames"
                    raise ValueError(f"{split}.{name}: {why} (SampleFrames ...); steps: {', '.join(steps)}")
                if hasattr(step, "build"):
                    check_torchvision_transform(step, f"{split}.{name}")
                elif not (samples or hasattr(step, "plan") or hasattr(step, "apply")):
                    raise ValueError(f"{split}.{name}: {type(step).__name__} has no plan and no apply: it is no step")

    def of(self, split: str) -> dict[str, Any]:
        """The steps of a split; "test" falls back to "val"."""
        steps: dict[str, Any] = {"train": self.train, "val": self.val, "test": self.test or self.val}[split]
        return steps


@dataclass(frozen=True, slots=True)
class Clips:
    """What a pipeline makes of a video: V views, V = crops x clips in crop-major order (as mmaction2's).

    Attributes:
        pictures: uint8 (K, F, H, W, C), every distinct frame of the sample in every picture that its crops need.
        rows: int64 (clips, clip_len), which of the F distinct frames each frame of each clip is.
        plan: how the views come out of both.
        numbers: int64 (clips, clip_len), which frame of the video each frame of each clip is.
        crops: which part of the video's frames each crop shows; the steps in between are not in it.
    """

    pictures: Frames
    rows: NDArray[np.int64]
    plan: ViewLayout
    numbers: NDArray[np.int64]
    crops: tuple[View, ...]

    @property
    def mirrored(self) -> NDArray[np.bool_]:
        """Whether each view shows the scene mirrored, (V,)."""
        return np.repeat([crop.mirrored for crop in self.crops], self.plan.clips)

    @property
    def scale(self) -> NDArray[np.float32]:
        """Output pixels a source pixel along x and y, (V, 2): for the length of optical flow."""
        factors = np.array([crop.scale for crop in self.crops], np.float32)
        return np.repeat(factors, self.plan.clips, axis=0)

    @property
    def frames(self) -> Frames:
        """The views themselves: uint8 (V, T, H, W, C)."""
        import torch

        out = torch.empty((self.plan.views, *self.plan.view_shape), dtype=torch.uint8)
        pixels = torch.from_numpy(np.ascontiguousarray(self.pictures)).view(-1)
        self.plan.build(pixels, torch.from_numpy(self.rows).view(-1), out)
        views: Frames = out.numpy()
        return views


def make_clips(reader: Reader, steps: Mapping[str, Any], rng: np.random.Generator, *, lazy: bool) -> Clips:
    """Run the steps of one split on one video.

    Frames that several clips share are decoded and resampled once, pixels that several crops share are kept once. A run
    of geometry steps is planned on sizes alone and rendered once (``lazy``), or rendered after each step; both draw the
    same random numbers. Every other step treats all frames of all crops alike, with one draw.
    """
    sampler, *rest = steps.values()
    numbers = sampled_frames(reader, sampler, rng)
    distinct, where = np.unique(numbers, return_inverse=True)
    frames = read_frames(reader, distinct)
    crops = _Crops([frames], [View.whole(frames.shape[2], frames.shape[1])])
    views = crops.whole()
    for step in rest:
        if hasattr(step, "plan"):
            views = step.plan(views, rng)
            if lazy:
                continue
            crops = crops.rendered(views)
        else:
            crops = crops.applied(step, views, rng)
        views = crops.whole()
    pictures, windows = crops.pictures(views)
    rows = where.reshape(numbers.shape)
    plan = ViewLayout.of(pictures.shape, windows, views[0].size, rows)
    return Clips(pictures, rows, plan, numbers, tuple(crops.seen(views)))


def sampled_frames(reader: Reader, sampler: Any, rng: np.random.Generator) -> NDArray[np.int64]:
    """The frame numbers that the first step of a pipeline takes of a video: (clips, clip_len)."""
    if getattr(sampler, "rate", None) is None:
        numbers: NDArray[np.int64] = sampler.indices(reader.num_frames, rng)
    else:
        numbers = sampler.indices(reader.num_frames, rng, frame_times(reader))
    return numbers


@dataclass(frozen=True, slots=True)
class _Crops:
    """The crops rendered so far, each with the distinct frames of the sample: uint8 (F, H, W, C), all of one shape.

    Before the first rendering there is one, and it may be a ``FrameStream``: nothing but a rendering goes through it.
    """

    frames: Sequence[FrameStream | Frames]
    shown: list[View]  # what each shows of the video's frames

    def whole(self) -> list[View]:
        return [View.whole(frames.shape[2], frames.shape[1]) for frames in self.frames]

    def rendered(self, views: Sequence[View]) -> _Crops:
        """``views`` of these crops: as many in a row of the first crop as of the second, and so on."""
        return _Crops(self._render(views), self.seen(views))

    def applied(self, step: FrameTransform, views: Sequence[View], rng: np.random.Generator) -> _Crops:
        """``views`` of these crops, and a pixel step done once on the frames of all of them in a row."""
        crops = self._render(views)
        frames = step.apply(np.concatenate(crops) if len(crops) > 1 else crops[0], rng)
        return _Crops(np.split(frames, len(crops)), self.seen(views))

    def pictures(self, views: Sequence[View]) -> tuple[Frames, list[Window]]:
        """The pixels of ``views``, those that they share once: uint8 (K, F, H, W, C), and a window of them a view."""
        if len(self.frames) == 1:
            return render_windows(self.frames[0], views)
        made = np.stack(self._render(views))
        return made, [Window(index, 0, 0) for index in range(len(made))]

    def seen(self, views: Sequence[View]) -> list[View]:
        """``views`` of these crops as views of the video's frames."""
        each = len(views) // len(self.frames)
        return [view.within(self.shown[i // each]) for i, view in enumerate(views)]

    def _render(self, views: Sequence[View]) -> list[Frames]:
        each = len(views) // len(self.frames)
        parts = [render_views(film, views[i * each : (i + 1) * each]) for i, film in enumerate(self.frames)]
        return [crop for part in parts for crop in part]
