"""Sampling around the key frame of a sample (AVA): the frame whose boxes are labeled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from vexp.core.fields import option
from vexp.data.transforms.frame_sampling import Sampler, check_frames
from vexp.data.transforms.timeline import FrameTimes, Indices, Timeline


@dataclass(kw_only=True, slots=True)
class SampleKeyFrames(Sampler):
    """Sample one clip around the key frame (mmaction2's SampleAVAFrames).

    Frame i of the clip is ``center + (i - clip_len // 2) * frame_interval``, clipped to the frames of the video, where
    ``center`` is the frame shown at the time of the key frame. In training each frame is shifted independently by
    ``-frame_interval // 2`` (rounded down) to ``(frame_interval + 1) // 2 - 1`` frames.

    Differences to mmaction2: the center comes from the times of the video's frames, not from 30 frames per second; no
    frame is sampled before the first one (there, number 0 of images that are counted from 1) and the last one may be;
    nothing is drawn in test mode. Data without key frames have theirs in the middle of the video.
    """

    at_key_frame: ClassVar[bool] = True  # ``indices`` takes the index of the key frame

    clip_len: int = option(doc="Frames of each clip.", unit="frames", ge=1)
    frame_interval: int = option(2, "Distance between consecutive frames of a clip.", unit="frames", ge=1)
    test_mode: bool = option(False, "Do not shift frames at random.")
    target_fps: float | None = option(
        None, "Frame rate to count frames in (AVA: 30); null for that of the video.", unit="frames per second", gt=0
    )

    @property
    def clips(self) -> int:
        return 1

    @property
    def rate(self) -> float | None:
        """Frame rate to count frames in, in frames per second; None for that of the video."""
        return self.target_fps

    def indices(
        self, num_frames: int, rng: np.random.Generator, times: FrameTimes | None = None, *, center: int | None = None
    ) -> Indices:
        """Return frame indices in 0..num_frames-1, int64 (1, clip_len); ``center`` is the index of the key frame.

        ``times``, required with ``target_fps``, is the presentation time of each frame in seconds, (num_frames,).
        """
        check_frames(num_frames)
        middle = num_frames // 2 if center is None else center
        offsets = (np.arange(self.clip_len) - self.clip_len // 2) * self.frame_interval
        if not self.test_mode:
            offsets += rng.integers(-self.frame_interval // 2, (self.frame_interval + 1) // 2, size=self.clip_len)
        if self.target_fps is None or times is None:
            return np.clip(middle + offsets, 0, num_frames - 1)[None]
        line = Timeline.of_seconds(times, self.target_fps)
        return line.frames_at(line.times[middle] + offsets * line.step)[None]
