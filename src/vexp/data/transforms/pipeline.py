"""Pipelines: the named transforms that turn a video into a sample.

    sampler: frame indices -> decoder: frames -> geometry: planned, then one resample per view -> uint8 views

Transforms are distinguished by their method, so a custom transform is a dataclass with one of them:

    indices(num_frames, rng) -> int64 (clips, clip_len)             which frames (the first transform only)
    plan(views, rng) -> views                                       which part of the frame, at which size
    apply(frames, rng) -> uint8 (T, H, W, 3)                        other changes of the pixels (photometric)
    compact(views, joints) -> views                                 which part of the frame, by the joints of persons
    prepare(joints, views, positions)                               heat maps of joints (the last transform only)
    draw(size, rng) -> transforms                                   a random list of the two above, for RGB frames
    build() -> transform                                            a photometric transform of torchvision v2
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vexp.core.errors import ConfigError, UserError
from vexp.core.fields import ValidatedConfig, option
from vexp.core.lazy import np
from vexp.data.decoding.frame_stream import FrameStream
from vexp.data.pixel_type import Frames
from vexp.data.sources.base import Reader, frame_times, read_frames
from vexp.data.transforms.heat_map_layout import HeatMapLayout
from vexp.data.transforms.photometric import check_rgb, check_torchvision_transform
from vexp.data.transforms.pose import draw_joints
from vexp.data.transforms.resample import Window, render_views, render_windows
from vexp.data.transforms.view import View, shared_size
from vexp.data.transforms.view_layout import ViewLayout

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ACCEPTS = "dict of transforms by name"
_METHODS = ("indices", "plan", "apply", "draw", "compact", "prepare")


@dataclass(kw_only=True, slots=True)
class Pipeline(ValidatedConfig):
    """The ``pipeline`` group: the transforms of each split, by name and in order."""

    lazy: bool = option(True, "Compose geometric transforms into one resample; false: resample after each transform.")
    train: dict[str, Any] = option({}, "Transforms of the training samples, by name and in order.", accepts=_ACCEPTS)
    val: dict[str, Any] = option({}, "Transforms of the validation samples, by name and in order.", accepts=_ACCEPTS)
    test: dict[str, Any] = option(
        {}, "Transforms of the test samples, by name and in order; empty for those of pipeline.val.", accepts=_ACCEPTS
    )

    def __post_init__(self) -> None:
        ValidatedConfig.__post_init__(self)
        for split, steps in (("train", self.train), ("val", self.val), ("test", self.test)):
            for position, (name, step) in enumerate(steps.items()):
                key, samples = f"{split}.{name}", hasattr(step, "indices")
                if samples != (position == 0):
                    rule = "only the first transform may be" if samples else "the first transform must be"
                    raise ConfigError(f"{rule} a sampler (such as SampleFrames), got {', '.join(steps)}", key=key)
                if hasattr(step, "prepare") and position < len(steps) - 1:
                    raise ConfigError(f"must be the last transform, got {', '.join(steps)}", key=key)
                if hasattr(step, "build"):
                    check_torchvision_transform(step, key)
                elif not any(hasattr(step, method) for method in _METHODS):
                    raise ConfigError(f"{type(step).__name__} has no plan and no apply method", key=key)

    def of(self, split: str) -> dict[str, Any]:
        """Return the transforms of a split; "test" falls back to "val"."""
        steps: dict[str, Any] = {"train": self.train, "val": self.val, "test": self.test or self.val}[split]
        return steps

    def heat_maps(self, split: str) -> int | None:
        """Return the number of heat maps that the transforms of a split draw; None if they make frames."""
        return getattr(next(reversed(self.of(split).values()), None), "channels", None)


@dataclass(frozen=True, slots=True)
class Clips:
    """The output of a pipeline for one video: V views, V = crops x clips in crop-major order (as in mmaction2)."""

    #: (K, F, H, W, C): the F distinct frames, in each of the K images that the crops are cut from; of skeletons, the
    #: bytes of the joints that ``layout`` draws.
    images: Frames
    positions: NDArray[np.int64]  # (clips, clip_len), index into the distinct frames for each frame of each clip
    layout: ViewLayout | HeatMapLayout  # how the views are built from both
    frame_indices: NDArray[np.int64]  # (clips, clip_len), index in the video of each frame of each clip
    crops: tuple[View, ...]  # the part of the video's frames that each crop shows

    @property
    def mirrored(self) -> NDArray[np.bool_]:
        """Whether each view is mirrored, bool (V,)."""
        return np.repeat([crop.is_mirror_image for crop in self.crops], self.layout.clips)

    @property
    def scale(self) -> NDArray[np.float32]:
        """Output pixels per source pixel along x and y, float32 (V, 2), by which optical flow has to be scaled."""
        return np.repeat(np.array([crop.scale for crop in self.crops], np.float32), self.layout.clips, axis=0)

    @property
    def frames(self) -> Frames:
        """The views, uint8 (V, T, H, W, C), or float32 if they are heat maps."""
        import torch

        out = torch.empty((self.layout.views, *self.layout.view_shape), dtype=getattr(torch, self.layout.dtype))
        pixels = torch.from_numpy(np.ascontiguousarray(self.images)).view(-1)
        self.layout.build(pixels, torch.from_numpy(self.positions).view(-1), out)
        views: Frames = out.numpy()
        return views


def make_clips(reader: Reader, steps: Mapping[str, Any], rng: np.random.Generator, *, lazy: bool) -> Clips:
    """Apply the transforms of one split to one video.

    Frames shared by several clips are decoded and resampled once, and pixels shared by several crops are stored once.
    Consecutive geometric transforms are planned from the sizes and rendered once (``lazy``), or rendered one by one;
    both draw the same random numbers. Every other transform is applied to all frames of all crops with one draw.
    """
    return make_repeats(reader, steps, [rng], lazy=lazy)[0]


def make_repeats(
    reader: Reader, steps: Mapping[str, Any], rngs: Sequence[np.random.Generator], *, lazy: bool
) -> list[Clips]:
    """Apply the transforms to one video once for each generator, as ``make_clips``, with the same frames for all.

    The frames are sampled with the first generator and decoded once.
    """
    sampler, *rest = steps.values()
    frame_indices = sampled_frames(reader, sampler, rngs[0])
    distinct, inverse = np.unique(frame_indices, return_inverse=True)
    if (joints := getattr(reader, "joints", None)) is not None:
        whole, joints = View.whole(reader.width, reader.height), np.asarray(joints[:, distinct], np.float32)
        positions = inverse.reshape(frame_indices.shape)
        return [_heat_maps(joints, whole, rest, rng, frame_indices, positions) for rng in rngs]
    frames = read_frames(reader, distinct)
    if len(rngs) > 1 and isinstance(frames, FrameStream):
        frames = frames.to_array()
    positions = inverse.reshape(frame_indices.shape)
    return [_transformed(frames, rest, rng, frame_indices, positions, lazy=lazy) for rng in rngs]


def _transformed(
    frames: FrameStream | Frames,
    steps: Sequence[Any],
    rng: np.random.Generator,
    frame_indices: NDArray[np.int64],
    positions: NDArray[np.int64],
    *,
    lazy: bool,
) -> Clips:
    """Apply all transforms but the sampler to the distinct frames of a video."""
    crops = _Crops([frames], [View.whole(frames.shape[2], frames.shape[1])])
    views = crops.whole()
    for step in steps:
        for transform in _drawn(step, frames, views, rng):
            if hasattr(transform, "plan"):
                views = transform.plan(views, rng)
                if lazy:
                    continue
                crops = _Crops(crops.rendered(views), crops.source_views(views))
            else:
                rendered = crops.rendered(views)
                changed = transform.apply(np.concatenate(rendered) if len(rendered) > 1 else rendered[0], rng)
                crops = _Crops(np.split(changed, len(rendered)), crops.source_views(views))
            views = crops.whole()
    if len(crops.frames) == 1:
        images, windows = render_windows(crops.frames[0], views)
    else:
        images = np.stack(crops.rendered(views))
        windows = [Window(index, 0, 0) for index in range(len(images))]
    layout = ViewLayout.of(images.shape, windows, views[0].size, positions)
    return Clips(images, positions, layout, frame_indices, tuple(crops.source_views(views)))


def _heat_maps(
    joints: NDArray[np.float32],
    whole: View,
    steps: Sequence[Any],
    rng: np.random.Generator,
    frame_indices: NDArray[np.int64],
    positions: NDArray[np.int64],
) -> Clips:
    """Apply all transforms but the sampler to the joints in the distinct frames of a video.

    Without a transform that draws heat maps, the views are drawings of the skeletons, for ``vexp show pipeline``.

    Raises:
        UserError: If a transform needs frames.
    """
    views = [whole]
    for step in steps:
        if hasattr(step, "prepare"):
            mapped, layout, crops = step.prepare(joints, views, positions)
            return Clips(mapped.view(np.uint8), positions, layout, frame_indices, crops)
        if not hasattr(step, "plan") and not hasattr(step, "compact"):
            raise UserError(f"{type(step).__name__} needs frames, skeletons have none; remove the transform")
        views = step.plan(views, rng) if hasattr(step, "plan") else step.compact(views, joints)
    images = np.stack([draw_joints(joints, view) for view in views])
    layout = ViewLayout.of(images.shape, [Window(i, 0, 0) for i in range(len(views))], views[0].size, positions)
    return Clips(images, positions, layout, frame_indices, tuple(views))


def _drawn(step: Any, frames: FrameStream | Frames, views: Sequence[View], rng: np.random.Generator) -> Sequence[Any]:
    """Return the transforms that a step consists of: itself, unless it draws them."""
    if not hasattr(step, "draw"):
        return [step]
    check_rgb(frames, type(step).__name__)
    drawn: Sequence[Any] = step.draw(shared_size(views), rng)
    return drawn


def sampled_frames(reader: Reader, sampler: Any, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the frame indices that the sampler of a pipeline draws for a video, int64 (clips, clip_len)."""
    times = [] if getattr(sampler, "rate", None) is None else [frame_times(reader)]
    center = {"center": getattr(reader, "key_frame", None)} if getattr(sampler, "at_key_frame", False) else {}
    indices: NDArray[np.int64] = sampler.indices(reader.num_frames, rng, *times, **center)
    return indices


@dataclass(frozen=True, slots=True)
class _Crops:
    """The crops rendered so far, each with the distinct frames of the sample, uint8 (F, H, W, C) of equal shape.

    Before the first rendering there is a single one, which may be a ``FrameStream``, since it is read once. Views of
    the crops are given with equally many consecutive views of each crop.
    """

    frames: Sequence[FrameStream | Frames]
    shown: list[View]  # the part of the video's frames that each shows

    def whole(self) -> list[View]:
        return [View.whole(frames.shape[2], frames.shape[1]) for frames in self.frames]

    def source_views(self, views: Sequence[View]) -> list[View]:
        """Convert ``views`` of these crops to views of the video's frames."""
        per_crop = len(views) // len(self.frames)
        return [view.within(self.shown[i // per_crop]) for i, view in enumerate(views)]

    def rendered(self, views: Sequence[View]) -> list[Frames]:
        per_crop = len(views) // len(self.frames)
        parts = [render_views(frames, views[i * per_crop : (i + 1) * per_crop]) for i, frames in enumerate(self.frames)]
        return [crop for part in parts for crop in part]
