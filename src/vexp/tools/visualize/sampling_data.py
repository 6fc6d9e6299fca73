"""``show sampling``: which frames of a split's videos are taken, and how much of a video they span."""

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
from vexp.tools.visualize.samples import Split, Video, evenly_spaced, step_text

PROBED = 24  # videos of a split that the figures are of
THUMBS = 8
_LITTLE = 0.1  # share of the median video below which a warning is due
_APART = 1.1  # ratio of frame rates that is no rounding


@dataclass(frozen=True, slots=True)
class Sampled:
    """A video and the frames taken of it: ``draws``, each int64 (clips, clip_len); ``thumbs`` of the first clip."""

    video: Video
    draws: list[NDArray[np.int64]]
    thumbs: Frames
    thumb_places: list[int]

    @property
    def share(self) -> float:
        """Of the video, from the first to the last frame of each clip of a draw, overlaps once; mean over draws."""
        return statistics.fmean(share(draw, self.video.num_frames) for draw in self.draws)

    @property
    def spacing(self) -> float:
        """Median distance of neighbouring frames of a clip, in frames."""
        return _spacing(self.draws)


@dataclass(frozen=True, slots=True)
class Coverage:
    """A split: the videos ``shown`` (from the shortest to the longest), figures of all that were ``probed``."""

    split: Split
    sampler: str
    timed: bool
    shown: list[Sampled]
    probed: list[tuple[Video, float, float]]  # video, share, spacing in frames
    unreadable: list[str]

    def lines(self) -> list[str]:
        """In words."""
        videos = [video for video, _, _ in self.probed]
        shares = [share for _, share, _ in self.probed]
        text = f"a draw spans {statistics.median(shares):.0%} of the median video"
        if len(shares) > 1:
            text += f" ({_range(shares, '.0%')} of {len(shares)} looked at)"
        seconds = [video.seconds for video in videos if video.seconds is not None]
        lines = [text]
        if seconds:
            rates = [video.fps for video in videos if video.fps]
            lines.append(f"videos of {_range(seconds, '.3g')} s at {_range(rates, '.4g')} fps")
        if (gap := self.gap) is not None:
            lines.append(f"neighbouring frames {gap:.3g} s apart")
        return lines

    @property
    def gap(self) -> float | None:
        """Median seconds between neighbouring frames of a clip; None where it is not known or clips are of one."""
        gaps = [spacing * video.period for video, _, spacing in self.probed if video.period is not None and spacing > 0]
        return statistics.median(gaps) if gaps else None

    @property
    def rate(self) -> float | None:
        """Median frames a second of the videos."""
        rates = [video.fps for video, _, _ in self.probed if video.fps]
        return statistics.median(rates) if rates else None


def collect(split: Split, *, draws: int, videos: int) -> Coverage:
    """Open some videos of a split and ask the sampler, with the numbers that training or evaluation would draw.

    Args:
        split: the samples.
        draws: epochs of training to draw for; evaluation is the same every time.
        videos: to be shown.

    Raises:
        UserError: none of them can be read.
    """
    dataset = split.dataset
    sampler, epochs = next(iter(dataset.steps.values())), range(draws if split.name == "train" else 1)
    found: list[tuple[int, Video, list[NDArray[np.int64]]]] = []
    unreadable = []
    for index in evenly_spaced(len(dataset), PROBED):
        name = dataset.source.name(index)
        try:
            with dataset.source.open(index) as reader:
                drawn = [
                    sampled_frames(reader, sampler, np.random.default_rng([dataset.seed, epoch, index]))
                    for epoch in epochs
                ]
                found.append((index, Video.of(name, reader), drawn))
        except ValueError as error:
            unreadable.append(str(error) if name in str(error) else f"{name}: {error}")
    if not found:
        raise UserError(f"data.{split.name}: none of the videos looked at can be read, the first: {unreadable[0]}")
    by_length = sorted(found, key=lambda one: one[1].seconds or one[1].num_frames)
    shown = []
    for index, video, drawn in (by_length[place] for place in evenly_spaced(len(by_length), videos)):
        places = [int(drawn[0][0, place]) for place in evenly_spaced(drawn[0].shape[1], THUMBS)]
        with suppress(UserError), dataset.source.open(index) as reader:
            shown.append(Sampled(video, drawn, reader.frames(places), places))
    figures = [
        (video, statistics.fmean(share(draw, video.num_frames) for draw in drawn), _spacing(drawn))
        for _, video, drawn in found
    ]
    timed = getattr(sampler, "rate", None) is not None
    return Coverage(split, step_text(sampler), timed, shown, figures, unreadable)


def share(numbers: NDArray[np.int64], num_frames: int) -> float:
    """Of a video, what lies between the first and the last frame of any clip (clips, clip_len), both included."""
    covered = np.zeros(num_frames, np.bool_)
    for clip in numbers:
        covered[clip.min() : clip.max() + 1] = True
    return float(covered.mean())


def _range(values: Sequence[float], form: str) -> str:
    """``2 to 10``, or the one value."""
    low, high = f"{min(values):{form}}", f"{max(values):{form}}"
    return low if low == high else f"{low} to {high}"


def _spacing(draws: Sequence[NDArray[np.int64]]) -> float:
    """Median distance of neighbouring frames of a clip; 0 for clips of one frame."""
    steps = np.concatenate([np.diff(draw, axis=1).reshape(-1) for draw in draws])
    return float(np.median(np.abs(steps))) if steps.size else 0.0


def warnings(coverages: Sequence[Coverage]) -> list[str]:
    """What is likely a mistake: clips that see little, repeat frames, or differ in time from split to split."""
    found: dict[str, list[str]] = {}  # text: the splits that it is true of
    for one in coverages:
        for text in _of_split(one):
            found.setdefault(text, []).append(one.split.name)
    said = [f"{', '.join(names)}: {text}" for text, names in found.items()]
    train, *others = coverages
    for other in others:
        pair = f"train and {other.split.name}"
        if not train.timed and train.rate and other.rate and not 1 / _APART < other.rate / train.rate < _APART:
            said.append(
                f"{pair}: the median video has {train.rate:.4g} and {other.rate:.4g} fps, equal clips span other times"
            )
        elif train.gap and other.gap and not 1 / _APART < other.gap / train.gap < _APART:
            said.append(f"{pair}: neighbouring frames lie {train.gap:.3g} s and {other.gap:.3g} s apart")
    return said


def _of_split(one: Coverage) -> list[str]:
    found = []
    middle = statistics.median(share for _, share, _ in one.probed)
    sampler = next(iter(one.split.dataset.steps))
    if middle < _LITTLE and one.gap is not None:
        found.append(
            f"a draw spans {middle:.1%} of the median video; a larger frame_interval of the step {sampler}, its "
            "clip_seconds or more clips would see more"
        )
    if short := [video.name for video, _, _ in one.probed if _repeats(one, video)]:
        found.append(
            f"{len(short)} of {len(one.probed)} videos looked at are shorter than a clip, their frames repeat "
            f"({short[0]})"
        )
    rates = [video.fps for video, _, _ in one.probed if video.fps]
    if rates and not one.timed and max(rates) > _APART * min(rates):
        found.append(
            f"videos of {min(rates):.4g} to {max(rates):.4g} fps, equal clips span different times; clip_seconds or "
            f"target_fps of the step {sampler} counts in seconds"
        )
    return found + [f"cannot be read: {text}" for text in one.unreadable[:3]]


def _repeats(one: Coverage, video: Video) -> bool:
    """Whether the clips of a video must show a frame twice: its sampler's span is longer than it."""
    sampler: Any = next(iter(one.split.dataset.steps.values()))
    length, interval = getattr(sampler, "clip_len", None), getattr(sampler, "frame_interval", None)
    if length is None or interval is None or getattr(sampler, "frame_uniform", False):
        return False
    rate = getattr(sampler, "rate", None)
    have = video.num_frames if rate is None else (video.seconds or 0) * rate
    return bool(length * interval > have + 1)
