"""The shape of a clip, as the transforms of a pipeline make it."""

from __future__ import annotations

import numpy as np

from vexp.config.schema import Config
from vexp.core.errors import UserError
from vexp.data.sources.segments_config import SegmentData
from vexp.data.transforms.pipeline import make_clips
from vexp.data.transforms.randomness import blank_reader

_FRAME_SIZES = ((256, 340), (340, 256))  # a pipeline with a fixed input size gives it for both video shapes


def input_shape(config: Config, split: str) -> list[int]:
    """Return [C, T, H, W] of a clip of the pipeline of a split, or [C, T] of the features of a video.

    Raises:
        UserError: If it depends on the video.
    """
    if isinstance(config.data, SegmentData):
        if config.data.length is None:
            raise UserError("the number of features depends on the video; set data.length to one number for all")
        return [config.data.feature_dim, config.data.length]
    shapes = set()
    for height, width in _FRAME_SIZES:
        reader = blank_reader(config.pipeline.of(split), 2, height, width, len(config.img_norm.mean))
        clips = make_clips(reader, config.pipeline.of(split), np.random.default_rng(0), lazy=config.pipeline.lazy)
        shapes.add(clips.frames.shape[1:])
    if len(shapes) > 1:
        raise UserError(f"pipeline.{split}: the size of a clip depends on the video; end it with a crop to one size")
    frames, height, width, channels = shapes.pop()
    return [channels, frames, height, width]
