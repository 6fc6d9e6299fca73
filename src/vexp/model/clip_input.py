"""The clips that pretrained weights were trained with, and the check that a run's pipeline makes such clips."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vexp.core.errors import ConfigError, UserError, format_value
from vexp.core.fields import ValidatedConfig, option
from vexp.data.transforms.view import Size, View
from vexp.model.weights.metadata import equal_statistics

if TYPE_CHECKING:
    from vexp.data.batch.normalize import ImgNorm
    from vexp.data.transforms.pipeline import Pipeline

_VIDEO_SIZES = ((480, 360), (360, 480))  # a pipeline with a fixed output size gives it for both
#: The options that take their values from ``model.input``.
_OPTION = "model_input"


@dataclass(kw_only=True, slots=True)
class ClipInput(ValidatedConfig):
    """``model.input``: the clips that a model was trained with, for ``pipeline=model_input`` and the check of a run."""

    frames: int | None = option(None, "Frames of a clip.", unit="frames", ge=1)
    frame_interval: int | None = option(None, "Interval between the frames of a clip.", unit="frames", ge=1)
    width: int | None = option(None, "Width of a clip.", unit="pixels", ge=1)
    height: int | None = option(None, "Height of a clip.", unit="pixels", ge=1)
    short_side: int | None = option(None, "Short side of the frames before the center crop.", unit="pixels", ge=1)
    mean: list[float] | None = option(None, "Mean of each channel, in RGB order.", unit="gray levels", length=3)
    std: list[float] | None = option(None, "Divisor of each channel.", unit="gray levels", length=3, gt=0)


def check_pipeline(
    pipeline: Pipeline, clip: ClipInput, name: str, *, any_multiple_of: int | None = None
) -> Iterator[ConfigError]:
    """Yield an error for each split whose clips do not have the frames or the size that a model takes.

    Args:
        pipeline: That of the run.
        clip: The clips that the model takes; null for what may differ.
        name: Of the model, for messages.
        any_multiple_of: Clips may have any multiple of this number of frames; None: they must have ``clip.frames``.
    """
    for split in ("train", "val", "test"):
        steps: Mapping[str, Any] = getattr(pipeline, split)
        if steps:
            yield from _check_frames(split, steps, clip, name, any_multiple_of)
            yield from _check_size(split, steps, clip, name)


def check_norm(img_norm: ImgNorm, clip: ClipInput, name: str) -> Iterator[ConfigError]:
    """Yield an error for ``mean``, ``std`` and the order of channels that differ from those of the training."""
    for key in ("mean", "std"):
        trained, given = getattr(clip, key), getattr(img_norm, key)
        if trained is not None and not equal_statistics(trained, given):
            yield ConfigError(
                f"{name} was trained with {key}={format_value(trained)}", key=f"img_norm.{key}", value=given,
                hint=f"; use img_norm={_OPTION}, or img_norm.{key}={format_value(trained)}; model.check_input=false "
                "keeps yours",
            )  # fmt: skip
    if clip.mean is not None and img_norm.to_bgr:
        yield ConfigError(f"{name} was trained on RGB; set it to false", key="img_norm.to_bgr", value=True)


def _check_frames(
    split: str, steps: Mapping[str, Any], clip: ClipInput, name: str, multiple: int | None
) -> Iterator[ConfigError]:
    step, sampler = next(iter(steps.items()))
    field = next((field for field in ("clip_len", "segments") if hasattr(sampler, field)), None)
    if field is None:  # of a plugin
        return
    frames, expected = getattr(sampler, field), clip.frames
    if multiple is not None:
        if frames % multiple:
            rule = f"must be a multiple of {multiple}, the frames of a tubelet of {name}"
            yield ConfigError(rule, key=f"pipeline.{split}.{step}.{field}", value=frames)
    elif expected is not None and frames != expected:
        yield ConfigError(
            f"must be {expected}, the frames for which {name} has position embeddings",
            key=f"pipeline.{split}.{step}.{field}", value=frames,
            hint=f"; set pipeline.{split}.{step}.{field}={expected}, or pipeline={_OPTION}",
        )  # fmt: skip


def _check_size(split: str, steps: Mapping[str, Any], clip: ClipInput, name: str) -> Iterator[ConfigError]:
    sizes = {_planned_size(steps, size) for size in _VIDEO_SIZES}
    if clip.width is None or clip.height is None or None in sizes or sizes == {(clip.width, clip.height)}:
        return
    made = " or ".join(f"{size[0]}x{size[1]}" for size in sorted(filter(None, sizes)))
    mended = _mended(split, steps, (clip.width, clip.height))
    yield ConfigError(
        f"makes clips of {made} pixels (w x h), but {name} has position embeddings for {clip.width}x{clip.height}",
        key=f"pipeline.{split}",
        hint=f"; set {' '.join(mended)}, or pipeline={_OPTION}" if mended else f"; use pipeline={_OPTION}",
    )


def _planned_size(steps: Mapping[str, Any], size: Size) -> Size | None:
    """Return the size of the views of a video of ``size``; None if its transforms do not apply to it."""
    views, rng = [View.whole(*size)], np.random.default_rng(0)
    try:
        for step in list(steps.values())[1:]:
            views = step.plan(views, rng) if hasattr(step, "plan") else views
    except UserError:
        return None
    return views[0].size


def _mended(split: str, steps: Mapping[str, Any], size: Size) -> list[str]:
    """Return the overrides with which the crops and resizes of a split give ``size``."""
    side, overrides = f"[{size[0]},{size[1]}]", []
    for name, step in steps.items():
        key = f"pipeline.{split}.{name}"
        for field in ("crop_size", "input_size", "size"):
            if hasattr(step, field):
                overrides.append(f"{key}.{field}={side}")
        if hasattr(step, "scale"):
            short = f"[-1,{min(size)}]"
            overrides.append(f"{key}.scale={short if step.keep_ratio else side}")
    return overrides
