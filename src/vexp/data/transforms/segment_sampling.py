"""Sampling of one clip over the whole video for TSN and TSM."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vexp.core.fields import ValidatedConfig, option
from vexp.data.transforms.frame_sampling import SampleFrames, Sampler
from vexp.data.transforms.timeline import Indices


@dataclass(kw_only=True, slots=True)
class SegmentFrames(Sampler):
    """Sample one clip with ``segment_len`` frames from each of ``segments`` equal parts (TSN, arXiv:1608.00859).

    The frames are those of ``SampleFrames`` with clip_len=segment_len and num_clips=segments, concatenated to one clip.
    This corresponds to ``clip_len=1, num_clips=8`` for the 2D recognizers of mmaction2, and to ``clip_len=5,
    num_clips=3`` for stacked optical flow.

    In training, random frames of each segment are taken; in test mode, those in its middle.
    """

    segments: int = option(doc="Segments of the video.", unit="segments", ge=1)
    segment_len: int = option(
        1, "Consecutive frames per segment; 5 for TSN with optical flow.", unit="frames", ge=1, see=("model.stacked",)
    )
    test_mode: bool = option(False, "Take the middle frames of the segments instead of random ones.")
    twice_sample: bool = option(
        False, "In test mode, add a second clip of the first frames of the segments, as in the evaluation of TSM."
    )
    test_positions: str = option(
        "centers",
        "In test mode, take frames from the centers of the segments, or from one end of the video to the other (ends).",
        choices=("centers", "ends"),
    )

    def __post_init__(self) -> None:
        ValidatedConfig.__post_init__(self)
        self._segment_sampler()

    @property
    def clips(self) -> int:
        return 2 if self.test_mode and self.twice_sample else 1

    def indices(self, num_frames: int, rng: np.random.Generator) -> Indices:
        """Return frame indices in 0..num_frames-1, int64 (clips, segments * segment_len)."""
        return self._segment_sampler().indices(num_frames, rng).reshape(self.clips, -1)

    def _segment_sampler(self) -> SampleFrames:
        """Build the equivalent ``SampleFrames``, which also checks the arguments."""
        return SampleFrames(
            clip_len=self.segment_len,
            num_clips=self.segments,
            test_mode=self.test_mode,
            twice_sample=self.twice_sample,
            test_positions=self.test_positions,
        )
