"""Data of ``vexp show sampling``: the frames that are sampled from a split's videos, and the part that they cover."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vexp.core.errors import UserError
from vexp.data.transforms.pipeline import sampled_frames
from vexp.data.transforms.view import Frames
from vexp.tools.visualize.samples import Split, Video, evenly_spaced, format_step

MAX_VIDEOS = 24  # videos per split that the statistics are computed from
THUMBNAILS = 8
_MIN_COVERAGE = 0.1  # of the median video
_MAX_RATIO = 1.1  # between frame rates that count as equal


@dataclass(frozen=True, slots=True)
class SampledVideo:
    """A video and the frames sampled from it: ``draws``, each int64 (clips, clip_len); thumbnails of the first clip."""

    video: Video
    draws: list[NDArray[np.int64]]
    thumbnails: Frames
    thumbnail_indices: list[int]


@dataclass(frozen=True, slots=True)
class VideoCoverage:
    """Statistics of one video: the fraction that a draw covers and the distance of neighboring frames, in frames."""

    video: Video
    fraction: float
    spacing: float


@dataclass(frozen=True, slots=True)
class Coverage:
    """Sampling of a split.

    Attributes:
        split: The split.
        sampler: Description of its sampling step.
        timed: Whether the sampler counts in seconds rather than in frames.
        shown: Some videos, from the shortest to the longest.
        videos: Statistics of all videos that were read.
        unreadable: Errors of the videos that could not be read.
    """

    split: Split
    sampler: str
    timed: bool
    shown: list[SampledVideo]
    videos: list[VideoCoverage]
    unreadable: list[str]

    def describe(self) -> list[str]:
        fractions = [one.fraction for one in self.videos]
        text = f"a draw covers {statistics.median(fractions):.0%} of the median video"
        if len(fractions) > 1:
            text += f" ({_range(fractions, '.0%')} of {len(fractions)} videos)"
        lines = [text]
        if seconds := [one.video.seconds for one in self.videos if one.video.seconds is not None]:
            lines.append(f"videos of {_range(seconds, '.3g')} s at {_range(self.frame_rates, '.4g')} fps")
        if (gap := self.gap) is not None:
            lines.append(f"neighboring frames {gap:.3g} s apart")
        return lines

    @property
    def gap(self) -> float | None:
        """Median time between neighboring frames of a clip in seconds; None if unknown or for clips of one frame."""
        gaps = [one.spacing * one.video.period for one in self.videos if one.video.period and one.spacing > 0]
        return statistics.median(gaps) if gaps else None

    @property
    def frame_rates(self) -> list[float]:
        return [one.video.fps for one in self.videos if one.video.fps]

    @property
    def median_fps(self) -> float | None:
        return statistics.median(self.frame_rates) if self.frame_rates else None


def collect_coverage(split: Split, *, draws: int, videos: int) -> Coverage:
    """Sample frames of some videos of a split with the random numbers of training or evaluation.

    Args:
        split: The split.
        draws: Number of training epochs to sample for; evaluation samples the same frames every time.
        videos: Number of videos to show.

    Raises:
        UserError: If none of the videos can be read.
    """
    dataset = split.dataset
    sampler, epochs = next(iter(dataset.steps.values())), range(draws if split.name == "train" else 1)
    sampled: list[tuple[int, Video, list[NDArray[np.int64]]]] = []
    unreadable = []
    for index in evenly_spaced(len(dataset), MAX_VIDEOS):
        name = dataset.source.name(index)
        generators = [np.random.default_rng([dataset.seed, epoch, index]) for epoch in epochs]
        try:
            with dataset.source.open(index) as reader:
                numbers = [sampled_frames(reader, sampler, rng) for rng in generators]
                sampled.append((index, Video.from_reader(name, reader), numbers))
        except (UserError, OSError) as error:
            unreadable.append(str(error) if name in str(error) else f"{name}: {error}")
    if not sampled:
        raise UserError(f"data.{split.name}: none of {len(unreadable)} videos can be read; the first: {unreadable[0]}")
    by_length = sorted(sampled, key=lambda one: one[1].seconds or one[1].num_frames)
    shown = []
    for index, video, numbers in (by_length[position] for position in evenly_spaced(len(by_length), videos)):
        indices = [int(numbers[0][0, position]) for position in evenly_spaced(numbers[0].shape[1], THUMBNAILS)]
        with suppress(UserError, OSError), dataset.source.open(index) as reader:
            shown.append(SampledVideo(video, numbers, reader.frames(indices), indices))
    coverages = [_coverage(video, numbers) for _, video, numbers in sampled]
    timed = getattr(sampler, "rate", None) is not None
    return Coverage(split, format_step(sampler), timed, shown, coverages, unreadable)


def covered_fraction(numbers: NDArray[np.int64], num_frames: int) -> float:
    """Return the fraction of a video between the first and the last frame, inclusive, of any clip (clips, clip_len)."""
    covered = np.zeros(num_frames, np.bool_)
    for clip in numbers:
        covered[clip.min() : clip.max() + 1] = True
    return float(covered.mean())


def _coverage(video: Video, draws: Sequence[NDArray[np.int64]]) -> VideoCoverage:
    fraction = statistics.fmean(covered_fraction(draw, video.num_frames) for draw in draws)
    steps = np.concatenate([np.diff(draw, axis=1).reshape(-1) for draw in draws])
    return VideoCoverage(video, fraction, float(np.median(np.abs(steps))) if steps.size else 0.0)


def _range(values: Sequence[float], form: str) -> str:
    """Format as ``2 to 10``, or as one value if all are equal."""
    low, high = f"{min(values):{form}}", f"{max(values):{form}}"
    return low if low == high else f"{low} to {high}"


def sampling_warnings(coverages: Sequence[Coverage]) -> list[str]:
    """Return likely mistakes: clips that cover little, repeat frames, or differ in time between splits."""
    splits: dict[str, list[str]] = {}  # by warning
    for coverage in coverages:
        for text in _split_warnings(coverage):
            splits.setdefault(text, []).append(coverage.split.name)
    warnings = [f"{', '.join(names)}: {text}" for text, names in splits.items()]
    train, *others = coverages
    for other in others:
        pair = f"train and {other.split.name}"
        if not train.timed and _differ(train.median_fps, other.median_fps):
            rates = f"{train.median_fps:.4g} and {other.median_fps:.4g} fps"
            warnings.append(f"{pair}: the median video has {rates}, so clips of equal length cover different times")
        elif _differ(train.gap, other.gap):
            warnings.append(f"{pair}: neighboring frames are {train.gap:.3g} s and {other.gap:.3g} s apart")
    return warnings


def _differ(first: float | None, second: float | None) -> bool:
    return bool(first and second) and not 1 / _MAX_RATIO < second / first < _MAX_RATIO  # type: ignore[operator]


def _split_warnings(coverage: Coverage) -> list[str]:
    warnings = []
    median = statistics.median(one.fraction for one in coverage.videos)
    step = next(iter(coverage.split.dataset.steps))
    if median < _MIN_COVERAGE and coverage.gap is not None:
        warnings.append(
            f"a draw covers {median:.1%} of the median video; a larger frame_interval of the step {step}, its "
            "clip_seconds or more clips cover more"
        )
    if short := [one.video.name for one in coverage.videos if _repeats_frames(coverage, one.video)]:
        warnings.append(
            f"{len(short)} of {len(coverage.videos)} videos are shorter than a clip, so their frames repeat ({short[0]})"
        )
    rates = coverage.frame_rates
    if rates and not coverage.timed and max(rates) > _MAX_RATIO * min(rates):
        warnings.append(
            f"the videos have {min(rates):.4g} to {max(rates):.4g} fps, so clips of equal length cover different times; "
            f"set clip_seconds or target_fps of the step {step} to sample by time"
        )
    return warnings + [f"cannot be read: {text}" for text in coverage.unreadable[:3]]


def _repeats_frames(coverage: Coverage, video: Video) -> bool:
    """Return whether a clip is longer than the video, so that it contains a frame twice."""
    sampler: Any = next(iter(coverage.split.dataset.steps.values()))
    length, interval = getattr(sampler, "clip_len", None), getattr(sampler, "frame_interval", None)
    if length is None or interval is None or getattr(sampler, "frame_uniform", False):
        return False
    rate = getattr(sampler, "rate", None)
    available = video.num_frames if rate is None else (video.seconds or 0) * rate
    return bool(length * interval > available + 1)
