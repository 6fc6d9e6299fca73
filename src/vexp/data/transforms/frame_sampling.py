"""Temporal samplers: the indices of the frames that make up a sample.

Frame indices are 0-based. A sample has ``num_clips`` clips of ``clip_len`` frames each, ``frame_interval`` frames
apart. The rules are those of mmaction2 0.24.1 (``SampleFrames``, ``DenseSampleFrames``, ``UntrimmedSampleFrames``);
each class documents its differences.

With ``target_fps`` a sampler counts in frames of that rate instead of the video's: ``frame_interval`` and
``sample_range`` are multiples of 1/target_fps seconds, and the frame nearest in time is taken, also for videos with a
variable frame rate. ``clip_seconds`` sets the rate from the duration of a clip. Clips start at frames of the video,
with equal probability. If the target is the video's own rate, the result is unchanged.

Notation: n = number of frames of the video, C = num_clips, L = clip_len * frame_interval (span of a clip).
"""

from __future__ import annotations

from dataclasses import dataclass

from vexp.core.errors import ConfigError, UserError, format_value
from vexp.core.fields import ValidatedConfig, option
from vexp.core.lazy import np
from vexp.data.transforms.timeline import FrameTimes, Indices, Timeline


@dataclass(kw_only=True, slots=True)
class Sampler(ValidatedConfig):
    """Base class of the temporal samplers: pure functions of the number of frames and a random generator."""

    @property
    def clips(self) -> int | None:
        """Number of clips per video; None if it depends on the length of the video."""
        raise NotImplementedError

    def indices(self, num_frames: int, rng: np.random.Generator) -> Indices:
        """Return frame indices in 0..num_frames-1, int64 (clips, clip_len).

        Raises:
            UserError: If the video has no frames.
        """
        raise NotImplementedError


def check_frames(num_frames: int) -> None:
    """Raise UserError if a video has no frames."""
    if num_frames < 1:
        raise UserError(f"the video has {num_frames} frames, at least one is required; remove it from the annotation")


@dataclass(kw_only=True, slots=True)
class _FixedLengthClips(Sampler):
    """Clips of equal length; a subclass implements where they start."""

    clip_len: int = option(doc="Frames of each clip.", unit="frames", ge=1)
    frame_interval: int = option(1, "Distance between consecutive frames of a clip.", unit="frames", ge=1)
    num_clips: int = option(1, "Clips per video.", unit="clips", ge=1)
    temporal_jitter: bool = option(False, "Shift each frame independently forward by 0 to frame_interval-1 frames.")
    out_of_bound_opt: str = option(
        "loop",
        "Frames past the end: start again at the first frame (loop), or repeat the last valid frame of the clip.",
        choices=("loop", "repeat_last"),
    )
    test_mode: bool = option(False, "Use fixed, evenly distributed positions instead of random ones.")
    target_fps: float | None = option(
        None, "Frame rate to count frames in; null for that of the video.", unit="frames per second", gt=0
    )
    clip_seconds: float | None = option(
        None, "Duration of a clip; sets target_fps to clip_len * frame_interval / clip_seconds.", unit="seconds", gt=0
    )

    def __post_init__(self) -> None:
        ValidatedConfig.__post_init__(self)
        if self.target_fps is not None and self.clip_seconds is not None:
            rule = f"conflicts with clip_seconds={format_value(self.clip_seconds)}; set one of them to null"
            raise ConfigError(rule, key="target_fps", value=self.target_fps)

    @property
    def rate(self) -> float | None:
        """Frame rate to count frames in, in frames per second; None for that of the video."""
        if self.clip_seconds is not None:
            return self.clip_len * self.frame_interval / self.clip_seconds
        return self.target_fps

    def indices(self, num_frames: int, rng: np.random.Generator, times: FrameTimes | None = None) -> Indices:
        """Return frame indices in 0..num_frames-1, int64 (clips, clip_len).

        ``times``, required with ``target_fps`` or ``clip_seconds``, is the presentation time of each frame in seconds,
        float64 (num_frames,), ascending.

        Raises:
            UserError: If the video has no frames, or no times although they are required.
        """
        check_frames(num_frames)
        if self.rate is None:
            line = Timeline.of_frames(num_frames)
        elif times is None or len(times) != num_frames:
            known = 0 if times is None else len(times)
            raise UserError(f"sampling by time requires the times of all {num_frames} frames, {known} are known")
        else:
            line = Timeline.of_seconds(times, self.rate)
        moments = self._starts(line, rng)[:, None] + np.arange(self.clip_len) * self.frame_interval * line.step
        if self.temporal_jitter:
            moments = moments + rng.integers(self.frame_interval, size=moments.shape) * line.step
        if self.out_of_bound_opt == "loop":
            return line.frames_at(line.looped(moments))
        # A clip entirely past the end (jitter in a very short video) uses frame 0.
        last = np.where(line.inside(moments), moments, 0).max(axis=1, keepdims=True)
        return line.frames_at(np.where(line.inside(moments), moments, last))

    def _starts(self, line: Timeline, rng: np.random.Generator) -> FrameTimes:
        """Return the start time of every clip before jitter, float64 (clips,)."""
        raise NotImplementedError


#: Arguments of ``SampleFrames`` without effect with ``frame_uniform``, and their defaults.
_UNUSED_BY_FRAME_UNIFORM = {
    "frame_interval": 1, "num_clips": 1, "temporal_jitter": False, "twice_sample": False, "keep_tail_frames": False,
    "target_fps": None, "clip_seconds": None, "test_positions": "centers",
}  # fmt: skip


@dataclass(kw_only=True, slots=True)
class SampleFrames(_FixedLengthClips):
    """Sample clips from equal segments of the video (TSN, https://arxiv.org/abs/1608.00859; mmaction2 0.24.1).

    Training: the n-L+1 valid starts 0..n-L are divided into C segments, and one start is drawn uniformly from each.
    With fewer starts than clips, C sorted uniform starts are drawn, or for a video of at most C frames, the starts are
    evenly spaced. In a video shorter than L, every clip starts at 0 and is completed by ``out_of_bound_opt``.

    Test mode: segment centers ``floor(i * (n-L+1)/C + (n-L+1)/C / 2)``, the 10-clip protocol with num_clips=10.
    ``test_positions=ends`` (mmaction2 1.x, PySlowFast): the first clip starts at 0, the last ends with the video, the
    others are evenly spaced between them, ``round(i * (n-s)/(C-1))`` with s = (clip_len - 1) * frame_interval + 1; a
    single clip is centered.

    Differences to mmaction2: it never draws the last ``(n-L+1) mod C`` starts in training. Here, segments differ in
    length by at most one start and cover all of 0..n-L, so for C > 1 the start of clip i may be up to ``(n-L+1) mod C``
    frames later (for C = 1 or a multiple of C starts, the distribution is the same). The evenly spaced starts of a
    video of at most C frames end at n-L instead of n-L+1. With twice_sample, a video shorter than L also has 2C clips
    (there C).

    ``frame_uniform`` (the sampling of SlowFast for Something-Something V2) takes one frame from each of clip_len
    segments, ``round(i * (n-1)/clip_len)`` to ``round((i+1) * (n-1)/clip_len)`` inclusive: a random one in training and
    the middle one in test mode. Arguments for the position of clips are then an error (mmaction2 ignores them).
    """

    twice_sample: bool = option(
        False, "In test mode, add num_clips clips at the first frames of the segments, as in the evaluation of TSM."
    )
    keep_tail_frames: bool = option(
        False, "Use training segments of fractional length (n-L+1)/C, so that every start is equally likely."
    )
    test_positions: str = option(
        "centers",
        "In test mode, place clips at the centers of equal segments, or from one end of the video to the other (ends).",
        choices=("centers", "ends"),
    )
    image_clip_len: int | None = option(
        None,
        "Frames of a clip of an image, a file of one frame; null: clip_len, which are equal. 1 for model=omni_r50.",
        unit="frames",
        ge=1,
    )
    frame_uniform: bool = option(
        False, "Sample one clip over the whole video, one frame from each of clip_len segments (Something-Something)."
    )

    def __post_init__(self) -> None:
        _FixedLengthClips.__post_init__(self)
        if self.test_positions == "ends" and self.twice_sample:
            rule = "conflicts with test_positions=ends, which has no segments"
            raise ConfigError(rule, key="twice_sample", value=True)
        for name, unused in _UNUSED_BY_FRAME_UNIFORM.items() if self.frame_uniform else ():
            value = getattr(self, name)
            if value != unused:
                rule = f"has no effect with frame_uniform=true; leave it at {format_value(unused)}"
                raise ConfigError(rule, key=name, value=value)

    @property
    def clips(self) -> int:
        return 2 * self.num_clips if self.test_mode and self.twice_sample else self.num_clips

    def indices(self, num_frames: int, rng: np.random.Generator, times: FrameTimes | None = None) -> Indices:
        if self.image_clip_len is not None and num_frames == 1:
            return np.zeros((self.clips, self.image_clip_len), np.int64)
        if not self.frame_uniform:
            return _FixedLengthClips.indices(self, num_frames, rng, times)
        check_frames(num_frames)
        edges = np.round(np.arange(self.clip_len + 1) * ((num_frames - 1) / self.clip_len)).astype(np.int64)
        if self.test_mode:
            return ((edges[:-1] + edges[1:]) // 2)[None]
        return rng.integers(edges[:-1], edges[1:], endpoint=True)[None]

    def _starts(self, line: Timeline, rng: np.random.Generator) -> FrameTimes:
        ends = self.test_mode and self.test_positions == "ends"
        span = (self.clip_len - 1) * self.frame_interval + 1 if ends else self.clip_len * self.frame_interval
        legal = line.legal_starts(span)  # frames 0..legal-1
        if legal < 1:
            return np.zeros(self.clips)
        return line.times[self._fixed_starts(legal) if self.test_mode else self._random_starts(line, legal, rng)]

    def _fixed_starts(self, legal: int) -> Indices:
        if self.test_positions == "ends":
            last, gaps = legal - 1, self.num_clips - 1
            # The order of operations and the rounding to even are those of mmaction2.
            return np.round(np.arange(self.num_clips) * (last / gaps) if gaps else [last // 2]).astype(np.int64)
        length = legal / self.num_clips
        # The order of float64 operations matters: published test results depend on the rounding.
        first = np.arange(self.num_clips) * length
        starts = first + length / 2
        if self.twice_sample:
            starts = np.concatenate([starts, first])
        return starts.astype(np.int64)

    def _random_starts(self, line: Timeline, legal: int, rng: np.random.Generator) -> Indices:
        clip = np.arange(self.num_clips + 1)
        if self.keep_tail_frames:
            starts = (clip[:-1] + rng.random(self.num_clips)) * (legal / self.num_clips)
            return np.minimum(starts.astype(np.int64), legal - 1)  # rounding could yield `legal`, which is out of range
        if legal >= self.num_clips:
            edges = clip * legal // self.num_clips
            return rng.integers(edges[:-1], edges[1:])
        if len(line.times) > self.num_clips:
            return np.sort(rng.integers(legal, size=self.num_clips))
        spread = np.round(clip[:-1] * legal / self.num_clips).astype(np.int64)
        return np.minimum(spread, legal - 1)


@dataclass(kw_only=True, slots=True)
class DenseSampleFrames(_FixedLengthClips):
    """Sample C equally spaced clips within a window of ``sample_range`` frames (mmaction2 0.24.1).

    Training: one random window; clip i starts ``i * (sample_range // C)`` frames into it. Test mode:
    ``num_sample_positions`` evenly spaced windows with C clips each. Starts past the end wrap around to frame 0. Clips
    may extend beyond the window.

    Difference to mmaction2, which never draws the last valid window in training: here, each of the n-sample_range+1
    windows is equally likely.
    """

    sample_range: int = option(64, "Length of the window.", unit="frames", ge=1)
    num_sample_positions: int = option(10, "Windows per video in test mode.", unit="windows", ge=1)

    @property
    def clips(self) -> int:
        return self.num_sample_positions * self.num_clips if self.test_mode else self.num_clips

    def _starts(self, line: Timeline, rng: np.random.Generator) -> FrameTimes:
        windows = max(1, line.legal_starts(self.sample_range))
        if self.test_mode:
            first = np.linspace(0, windows - 1, self.num_sample_positions).astype(np.int64)
        else:
            first = rng.integers(windows, size=1)
        within = np.arange(self.num_clips) * (self.sample_range // self.num_clips) * line.step
        return line.looped((line.times[first][:, None] + within).reshape(-1))


@dataclass(kw_only=True, slots=True)
class UntrimmedSampleFrames(Sampler):
    """Sample equally spaced clips over a whole untrimmed video (mmaction2 0.24.1).

    The clip centers are ``clip_interval // 2 + i * clip_interval``; frames beyond either end repeat the first or last
    one. This is for features of untrimmed videos (BSN, BMN). The number of clips depends on the video, so a batch has
    one video.

    Difference to mmaction2, which yields no clip for a video of at most ``clip_interval // 2`` frames: here, the clip
    is centered.
    """

    clip_len: int = option(1, "Frames of each clip.", unit="frames", ge=1)
    clip_interval: int = option(16, "Distance between the centers of consecutive clips.", unit="frames", ge=1)
    frame_interval: int = option(1, "Distance between consecutive frames of a clip.", unit="frames", ge=1)

    @property
    def clips(self) -> None:
        return None

    def indices(self, num_frames: int, rng: np.random.Generator) -> Indices:
        check_frames(num_frames)
        first = self.clip_interval // 2
        centers = np.arange(first if first < num_frames else num_frames // 2, num_frames, self.clip_interval)
        within = (np.arange(self.clip_len) - self.clip_len // 2) * self.frame_interval
        indices: Indices = np.clip(centers[:, None] + within, 0, num_frames - 1)
        return indices


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
