"""Which frames of a video make up a sample: frame numbers only, no pixels.

Frame numbers are 0-based; ``clips`` of ``clip_len`` frames each, ``frame_interval`` apart. Rules: mmaction2 0.24.1
(``SampleFrames``, ``DenseSampleFrames``, ``UntrimmedSampleFrames``); where a rule there lost frames or clips, the class
says what is done instead.

By time. Frames of a 60 fps video lie half as far apart as those of a 30 fps one. With ``target_fps`` a sampler counts
in frames of that rate instead of the video's: ``frame_interval`` (and ``sample_range``) are multiples of 1/target_fps
seconds, and each frame is the one whose time is nearest on the video's own clock, also where its rate varies.
``clip_seconds`` says the same by the time that a clip spans. Clips start at frames of the video, each legal one as
likely as the other; at a target of the video's own rate nothing changes.

Legend: n frames in the video, C = num_clips, L = clip_len * frame_interval = span of a clip.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vexp.core.errors import format_value
from vexp.core.fields import ValidatedConfig, option
from vexp.data.transforms.timeline import FrameTimes, Indices, Timeline


@dataclass(kw_only=True, slots=True)
class Sampler(ValidatedConfig):
    """Base of every temporal sampler: a pure function of the number of frames and a random generator."""

    @property
    def clips(self) -> int | None:
        """How many clips ``indices`` gives, whatever the length of the video; None where that depends on it."""
        raise NotImplementedError

    def indices(self, num_frames: int, rng: np.random.Generator) -> Indices:
        """Frame numbers in 0..num_frames-1: int64 (clips, clip_len).

        Raises:
            ValueError: the video has no frame.
        """
        raise NotImplementedError


def _check_frames(num_frames: int) -> None:
    if num_frames < 1:
        raise ValueError(f"num_frames={num_frames}: a video needs at least one frame to be sampled; leave it out")


@dataclass(kw_only=True, slots=True)
class _FixedLengthClips(Sampler):
    """Clips of equal length: a subclass says where they start."""

    clip_len: int = option(doc="frames of each clip", unit="frames", ge=1)
    frame_interval: int = option(1, "distance between neighbouring frames of a clip", unit="frames", ge=1)
    num_clips: int = option(1, "clips taken of each video", unit="clips", ge=1)
    temporal_jitter: bool = option(False, "move every frame forward by 0..frame_interval-1 frames, each on its own")
    out_of_bound_opt: str = option(
        "loop",
        "frames past the end: loop starts again at the first frame, repeat_last repeats the clip's last frame in range",
        choices=("loop", "repeat_last"),
    )
    test_mode: bool = option(False, "fixed positions spread over the video instead of random ones")
    target_fps: float | None = option(
        None, "count in frames of this rate instead of the video's own; null: the video's", unit="frames a second", gt=0
    )
    clip_seconds: float | None = option(
        None,
        "the time that a clip spans; sets target_fps to clip_len * frame_interval / clip_seconds",
        unit="seconds",
        gt=0,
    )

    def __post_init__(self) -> None:
        ValidatedConfig.__post_init__(self)
        if self.target_fps is not None and self.clip_seconds is not None:
            raise ValueError(
                f"target_fps={format_value(self.target_fps)}: clip_seconds={format_value(self.clip_seconds)} sets the rate already; "
                "leave one of them null"
            )

    @property
    def rate(self) -> float | None:
        """The frame rate to count in; None: the video's own frames, whatever their rate."""
        if self.clip_seconds is not None:
            return self.clip_len * self.frame_interval / self.clip_seconds
        return self.target_fps

    def indices(self, num_frames: int, rng: np.random.Generator, times: FrameTimes | None = None) -> Indices:
        """Frame numbers in 0..num_frames-1: int64 (clips, clip_len).

        Args:
            num_frames: of the video.
            rng: draws the starts and the jitter.
            times: seconds at which each frame is shown, float64 (num_frames,), ascending; read only with ``target_fps``
                or ``clip_seconds``.

        Raises:
            ValueError: the video has no frame, or no times where they are needed.
        """
        _check_frames(num_frames)
        line = self._timeline(num_frames, times)
        moments = self._starts(line, rng)[:, None] + np.arange(self.clip_len) * self.frame_interval * line.step
        if self.temporal_jitter:
            moments = moments + rng.integers(self.frame_interval, size=moments.shape) * line.step
        if self.out_of_bound_opt == "loop":
            return line.frames_at(line.looped(moments))
        # A clip that lies past the end as a whole (jitter in a very short video) falls back to frame 0.
        last = np.where(line.inside(moments), moments, 0).max(axis=1, keepdims=True)
        return line.frames_at(np.where(line.inside(moments), moments, last))

    def _timeline(self, num_frames: int, times: FrameTimes | None) -> Timeline:
        if self.rate is None:
            return Timeline.of_frames(num_frames)
        if times is None or len(times) != num_frames:
            known = "none is" if times is None else f"{len(times)} are"
            raise ValueError(f"sampling by time needs the times of all {num_frames} frames, {known} known")
        return Timeline.of_seconds(times, self.rate)

    def _starts(self, line: Timeline, rng: np.random.Generator) -> FrameTimes:
        """When every clip starts, before jitter: float64 (clips,)."""
        raise NotImplementedError


#: Arguments of ``SampleFrames`` that ``frame_uniform`` leaves without a meaning, and the value that says nothing.
_UNUSED_BY_FRAME_UNIFORM = {
    "frame_interval": 1,
    "num_clips": 1,
    "temporal_jitter": False,
    "twice_sample": False,
    "keep_tail_frames": False,
    "target_fps": None,
    "clip_seconds": None,
    "test_positions": "centres",
}


@dataclass(kw_only=True, slots=True)
class SampleFrames(_FixedLengthClips):
    """Clips drawn from equal segments of the video (TSN, https://arxiv.org/abs/1608.00859; mmaction2 0.24.1).

    Training: the n-L+1 legal starts 0..n-L are divided into C segments, one uniform start from each. Fewer starts than
    clips: C sorted uniform starts, or, in a video of at most C frames, an even spread without randomness. Shorter than
    L: every clip starts at 0 and ``out_of_bound_opt`` fills it.

    Test mode: segment centres ``floor(i * (n-L+1)/C + (n-L+1)/C / 2)``, the 10-clip protocol with num_clips=10.
    ``test_positions=ends`` (mmaction2 1.x, PySlowFast): the first clip starts at 0, the last ends with the video, the
    others are evenly spread between, ``round(i * (n-s)/(C-1))`` with s = (clip_len - 1) * frame_interval + 1; a single
    clip lies in the middle.

    Different from mmaction2, which never draws the last ``(n-L+1) mod C`` starts in training: here segments differ in
    length by at most one start and cover all of 0..n-L, so for C > 1 the start of clip i may lie up to
    ``(n-L+1) mod C`` frames later than there (C = 1, or a multiple of C starts: same distribution). The spread of a
    video of at most C frames ends at n-L, not one further. A video shorter than L still gives 2C clips with
    twice_sample (there C, which then does not stack with others).

    ``frame_uniform`` (SlowFast's sampling of Something-Something V2): segment i of the one clip is the frames
    ``round(i * (n-1)/clip_len)`` to ``round((i+1) * (n-1)/clip_len)``, both included; training draws one of them, test
    mode takes the middle one. Arguments that say where clips lie are then refused (mmaction2 ignores them).
    """

    twice_sample: bool = option(
        False, "in test mode add num_clips clips at the segments' first frames, as TSM's evaluation does"
    )
    keep_tail_frames: bool = option(
        False, "training segments of equal real length ((n-L+1)/C) instead of whole starts: every start equally likely"
    )
    test_positions: str = option(
        "centres",
        "in test mode clips lie at the centres of equal segments, or from the video's one end to the other",
        choices=("centres", "ends"),
    )
    frame_uniform: bool = option(
        False, "one clip over the whole video: a frame from each of clip_len equal segments (Something-Something)"
    )

    def __post_init__(self) -> None:
        _FixedLengthClips.__post_init__(self)
        if self.test_positions == "ends" and self.twice_sample:
            raise ValueError("twice_sample=true: adds the segments' first frames, test_positions=ends has no segments")
        if not self.frame_uniform:
            return
        for name, unused in _UNUSED_BY_FRAME_UNIFORM.items():
            value = getattr(self, name)
            if value != unused:
                raise ValueError(
                    f"{name}={format_value(value)}: has no meaning with frame_uniform=true, which draws one clip over the "
                    f"whole video; leave it at {format_value(unused)}"
                )

    @property
    def clips(self) -> int:
        return 2 * self.num_clips if self.test_mode and self.twice_sample else self.num_clips

    def indices(self, num_frames: int, rng: np.random.Generator, times: FrameTimes | None = None) -> Indices:
        if not self.frame_uniform:
            return _FixedLengthClips.indices(self, num_frames, rng, times)
        _check_frames(num_frames)
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
            # As written there: the distance first, halves to the even number.
            return np.round(np.arange(self.num_clips) * (last / gaps) if gaps else [last // 2]).astype(np.int64)
        length = legal / self.num_clips
        # In this order of float64 operations: published test results depend on where it rounds.
        first = np.arange(self.num_clips) * length
        starts = first + length / 2
        if self.twice_sample:
            starts = np.concatenate([starts, first])
        return starts.astype(np.int64)

    def _random_starts(self, line: Timeline, legal: int, rng: np.random.Generator) -> Indices:
        clip = np.arange(self.num_clips + 1)
        if self.keep_tail_frames:
            starts = (clip[:-1] + rng.random(self.num_clips)) * (legal / self.num_clips)
            return np.minimum(starts.astype(np.int64), legal - 1)  # rounding up to `legal` would leave the range
        if legal >= self.num_clips:
            edges = clip * legal // self.num_clips
            return rng.integers(edges[:-1], edges[1:])
        if len(line.times) > self.num_clips:
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
    """Clips at equal distances over the whole of a long video, as many as fit (mmaction2 0.24.1).

    Clip centres are ``clip_interval // 2 + i * clip_interval``; frames beyond either end repeat the first or last one.
    For features of untrimmed videos (BSN, BMN): the number of clips depends on the video, so batches hold one video.

    Different from mmaction2, which gives no clip of a video of at most ``clip_interval // 2`` frames: here its middle.
    """

    clip_len: int = option(1, "frames of each clip", unit="frames", ge=1)
    clip_interval: int = option(16, "distance between the centres of neighbouring clips", unit="frames", ge=1)
    frame_interval: int = option(1, "distance between neighbouring frames of a clip", unit="frames", ge=1)

    @property
    def clips(self) -> None:
        return None

    def indices(self, num_frames: int, rng: np.random.Generator) -> Indices:
        _check_frames(num_frames)
        first = self.clip_interval // 2
        centres = np.arange(first if first < num_frames else num_frames // 2, num_frames, self.clip_interval)
        within = (np.arange(self.clip_len) - self.clip_len // 2) * self.frame_interval
        indices: Indices = np.clip(centres[:, None] + within, 0, num_frames - 1)
        return indices
