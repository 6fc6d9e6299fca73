"""Which frames of a video make up a sample: frame numbers only, no pixels.

Frame numbers are 0-based; ``clips`` of ``clip_len`` frames each, ``frame_interval`` apart. Rules: mmaction2 0.24.1
(``SampleFrames``, ``DenseSampleFrames``); where a rule there lost frames or clips, the class says what is done instead.

Legend: n frames in the video, C = num_clips, L = clip_len * frame_interval = span of a clip.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vexp.fields import Checked, option

Indices = npt.NDArray[np.int64]


@dataclass(kw_only=True, slots=True)
class Sampler(Checked):
    """Base of every temporal sampler: a pure function of the number of frames and a random generator."""

    @property
    def clips(self) -> int:
        """How many clips ``indices`` gives, whatever the length of the video."""
        raise NotImplementedError

    def indices(self, num_frames: int, rng: np.random.Generator) -> Indices:
        """Frame numbers in 0..num_frames-1: int64 (clips, clip_len).

        Raises:
            ValueError: the video has no frame.
        """
        raise NotImplementedError


@dataclass(kw_only=True, slots=True)
class _FixedLengthClips(Sampler):
    """Clips of equal length: a subclass says where they start."""

    clip_len: int = option(doc="frames of each clip", unit="frames", ge=1)
    frame_interval: int = option(1, "distance between neighbouring frames of a clip", unit="frames", ge=1)
    num_clips: int = option(1, "clips of each video", unit="clips", ge=1)
    temporal_jitter: bool = option(False, "move every frame forward by 0..frame_interval-1 frames, each on its own")
    out_of_bound_opt: str = option(
        "loop",
        "frames past the end: loop starts again at the first frame, repeat_last repeats the clip's last frame in range",
        choices=("loop", "repeat_last"),
    )
    test_mode: bool = option(False, "fixed positions spread over the video instead of random ones")

    def indices(self, num_frames: int, rng: np.random.Generator) -> Indices:
        if num_frames < 1:
            raise ValueError(f"num_frames={num_frames}: a video needs at least one frame to be sampled; leave it out")
        indices = self._starts(num_frames, rng)[:, None] + np.arange(self.clip_len) * self.frame_interval
        if self.temporal_jitter:
            indices = indices + rng.integers(self.frame_interval, size=indices.shape)
        if self.out_of_bound_opt == "loop":
            return indices % num_frames
        # A clip that lies past the end as a whole (jitter in a very short video) falls back to frame 0.
        last = np.where(indices < num_frames, indices, 0).max(axis=1, keepdims=True)
        return np.where(indices < num_frames, indices, last)

    def _starts(self, num_frames: int, rng: np.random.Generator) -> Indices:
        """First frame of every clip before jitter: int64 (clips,)."""
        raise NotImplementedError


@dataclass(kw_only=True, slots=True)
class SampleFrames(_FixedLengthClips):
    """Clips drawn from equal segments of the video (TSN, https://arxiv.org/abs/1608.00859; mmaction2 0.24.1).

    Training: the n-L+1 legal starts 0..n-L are divided into C segments, one uniform start from each. Fewer starts than
    clips: C sorted uniform starts, or, in a video of at most C frames, an even spread without randomness. Shorter than
    L: every clip starts at 0 and ``out_of_bound_opt`` fills it.

    Test mode: segment centres ``floor(i * (n-L+1)/C + (n-L+1)/C / 2)``, the 10-clip protocol with num_clips=10.

    Different from mmaction2, which never draws the last ``(n-L+1) mod C`` starts in training: here segments differ in
    length by at most one start and cover all of 0..n-L, so for C > 1 the start of clip i may lie up to
    ``(n-L+1) mod C`` frames later than there (C = 1, or a multiple of C starts: same distribution). The spread of a
    video of at most C frames ends at n-L, not one further. A video shorter than L still gives 2C clips with
    twice_sample (there C, which then does not stack with others).
    """

    twice_sample: bool = option(
        False, "in test mode add num_clips clips at the segments' first frames, as TSM's evaluation does"
    )
    keep_tail_frames: bool = option(
        False, "training segments of equal real length ((n-L+1)/C) instead of whole starts: every start equally likely"
    )

    @property
    def clips(self) -> int:
        return 2 * self.num_clips if self.test_mode and self.twice_sample else self.num_clips

    def _starts(self, num_frames: int, rng: np.random.Generator) -> Indices:
        legal = num_frames - self.clip_len * self.frame_interval + 1  # starts 0..legal-1
        if legal < 1:
            return np.zeros(self.clips, dtype=np.int64)
        return self._centred_starts(legal) if self.test_mode else self._random_starts(num_frames, legal, rng)

    def _centred_starts(self, legal: int) -> Indices:
        length = legal / self.num_clips
        # In this order of float64 operations: published test results depend on where it rounds.
        first = np.arange(self.num_clips) * length
        starts = first + length / 2
        if self.twice_sample:
            starts = np.concatenate([starts, first])
        return starts.astype(np.int64)

    def _random_starts(self, num_frames: int, legal: int, rng: np.random.Generator) -> Indices:
        clip = np.arange(self.num_clips + 1)
        if self.keep_tail_frames:
            starts = (clip[:-1] + rng.random(self.num_clips)) * (legal / self.num_clips)
            return np.minimum(starts.astype(np.int64), legal - 1)  # rounding up to `legal` would leave the range
        if legal >= self.num_clips:
            edges = clip * legal // self.num_clips
            return rng.integers(edges[:-1], edges[1:])
        if num_frames > self.num_clips:
            return np.sort(rng.integers(legal, size=self.num_clips))
        spread = np.round(clip[:-1] * legal / self.num_clips).astype(np.int64)
        return np.minimum(spread, legal - 1)


@dataclass(kw_only=True, slots=True)
class DenseSampleFrames(_FixedLengthClips):
    """C clips at equal distances inside one window of ``sample_range`` frames (mmaction2 0.24.1).

    Training: one random window; clip i starts ``i * (sample_range // C)`` frames into it. Test mode:
    ``num_sample_positions`` windows spread over the video, C clips from each. Starts past the end begin again at
    frame 0. A clip longer than its share of the window runs on past it.

    Different from mmaction2, which never draws the last legal window in training (a video of sample_range+1 frames
    always gave window 0): here each of the n-sample_range+1 windows is equally likely.
    """

    sample_range: int = option(64, "length of the window", unit="frames", ge=1)
    num_sample_positions: int = option(10, "windows of each video in test mode", unit="windows", ge=1)

    @property
    def clips(self) -> int:
        return self.num_sample_positions * self.num_clips if self.test_mode else self.num_clips

    def _starts(self, num_frames: int, rng: np.random.Generator) -> Indices:
        windows = max(1, num_frames - self.sample_range + 1)
        if self.test_mode:
            first = np.linspace(0, windows - 1, self.num_sample_positions).astype(np.int64)
        else:
            first = rng.integers(windows, size=1)
        within = np.arange(self.num_clips) * (self.sample_range // self.num_clips)
        return (first[:, None] + within).reshape(-1) % num_frames
