"""One clip of frames spread over the whole video, as TSN and TSM take them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vexp.data.sampling import SampleFrames, Sampler
from vexp.data.timeline import Indices
from vexp.fields import option


@dataclass(kw_only=True, slots=True)
class SegmentFrames(Sampler):
    """One frame of each of ``segments`` equal parts of the video, together one clip (TSN, arXiv:1608.00859).

    The frames are those of ``SampleFrames`` with clip_len=1 and num_clips=segments, which a net would see one by one:
    there they are clips of a frame each, here they are the frames of a clip. What mmaction2's 2D recognizers do with
    ``clip_len=1, num_clips=8``.

    Training: a random frame of each part. Test mode: the frame in its middle.
    """

    segments: int = option(doc="parts of the video, and frames of the clip", unit="frames", ge=1)
    test_mode: bool = option(False, "the frames in the middle of the parts instead of random ones")
    twice_sample: bool = option(
        False, "in test mode a second clip of the parts' first frames, as TSM's evaluation takes them"
    )

    @property
    def clips(self) -> int:
        return 2 if self.test_mode and self.twice_sample else 1

    def indices(self, num_frames: int, rng: np.random.Generator) -> Indices:
        """Frame numbers in 0..num_frames-1: int64 (clips, segments)."""
        single = SampleFrames(
            clip_len=1, num_clips=self.segments, test_mode=self.test_mode, twice_sample=self.twice_sample
        )
        return single.indices(num_frames, rng).reshape(self.clips, self.segments)
