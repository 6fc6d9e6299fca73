"""One clip of frames spread over the whole video, as TSN and TSM take them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vexp.core.fields import ValidatedConfig, option
from vexp.data.transforms.frame_sampling import SampleFrames, Sampler
from vexp.data.transforms.timeline import Indices


@dataclass(kw_only=True, slots=True)
class SegmentFrames(Sampler):
    """A frame of each of ``segments`` equal parts of the video, together one clip (TSN, arXiv:1608.00859).

    The frames are those of ``SampleFrames`` with clip_len=segment_len and num_clips=segments, which a model would see one
    by one: there they are clips, here they are the frames of one clip. What mmaction2's 2D recognizers do with
    ``clip_len=1, num_clips=8``, and for stacks of optical flow with ``clip_len=5, num_clips=3``.

    Training: a random frame of each part, or so many neighbours. Test mode: those in its middle.
    """

    segments: int = option(doc="parts of the video that frames are taken of", unit="parts", ge=1)
    segment_len: int = option(
        1, "neighbouring frames of each part; TSN's models of optical flow take 5", unit="frames", ge=1,
        see=("model.stacked",),
    )  # fmt: skip
    test_mode: bool = option(False, "the frames in the middle of the parts instead of random ones")
    twice_sample: bool = option(
        False, "in test mode a second clip of the parts' first frames, as TSM's evaluation takes them"
    )
    test_positions: str = option(
        "centres", "in test mode frames from the middle of the parts, or from the video's one end to the other",
        choices=("centres", "ends"),
    )  # fmt: skip

    def __post_init__(self) -> None:
        ValidatedConfig.__post_init__(self)
        self._clips_of_a_part()

    @property
    def clips(self) -> int:
        return 2 if self.test_mode and self.twice_sample else 1

    def indices(self, num_frames: int, rng: np.random.Generator) -> Indices:
        """Frame numbers in 0..num_frames-1: int64 (clips, segments * segment_len)."""
        return self._clips_of_a_part().indices(num_frames, rng).reshape(self.clips, -1)

    def _clips_of_a_part(self) -> SampleFrames:
        """Raises ValueError for values that do not go together."""
        return SampleFrames(
            clip_len=self.segment_len, num_clips=self.segments, test_mode=self.test_mode,
            twice_sample=self.twice_sample, test_positions=self.test_positions,
        )  # fmt: skip
