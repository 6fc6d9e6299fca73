"""Data of ``vexp show sampling``: the frames that are sampled from a split's videos, and the part that they cover."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vexp.core.errors import UserError
from vexp.data.pixel_type import Frames
from vexp.data.transforms.pipeline import sampled_frames
from vexp.tools.visualize.samples import Split, Video, evenly_spaced

MAX_VIDEOS = 24  # videos per split that the statistics are computed from
THUMBNAILS = 8
_MIN_COVERAGE = 0.1  # of the median video
_MAX_RATIO = 1.1  # between frame rates that count as equal


class SampledVideo:
    """A video and the frames sampled from it: ``draws``, each int64 (clips, clip_len)."""

    def __init__(self, index: int, video: Video, draws: list[NDArray[np.int64]]) -> None:
        self.index, self.video, self.draws = index, video, draws
        #: Fraction of the video that a draw covers.
        self.fraction = statistics.fmean(covered_fraction(draw, video.num_frames) for draw in draws)
        steps = np.concatenate([np.diff(draw, axis=1).reshape(-1) for draw in draws])
        spacing = float(np.median(np.abs(steps))) if steps.size else 0.0
        #: Time between neighboring frames of a clip in seconds; None if unknown or for clips of one frame.
        self.gap = spacing * video.period if video.period and spacing > 0 else None
        self.thumbnail_indices = [int(draws[0][0, i]) for i in evenly_spaced(draws[0].shape[1], THUMBNAILS)]
        self.thumbnails: Frames = np.empty((0, 0, 0, 3), np.uint8)  # of the first clip, if the video is shown


class Coverage:
    """Sampling of a split."""

    def __init__(self, split: Split, *, draws: int, videos: int) -> None:
        """Sample frames of some videos of a split with the random numbers of training or evaluation.

        Args:
            split: The split.
            draws: Number of training epochs to sample for; evaluation samples the same frames every time.
            videos: Number of videos to show.

        Raises:
            UserError: If none of the videos can be read.
        """
        self.split, source, seed = split, split.dataset.source, split.dataset.seed
        self.step, self.sampler = next(iter(split.dataset.steps.items()))
        #: Whether the sampler counts in seconds rather than in frames.
        self.timed = getattr(self.sampler, "rate", None) is not None
        self.videos: list[SampledVideo] = []
        self.unreadable: list[str] = []  # errors
        for index in evenly_spaced(len(split.dataset), MAX_VIDEOS):
            name, epochs = source.name(index), range(draws if split.name == "train" else 1)
            generators = [np.random.default_rng([seed, epoch, index]) for epoch in epochs]
            try:
                with source.open(index) as reader:
                    numbers = [sampled_frames(reader, self.sampler, rng) for rng in generators]
                    self.videos.append(SampledVideo(index, Video(name, reader), numbers))
            except (UserError, OSError) as error:
                self.unreadable.append(str(error) if name in str(error) else f"{name}: {error}")
        if not self.videos:
            first = f"none of {len(self.unreadable)} videos can be read; the first: {self.unreadable[0]}"
            raise UserError(f"data.{split.name}: {first}")
        by_length = sorted(self.videos, key=lambda one: one.video.seconds or one.video.num_frames)
        self.shown: list[SampledVideo] = []  # from the shortest to the longest
        for sampled in (by_length[position] for position in evenly_spaced(len(by_length), videos)):
            with suppress(UserError, OSError), source.open(sampled.index) as reader:
                sampled.thumbnails = reader.frames(sampled.thumbnail_indices)
                self.shown.append(sampled)
        self.frame_rates = [one.video.fps for one in self.videos if one.video.fps]
        self.median_fps = statistics.median(self.frame_rates) if self.frame_rates else None
        self.median_fraction = statistics.median(one.fraction for one in self.videos)
        gaps = [one.gap for one in self.videos if one.gap is not None]
        self.gap = statistics.median(gaps) if gaps else None

    def describe(self) -> list[str]:
        """Return what the frames cover, the lengths of the videos, and the time between frames."""
        text = f"a draw covers {self.median_fraction:.0%} of the median video"
        if len(self.videos) > 1:
            text += f" ({_range([one.fraction for one in self.videos], '.0%')} of {len(self.videos)} videos)"
        lines = [text]
        if seconds := [one.video.seconds for one in self.videos if one.video.seconds is not None]:
            lines.append(f"videos of {_range(seconds, '.3g')} s at {_range(self.frame_rates, '.4g')} fps")
        if self.gap is not None:
            lines.append(f"neighboring frames {self.gap:.3g} s apart")
        return lines

    def warnings(self) -> list[str]:
        """Return likely mistakes: clips that cover little or repeat frames, and videos of different frame rates."""
        warnings, rates = [], self.frame_rates
        if self.median_fraction < _MIN_COVERAGE and self.gap is not None:
            warnings.append(
                f"a draw covers {self.median_fraction:.1%} of the median video; a larger frame_interval of the step "
                f"{self.step}, its clip_seconds or more clips cover more"
            )
        if short := [one.video.name for one in self.videos if self._repeats_frames(one.video)]:
            text = f"{len(short)} of {len(self.videos)} videos are shorter than a clip, so their frames repeat"
            warnings.append(f"{text} ({short[0]})")
        if rates and not self.timed and max(rates) > _MAX_RATIO * min(rates):
            warnings.append(
                f"the videos have {min(rates):.4g} to {max(rates):.4g} fps, so clips of equal length cover different "
                f"times; set clip_seconds or target_fps of the step {self.step} to sample by time"
            )
        return warnings + [f"cannot be read: {text}" for text in self.unreadable[:3]]

    def _repeats_frames(self, video: Video) -> bool:
        """Return whether a clip is longer than the video, so that it contains a frame twice."""
        sampler: Any = self.sampler
        length, interval = getattr(sampler, "clip_len", None), getattr(sampler, "frame_interval", None)
        if length is None or interval is None or getattr(sampler, "frame_uniform", False):
            return False
        available = (video.seconds or 0) * sampler.rate if self.timed else video.num_frames
        return bool(length * interval > available + 1)


def covered_fraction(numbers: NDArray[np.int64], num_frames: int) -> float:
    """Return the fraction of a video between the first and the last frame, inclusive, of any clip (clips, clip_len)."""
    covered = np.zeros(num_frames, np.bool_)
    for clip in numbers:
        covered[clip.min() : clip.max() + 1] = True
    return float(covered.mean())


def _range(values: Sequence[float], form: str) -> str:
    """Format as ``2 to 10``, or as one value if all are equal."""
    low, high = f"{min(values):{form}}", f"{max(values):{form}}"
    return low if low == high else f"{low} to {high}"


def sampling_warnings(coverages: Sequence[Coverage]) -> list[str]:
    """Return the warnings of the splits, and those of clips that differ in time between splits."""
    splits: dict[str, list[str]] = defaultdict(list)  # by warning
    for coverage in coverages:
        for text in coverage.warnings():
            splits[text].append(coverage.split.name)
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
