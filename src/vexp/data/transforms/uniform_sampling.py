"""Temporal samplers that take one frame from each of equal segments of the video, by the rules of mmaction2."""

from __future__ import annotations

from dataclasses import dataclass

from vexp.core.fields import option
from vexp.core.lazy import np
from vexp.data.transforms.frame_sampling import Sampler, check_frames
from vexp.data.transforms.timeline import Indices


@dataclass(kw_only=True, slots=True)
class UniformSample(Sampler):
    """Sample one frame from each of ``clip_len`` segments of the video (``UniformSample`` of mmaction2 1.x).

    With n frames, segment i begins at ``round(i * (n-1)/clip_len)`` and ends where the next one begins, inclusive.
    Training draws a frame from each segment. In test mode clip k of ``num_clips`` takes the frame
    ``int((k+1) * (n-1)/clip_len / (num_clips+1))`` after the begin of each segment.

    Differences to mmaction2: in training it ignores ``num_clips``; here, there are as many independent clips. With
    ``frame_uniform`` of ``SampleFrames`` (mmaction2 0.24, SlowFast) a frame of the test may be the next one.
    """

    clip_len: int = option(doc="Frames of each clip, and segments of the video.", unit="frames", ge=1)
    num_clips: int = option(1, "Clips per video.", unit="clips", ge=1)
    test_mode: bool = option(False, "Take fixed frames of the segments instead of random ones.")

    @property
    def clips(self) -> int:
        return self.num_clips

    def indices(self, num_frames: int, rng: np.random.Generator) -> Indices:
        """Return frame indices in 0..num_frames-1, int64 (num_clips, clip_len)."""
        check_frames(num_frames)
        length = (num_frames - 1) / self.clip_len
        edges = np.round(np.arange(self.clip_len + 1) * length).astype(np.int64)
        if self.test_mode:  # the order of float64 operations is that of mmaction2
            within = (length / (self.num_clips + 1) * np.arange(1, self.num_clips + 1)).astype(np.int64)
            return within[:, None] + edges[:-1]
        return rng.integers(edges[:-1], edges[1:], endpoint=True, size=(self.num_clips, self.clip_len))


@dataclass(kw_only=True, slots=True)
class UniformSampleFrames(Sampler):
    """Sample ``clip_len`` frames spread over the video (``UniformSampleFrames`` of mmaction2, for PoseC3D).

    A video of at least ``2 * clip_len`` frames gives one frame from each of ``clip_len`` disjoint segments. One of at
    least ``clip_len`` frames gives the frames in order, with random ones left out. A shorter one gives ``clip_len``
    consecutive frames from a random start, and begins again at its end.

    The frames of the test are those of mmaction2: drawn by ``numpy.random.RandomState(seed)`` for each video anew; the
    clips of a short video start at equal distances. In training, mmaction2 0.24 allows one clip only.
    """

    clip_len: int = option(doc="Frames of each clip.", unit="frames", ge=1)
    num_clips: int = option(1, "Clips per video.", unit="clips", ge=1)
    test_mode: bool = option(False, "Draw the same frames of a video every time, by ``seed``.")
    seed: int = option(255, "Seed of the frames in test mode.", ge=0, lt=2**32)

    @property
    def clips(self) -> int:
        return self.num_clips

    def indices(self, num_frames: int, rng: np.random.Generator) -> Indices:
        """Return frame indices in 0..num_frames-1, int64 (num_clips, clip_len)."""
        check_frames(num_frames)
        fixed = np.random.RandomState(self.seed)
        integers, choice = (fixed.randint, fixed.choice) if self.test_mode else (rng.integers, rng.choice)
        n, length, clips = num_frames, self.clip_len, []
        edges = np.arange(length + 1) * n // length
        for clip in range(self.num_clips):
            if n >= 2 * length:
                clips.append(edges[:-1] + integers(np.diff(edges)))
            elif n >= length:
                left_out = np.zeros(length + 1, np.int64)
                left_out[choice(length + 1, n - length, replace=False)] = 1
                clips.append(np.arange(length) + np.cumsum(left_out)[:-1])
            else:
                start = (
                    integers(n) if not self.test_mode else clip if n < self.num_clips else clip * n // self.num_clips
                )
                clips.append(np.arange(start, start + length) % n)
        return np.stack(clips).astype(np.int64)
